#!/usr/bin/env python3
"""Measure two known remedies against plates that differ, which the package does not have.

    scripts/tried_remedies.py --only batchnorm --seeds 11    # 3 minutes of one core
    scripts/tried_remedies.py --only tvn --seeds 11 12       # 35 seconds a seed

batchnorm: ResNet, trained on batches of any cells or of cells of one plate. Batch normalisation
takes its statistics from Training ("running") or from the plate that is labelled (Lin & Lu 2022,
bioRxiv 2022.10.14.512286). Wild plates are also cut to fewer classes or cells.

tvn: typical variation normalisation of texture (Ando, McLean & Berndl 2017, bioRxiv 161422). All
cells of a plate are moved so that its control cells have the mean and covariance of Training's.
Each class is the control once; its cells count in no error; errors are means over the classes.
Beside it: the control's mean alone, z-scores of all cells of a plate, and plates as random effects.

Training is simulated COOS-7, whose plates hold one or two classes, or as many cells of 20 plates
that hold all. In tvn, the latter are moved too. Tables have the mean balanced error over plates in
%, and in brackets that of the worst plate, both averaged over the seeds. The times do not count the
simulation and texture of the cells, which are kept in the cache.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import torch
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from coos_mlflow.classifiers.fit import Places, build_pipeline, class_probabilities
from coos_mlflow.classifiers.logistic_l1 import fit_in_parallel
from coos_mlflow.classifiers.plate_effects import NO_VARIANCE
from coos_mlflow.classifiers.protocol import Protocol
from coos_mlflow.metrics import balanced_error, confusion_matrix
from coos_mlflow.plates.dataset import TRAINING, coos7
from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.plates.splits import Annotations, TrainingData
from coos_mlflow.representations import create
from coos_mlflow.representations.nn.classification import Division
from coos_mlflow.representations.nn.networks import autocast, best_device, uses_bf16
from coos_mlflow.representations.nn.training import Plan, TrainingContext, train
from coos_mlflow.representations.resnet import ResNetCells
from coos_mlflow.representations.texture import LAYER
from coos_mlflow.simulate import WILD
from coos_mlflow.training.data import SIMULATED, choose
from coos_mlflow.training.features import extract
from coos_mlflow.training.generalise.worlds import World

N_CLASSES, FIRST_SEED = coos7().n_classes, 60_000
WORLDS = (
    World("training", "new plates", 12, FIRST_SEED, 3, 8),
    World("test4", "like Test4", 12, FIRST_SEED, 3, 8),
    World(WILD, WILD, 24, FIRST_SEED, 3, 8),
    World("defocus", "defocus", 6, FIRST_SEED, 3, 8),
    World("haze", "haze", 6, FIRST_SEED, 3, 8),
)
COOS7, FULL = "COOS-7's plates", "full plates"
RESNET = create("resnet", "quick", width=0.25, iterations=400, batch=64)

CUTS = ((4, "classes"), (2, "classes"), (1, "class"), (56, "cells"), (14, "cells"))
N_CUT = 6
"""What wild plates of seven classes and 168 cells are cut to, and how many of them."""

RIDGE = 1.0
"""Added to the variance of every axis of white features (Sun et al. 2016, arXiv:1511.05547)."""

Network = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
Way = Callable[..., np.ndarray]
Move = Callable[[np.ndarray, Annotations], np.ndarray]
Measured = Iterator[tuple[str, str, str, np.ndarray]]
"""Title of the table, row, column, and the error in % of each plate."""


def data_of(seed: int) -> tuple[dict[str, TrainingData], dict[str, TrainingData]]:
    """Return both kinds of Training, and the data of the test sets: splits and new plates."""
    data = choose(SIMULATED, seed=seed)
    full = World("training", TRAINING, 20, FIRST_SEED + 100 * seed, 2, 15).data(data.dataset)
    splits = {split: data for split in data.files if split != TRAINING}
    return {COOS7: data, FULL: full}, splits | {w.title: w.data(data.dataset) for w in WORLDS}


def select(cells: Annotations, rows: np.ndarray) -> Annotations:
    return Annotations(*(values[rows] for values in vars(cells).values()))


def errors(cells: Annotations, predicted: np.ndarray, without: int | None = None) -> np.ndarray:
    """Return the balanced error in % of each plate, shape (plates,); a class may be left out."""
    kept = [(cells.plates == p) & (cells.labels != without) for p in np.unique(cells.plates)]
    counts = [confusion_matrix(cells.labels[k], predicted[k], N_CLASSES) for k in kept]
    return balanced_error(np.stack(counts))


def read(data: TrainingData, split: str) -> CellBatch:
    (path,) = data.files[split]
    with data.open(path) as plate:
        return next(plate.batches(plate.n_cells))


def trained(cells: CellBatch, groups: np.ndarray) -> nn.Module:
    """Train ResNet on all cells, in batches of one group."""
    assert isinstance(RESNET, ResNetCells)
    everything = Division(np.arange(len(cells)), np.arange(len(cells)))
    task = RESNET.task_of(cells, everything, best_device())
    draw_rows = task.draw

    def draw(rows: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
        members = np.flatnonzero(groups == groups[rows[0]])
        return draw_rows(rng.choice(members, len(rows)), rng)

    task.draw = draw  # type: ignore[method-assign]
    # Validated at the end alone: the weights are those of the last iteration.
    plan = Plan(RESNET.iterations, RESNET.batch, check_every=RESNET.iterations, seed=RESNET.seed)
    with tempfile.TemporaryDirectory() as folder:
        train(task, plan, TrainingContext(Path(folder)), best_device())
    return task.network.eval()


def with_own_statistics(network: nn.Module) -> nn.Module:
    """Return a copy whose batch normalisation takes its statistics from the cells at hand."""
    copy = deepcopy(network)
    for module in copy.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = module.running_var = None
    return copy


def parts_of(labels: np.ndarray, count: int, unit: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cut a plate to classes or cells; yield the rows of each part, and those that are counted."""
    rng = np.random.default_rng(0)
    if unit == "cells":
        for rows in np.array_split(rng.permutation(len(labels)), len(labels) // count):
            yield np.sort(rows), np.sort(rows)
        return
    order = rng.permutation(np.unique(labels))
    for i, label in enumerate(order):
        present = np.isin(labels, np.roll(order, -i)[:count])
        yield np.flatnonzero(present), np.flatnonzero(labels == label)


def labels_of(
    network: Network, images: np.ndarray, at: Annotations, cut: tuple[int, str] | None = None
) -> np.ndarray:
    """Label stretched cells (n, 2, 64, 64), those of a plate or of a part of it at once."""
    device, predicted = best_device(), np.empty_like(at.labels)
    for plate in np.unique(at.plates):
        members = np.flatnonzero(at.plates == plate)
        count, unit = cut or (len(members), "cells")
        for rows, counted in parts_of(at.labels[members], count, unit):
            cells = torch.from_numpy(images[members[rows]])
            with torch.inference_mode(), autocast(device, uses_bf16("auto", device)):
                logits, _ = network(cells.to(device, memory_format=torch.channels_last))
            found = logits.argmax(dim=1).cpu().numpy()
            predicted[members[counted]] = found[np.isin(rows, counted)]
    return predicted


def measure_batchnorm(seed: int) -> Measured:
    by_kind, tests = data_of(seed)
    labellers: dict[str, Network] = {}
    for kind, batches in ((COOS7, "cells"), (COOS7, "plates"), (FULL, "plates")):
        cells = read(by_kind[kind], TRAINING)
        groups = np.zeros(len(cells)) if batches == "cells" else np.asarray(cells.plates)
        row, network = f"{kind}, batches of {batches}", trained(cells, groups)
        labellers[f"{row}, running"] = network
        labellers[f"{row}, own statistics"] = with_own_statistics(network)
    for name, data in tests.items():
        images, at = RESNET.preprocess(read(data, name).images), data.annotations(name)
        few = np.isin(at.plates, np.unique(at.plates)[:N_CUT])
        for row, label in labellers.items():
            yield "ResNet", row, name, errors(at, labels_of(label, images, at))
            for cut in (None, *CUTS) if name == WILD else ():
                column = "{} {}".format(*cut) if cut else "whole"
                found = labels_of(label, images[few], select(at, few), cut)
                yield "ResNet, cut wild plates", row, column, errors(select(at, few), found)


def shifted(X: np.ndarray, controls: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return features (n, d), moved so that controls (k, d) have the target's mean."""
    return np.asarray(X - controls.mean(axis=0) + target.mean(axis=0))


def tvn(X: np.ndarray, controls: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return features, moved so that controls have the target's covariance too, but for the ridge.

    They are stretched where those of the target are white, which weighs all axes alike.
    """
    variances, axes = np.linalg.eigh(np.cov(target, rowvar=False))
    kept = variances > NO_VARIANCE * variances[-1]
    axes, deviations = axes[:, kept], np.sqrt(variances[kept])
    of_controls, along = np.linalg.eigh(np.cov(controls @ axes / deviations, rowvar=False))
    stretch = (along * np.sqrt((1 + RIDGE) / (of_controls + RIDGE))) @ along.T
    white = (X - controls.mean(axis=0)) @ axes / deviations
    return shifted(X, controls, target) + (white @ stretch - white) * deviations @ axes.T


ROWS: dict[str, tuple[str, Way]] = {
    "lr": ("lr", lambda X, *_: X),
    "plates": ("plates", lambda X, *_: X),
    "lr, z-scores of plates": ("lr", lambda X, *_: StandardScaler().fit_transform(X)),
    "lr, mean of controls": ("lr", shifted),
    "lr, TVN": ("lr", tvn),
}
"""The classifier, and how features of a plate are moved by its controls and those of Training."""


def moved(way: Way, control: int, target: np.ndarray, X: np.ndarray, at: Annotations) -> np.ndarray:
    """Return features (n, d), those of each plate moved by its cells of the class `control`."""
    found = np.empty_like(X)
    for plate in np.unique(at.plates):
        rows = at.plates == plate
        found[rows] = way(X[rows], X[rows & (at.labels == control)], target)
    return found


def fitted(kind: str, X: np.ndarray, cells: Annotations) -> Pipeline:
    pipeline = build_pipeline(kind, Protocol())
    if kind == "lr":
        return fit_in_parallel(pipeline, X, cells.labels, [np.arange(len(X))], kind)[0]
    return pipeline.fit(X, cells.labels, classify__plates=cells.plates)


def models_of(X: np.ndarray, at: Annotations, full: bool) -> dict[str, list[tuple[Pipeline, Move]]]:
    """Return the models of each row: one, or one for each class that is the control.

    Where plates are full, those of Training are moved too.
    """
    plain = {kind: fitted(kind, X, at) for kind in ("lr", "plates")}
    models: dict[str, list[tuple[Pipeline, Move]]] = defaultdict(list)
    for row, (kind, way) in ROWS.items():
        for control in range(N_CLASSES if way in (shifted, tvn) else 1):
            rows = at.labels == control
            # All controls of Training, without what their plates differ by.
            target = moved(shifted, control, X[rows], X[rows], select(at, rows))
            move = partial(moved, way, control, target)
            models[row].append((fitted(kind, move(X, at), at) if full else plain[kind], move))
    return models


def measure_tvn(seed: int) -> Measured:
    (by_kind, tests), texture, scale = data_of(seed), create("texture"), StandardScaler()
    for kind, data in by_kind.items():
        X = scale.fit_transform(extract(data, TRAINING, texture)[LAYER])
        models_by_row = models_of(X, data.annotations(TRAINING), kind == FULL)
        for name, test in tests.items():
            at, X = test.annotations(name), scale.transform(extract(test, name, texture)[LAYER])
            places = Places(at.plates, at.wells)
            left_out = [None] if test is by_kind[COOS7] else range(N_CLASSES)
            for row, models in models_by_row.items():
                if len(models) > len(left_out):
                    continue  # the plates of a split have no class in common
                predicted = [
                    class_probabilities(pipeline, move(X, at), N_CLASSES, places).argmax(axis=1)
                    for pipeline, move in models
                ]
                found = [errors(at, predicted[i % len(models)], c) for i, c in enumerate(left_out)]
                yield f"texture, {kind}", row, name, np.mean(found, axis=0)


REMEDIES = {"batchnorm": measure_batchnorm, "tvn": measure_tvn}
Table = dict[tuple[str, str], list[tuple[float, float]]]
"""Mean and worst error by row and column, for each seed."""


def show(title: str, table: Table) -> None:
    rows, columns = (dict.fromkeys(names) for names in zip(*table, strict=True))
    print(f"\n{title}, simulated\n\n| | {' | '.join(columns)} |\n|{'---|' * (1 + len(columns))}")
    for row in rows:
        found = [table.get((row, column)) for column in columns]
        told = ["{:.1f} ({:.0f})".format(*np.mean(one, axis=0)) if one else "" for one in found]
        print(f"| {row} | {' | '.join(told)} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=REMEDIES, help="measure one remedy (default: both)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[11], help="of the data sets")
    asked = parser.parse_args()
    for remedy in [asked.only] if asked.only else REMEDIES:
        tables: dict[str, Table] = defaultdict(lambda: defaultdict(list))
        for seed in asked.seeds:
            for title, row, column, found in REMEDIES[remedy](seed):
                tables[title][row, column].append((float(found.mean()), float(found.max())))
        for title, table in tables.items():
            show(title, table)


if __name__ == "__main__":
    main()

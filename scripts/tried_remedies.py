#!/usr/bin/env python3
"""Measure two known remedies against plates that differ, which the package does not have.

    scripts/tried_remedies.py                                 # the first data set, both
    scripts/tried_remedies.py --only tvn --seeds 11 12        # two data sets

batchnorm: ResNet is trained on batches of any cells or of cells of one plate, and batch
normalisation takes its statistics from the plate that is labelled (Lin & Lu 2022, bioRxiv
2022.10.14.512286). The rows "running" are the same networks with the statistics of training.

tvn: typical variation normalisation (Ando, McLean & Berndl 2017, bioRxiv 161422). All cells of a
plate are moved so that its control cells have the mean and covariance of Training's. Each class is
the control once; its cells count in no error; errors are means over the classes. Beside it: the
control's mean alone, CORAL (Sun et al. 2016, arXiv:1511.05547), z-scores of all cells of a plate,
and plates as random effects.

Both are trained on simulated COOS-7, whose plates hold one or two classes, and on as many cells of
20 plates that hold all. There alone Training's plates are moved too. Tables have the mean balanced
error over plates in %, and in brackets that of the worst plate, both averaged over the seeds.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from coos_mlflow._utils.files import new_folder
from coos_mlflow.classifiers.fit import Places, build_pipeline, class_probabilities
from coos_mlflow.classifiers.logistic_l1 import fit_in_parallel
from coos_mlflow.classifiers.plate_effects import NO_VARIANCE
from coos_mlflow.classifiers.protocol import Protocol
from coos_mlflow.metrics import balanced_error, confusion_matrix
from coos_mlflow.plates.dataset import TRAINING, coos7
from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.plates.splits import TrainingData, find_data
from coos_mlflow.representations import create
from coos_mlflow.representations.nn.classification import Division
from coos_mlflow.representations.nn.inference import CELLS_AT_A_TIME
from coos_mlflow.representations.nn.networks import (
    apply_in_batches,
    autocast,
    best_device,
    load_weights,
    uses_bf16,
)
from coos_mlflow.representations.nn.training import Plan, TrainingContext, TrainingTask, train
from coos_mlflow.representations.resnet import ResNetCells
from coos_mlflow.simulate import WILD, simulate_dataset
from coos_mlflow.training.features import extract
from coos_mlflow.training.generalise.worlds import World

CLASSES = coos7().class_names
SCALE = 0.1

FIRST, SIZE = 60_000, (3, 8)
"""Seed of the first plate, and wells of a class and cells of a well, of the new plates."""

WORLDS = tuple(
    World(like, title, plates, FIRST, *SIZE)
    for like, title, plates in (
        ("training", "new plates", 12),
        ("test4", "like Test4", 12),
        (WILD, WILD, 24),
        ("defocus", "defocus", 6),
        ("haze", "haze", 6),
    )
)

CONTROLS = (24, 96, 192)
LARGE = (
    World("training", "large new plates", 6, FIRST + 50, 8, 24),
    World(WILD, "large wild plates", 6, FIRST + 50, 8, 24),
)
"""Plates with more control cells, and how many of them are used."""

COOS7, FULL = "COOS-7's plates", "full plates"
"""What Training is: plates of one or two classes, or 20 plates of all classes."""

NETWORKS: dict[str, dict[str, Any]] = {
    "quick": {"width": 0.25, "iterations": 400, "batch": 64},
    "standard": {},
}
"""Settings of ResNet by preset, beside those of its own preset `quick`."""

AT_A_TIME = CELLS_AT_A_TIME[best_device().type]

BATCHES = ("cells", "plates")
"""Batches of any cells, or of one plate. Most days of Training have one plate, and all plates have
the same microscope, so that batches of a day or a microscope would hardly be others."""

RIDGE = 1.0
"""Added to the variance of every feature in Training's deviations (Sun et al. 2016,
arXiv:1511.05547), or of every axis of white features."""


@dataclass(frozen=True)
class Cells:
    """Cells: X are features (n, d), or stretched images; labels, plates and wells (n,)."""

    X: np.ndarray
    labels: np.ndarray
    plates: np.ndarray
    wells: np.ndarray

    def select(self, rows: np.ndarray) -> Cells:
        """Return some of the cells."""
        return Cells(*(values[rows] for values in vars(self).values()))


Way = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Moves features (n, d), given those of a plate's controls and of Training's."""

Move = Callable[[Cells], np.ndarray]
"""Returns the features of the cells of one plate, moved."""

Labeller = Callable[[Cells], np.ndarray]
"""Labels the cells of one plate."""

Parts = Callable[[np.ndarray], Iterator[tuple[np.ndarray, np.ndarray]]]
"""Cuts a plate, given its labels: rows on the cut plate, and those of them that are counted."""

Tables = dict[str, dict[str, dict[str, list[tuple[float, float]]]]]
"""By title, row and column: for each seed the mean and the worst error of plates."""


def whole(labels: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    yield np.arange(len(labels)), np.arange(len(labels))


def of_classes(count: int, labels: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cut a plate to `count` classes; each class is counted on one of the cut plates."""
    order = np.random.default_rng(0).permutation(np.unique(labels))
    for i, label in enumerate(order):
        present = np.isin(labels, np.roll(order, -i)[:count])
        yield np.flatnonzero(present), np.flatnonzero(labels == label)


def of_cells(count: int, labels: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Divide a plate at random into plates of `count` cells, of whatever classes."""
    order = np.random.default_rng(0).permutation(len(labels))
    for rows in np.array_split(order, len(labels) // count):
        yield np.sort(rows), np.sort(rows)


CUTS: dict[str, Parts] = {
    "whole": whole,
    **{f"{n} classes": partial(of_classes, n) for n in (4, 2)},
    "1 class": partial(of_classes, 1),
    **{f"{n} cells": partial(of_cells, n) for n in (56, 14)},
}
"""Cuts of wild plates of seven classes and 168 cells."""

N_CUT = 6
"""Plates that are cut."""


def labels_of(label: Labeller, cells: Cells, parts: Parts = whole) -> np.ndarray:
    """Label all cells, plate by plate, shape (n,)."""
    predicted = np.empty_like(cells.labels)
    for plate in np.unique(cells.plates):
        members = np.flatnonzero(cells.plates == plate)
        for rows, counted in parts(cells.labels[members]):
            found = label(cells.select(members[rows]))
            predicted[members[counted]] = found[np.isin(rows, counted)]
    return predicted


def errors(cells: Cells, predicted: np.ndarray, without: int | None = None) -> np.ndarray:
    """Return the balanced error in % of each plate, shape (plates,); a class may be left out."""
    kept = [(cells.plates == p) & (cells.labels != without) for p in np.unique(cells.plates)]
    counts = [confusion_matrix(cells.labels[k], predicted[k], len(CLASSES)) for k in kept]
    return balanced_error(np.stack(counts))


class _OneGroup(TrainingTask):
    """Another task, with batches of cells of one group, as often as it has cells.

    Nothing is held out: the weights are those of the last iteration.
    """

    def __init__(self, task: TrainingTask, groups: np.ndarray) -> None:
        self._task, self._groups = task, groups
        self.network, self.n_cells = task.network, task.n_cells

    def optimiser(self) -> torch.optim.Optimizer:
        return self._task.optimiser()

    def learning_rate(self, iteration: int) -> float | None:
        return self._task.learning_rate(iteration)

    def draw(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
        members = np.flatnonzero(self._groups == self._groups[rows[0]])
        return self._task.draw(rng.choice(members, len(rows)), rng)

    def loss(self, *drawn: torch.Tensor) -> torch.Tensor:
        return self._task.loss(*drawn)


def trained(work: Path, kind: str, data: TrainingData, batches: str, preset: str) -> nn.Module:
    """Train ResNet on batches of cells that share a column; a checkpoint is kept."""
    folder = work / "-".join((kind, data.digest[:8], batches, preset))
    cells = read(data, TRAINING)
    groups = np.zeros(len(cells)) if batches == "cells" else getattr(cells, batches)
    resnet = create("resnet", "quick", **NETWORKS[preset])
    assert isinstance(resnet, ResNetCells)
    division = Division(np.arange(len(cells)), np.arange(0))
    task = _OneGroup(resnet.task_of(cells, division, best_device()), groups)
    plan = Plan(resnet.iterations, resnet.batch, resnet.check_every, resnet.seed)
    result = train(task, plan, TrainingContext(folder), best_device())
    load_weights(task.network, result.tensors, str(folder))
    return task.network.eval()


def with_own_statistics(network: nn.Module) -> nn.Module:
    """Return a copy whose batch normalisation takes its statistics from the cells at hand."""
    copy = deepcopy(network).eval()
    for module in copy.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = module.running_var = None
    return copy


def by_network(network: nn.Module, batch: int | None, cells: Cells) -> np.ndarray:
    """Label stretched cells, `batch` at a time or all at once, in the precision of training."""
    device = best_device()

    def compute(images: torch.Tensor) -> dict[str, torch.Tensor]:
        with autocast(device, uses_bf16("auto", device)):
            logits, _ = network(images.to(device, memory_format=torch.channels_last))
        return {"logits": logits}

    found = apply_in_batches(cells.X, compute, batch or len(cells.X))
    return found["logits"].argmax(axis=1)


def shifted(X: np.ndarray, controls: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return features (n, d), moved so that controls (k, d) have the target's mean."""
    moved: np.ndarray = X - controls.mean(axis=0) + target.mean(axis=0)
    return moved


def aligned(
    X: np.ndarray, controls: np.ndarray, target: np.ndarray, ridge: float = RIDGE
) -> np.ndarray:
    """Return features, moved so that controls have the target's covariance too, but for the ridge.

    With a ridge of 0, there must be more controls than features.
    """
    own, wanted = (
        np.cov(one, rowvar=False) + ridge * np.eye(X.shape[1]) for one in (controls, target)
    )
    moved: np.ndarray = (X - controls.mean(axis=0)) @ power(own, -0.5) @ power(wanted, 0.5)
    return moved + target.mean(axis=0)


def tvn(
    X: np.ndarray, controls: np.ndarray, target: np.ndarray, ridge: float = RIDGE
) -> np.ndarray:
    """Return features, aligned where those of the target are white, which weighs all axes alike."""
    variances, axes = np.linalg.eigh(np.cov(target, rowvar=False))
    kept = variances > NO_VARIANCE * variances[-1]
    axes, deviations = axes[:, kept], np.sqrt(variances[kept])
    own, *ends = (one @ axes / deviations for one in (X, controls, target))
    changed = aligned(own, ends[0], ends[1], ridge) - shifted(own, ends[0], ends[1])
    changed = changed * deviations @ axes.T
    moved: np.ndarray = shifted(X, controls, target) + changed
    return moved


def power(covariance: np.ndarray, exponent: float) -> np.ndarray:
    """Return a power of a symmetric positive matrix."""
    variances, axes = np.linalg.eigh(covariance)
    raised: np.ndarray = axes * variances**exponent @ axes.T
    return raised


WAYS = {"lr, mean of controls": shifted, "lr, CORAL of controls": aligned, "lr, TVN": tvn}
"""How a plate is moved by its controls, by row."""


def as_it_is(cells: Cells) -> np.ndarray:
    return cells.X


def z_scores(cells: Cells) -> np.ndarray:
    """Return features with mean 0 and deviation 1 on a plate."""
    return StandardScaler().fit_transform(cells.X)


def by_controls(way: Way, control: int, target: np.ndarray, cells: Cells) -> np.ndarray:
    """Return features that were moved by the control cells of a plate."""
    return way(cells.X, cells.X[cells.labels == control], target)


def controls_of(training: Cells, control: int) -> np.ndarray:
    """Return Training's control cells, without what their plates differ by."""
    found = training.select(training.labels == control)
    plates = np.unique(found.plates, return_inverse=True)[1]
    means = np.stack([found.X[plates == p].mean(axis=0) for p in range(plates.max() + 1)])
    centred: np.ndarray = found.X - means[plates] + found.X.mean(axis=0)
    return centred


def fitted(kind: str, cells: Cells, move: Move = as_it_is) -> Pipeline:
    """Fit a classifier on Training, each plate of it moved."""
    X = np.empty_like(cells.X)
    for plate in np.unique(cells.plates):
        rows = cells.plates == plate
        X[rows] = move(cells.select(rows))
    pipeline = build_pipeline(kind, Protocol())
    if kind == "lr":
        return fit_in_parallel(pipeline, X, cells.labels, [np.arange(len(X))], kind)[0]
    return pipeline.fit(X, cells.labels, classify__plates=cells.plates)


def labelled(pipeline: Pipeline, move: Move, cells: Cells) -> np.ndarray:
    places = Places(cells.plates, cells.wells)
    found = class_probabilities(pipeline, move(cells), len(CLASSES), places)
    return found.argmax(axis=1)


def read(data: TrainingData, split: str) -> CellBatch:
    (path,) = data.files[split]
    with data.open(path) as plate:
        return next(plate.batches(plate.n_cells))


def images_of(data: TrainingData, split: str) -> Cells:
    """Return a split's cells as ResNet sees them."""
    images = create("resnet").preprocess(read(data, split).images)
    return Cells(images, **vars(data.annotations(split)))


def texture_of(data: TrainingData, split: str) -> Cells:
    """Return a split's cells as texture."""
    (X,) = extract(data, split, create("texture")).values()
    return Cells(np.asarray(X), **vars(data.annotations(split)))


def sets_of(data: TrainingData, *more: World) -> Iterator[tuple[str, TrainingData]]:
    """Yield the test sets: splits of a data set, then new plates."""
    yield from ((split, data) for split in data.files if split != TRAINING)
    yield from ((world.title, world.data(data.dataset)) for world in (*WORLDS, *more))


def trainings(work: Path, seed: int) -> dict[str, TrainingData]:
    """Return both kinds of Training, simulated where they are missing."""
    folder = work / f"data-{seed}"
    if not folder.exists():
        with new_folder(folder) as partial_folder:
            simulate_dataset(partial_folder, SCALE, seed)
    full = World("training", TRAINING, 20, FIRST + 100 * seed, 2, 15)
    return {COOS7: find_data(folder), FULL: full.data(coos7())}


def add(tables: Tables, title: str, row: str, column: str, found: np.ndarray) -> None:
    """Add the errors of plates with one seed."""
    tables[title][row][column].append((float(found.mean()), float(found.max())))


def measure_batchnorm(tables: Tables, work: Path, seed: int, preset: str) -> None:
    by_kind = trainings(work, seed)
    labellers: dict[str, Labeller] = {}
    for kind, batches in product(by_kind, BATCHES):
        network = trained(work, kind, by_kind[kind], batches, preset)
        own, row = with_own_statistics(network), f"{kind}, batches of {batches}"
        labellers[f"{row}, running"] = partial(by_network, network, AT_A_TIME)
        labellers[f"{row}, own statistics"] = partial(by_network, own, None)
    for name, data in sets_of(by_kind[COOS7]):
        cells = images_of(data, name)
        for row, label in labellers.items():
            add(tables, "ResNet", row, name, errors(cells, labels_of(label, cells)))
            if name == WILD:
                cut(tables, "ResNet", row, label, cells)


def measure_tvn(tables: Tables, work: Path, seed: int, preset: str) -> None:
    """Measure alignment by controls on texture; there are no presets."""
    by_kind = trainings(work, seed)
    for kind, data in by_kind.items():
        title = f"texture, {kind}"
        training = texture_of(data, TRAINING)
        scale = StandardScaler().fit(training.X)
        rows = movers(replace(training, X=scale.transform(training.X)), kind == FULL)
        for name, of in sets_of(by_kind[COOS7], *LARGE):
            cells = texture_of(of, name)
            cells = replace(cells, X=scale.transform(cells.X))
            for row, labellers in rows.items():
                if of is not by_kind[COOS7]:
                    add_by_class(tables, title, row, name, labellers, cells)
                elif len(labellers) == 1:  # plates of splits have no class in common
                    add(tables, title, row, name, errors(cells, labels_of(labellers[0], cells)))


def add_by_class(
    tables: Tables, title: str, row: str, name: str, labellers: list[Labeller], cells: Cells
) -> None:
    """Add the mean over the classes that are controls, and what is asked of wild plates."""
    if name in {world.title for world in LARGE}:
        for count in CONTROLS:
            found = by_class(labellers, cells, count).mean(axis=0)
            add(tables, f"{title}, by number of controls", row, f"{name}, {count}", found)
        return
    found = by_class(labellers, cells)
    add(tables, title, row, name, found.mean(axis=0))
    if name == WILD:
        for protein, one in zip(CLASSES, found, strict=True):
            add(tables, f"{title}, wild plates by control", row, protein, one)
        if len(labellers) == 1:
            cut(tables, title, row, labellers[0], cells)


def by_class(labellers: list[Labeller], cells: Cells, count: int | None = None) -> np.ndarray:
    """Return errors (classes, plates) with each class as the control, of so many cells or all."""
    if len(labellers) == 1:
        predicted = labels_of(labellers[0], cells)
        return np.stack([errors(cells, predicted, c) for c in range(len(CLASSES))])
    found = []
    for control, label in enumerate(labellers):
        few = cells if count is None else thinned(cells, control, count)
        found.append(errors(few, labels_of(label, few), control))
    return np.stack(found)


def thinned(cells: Cells, label: int, count: int) -> Cells:
    """Return the cells with `count` of one class on each plate, evenly over its wells."""
    kept = cells.labels != label
    for plate in np.unique(cells.plates):
        rows = np.flatnonzero((cells.plates == plate) & (cells.labels == label))
        kept[rows[:: len(rows) // count][:count]] = True
    return cells.select(kept)


def movers(training: Cells, full: bool) -> dict[str, list[Labeller]]:
    """Return the labellers of each row: one, or one for each class that is the control.

    Where plates are full, those of Training are moved too.
    """
    lr = fitted("lr", training)
    z_scored = fitted("lr", training, z_scores) if full else lr
    rows: dict[str, list[Labeller]] = {
        "lr": [partial(labelled, lr, as_it_is)],
        "plates": [partial(labelled, fitted("plates", training), as_it_is)],
        "lr, z-scores of plates": [partial(labelled, z_scored, z_scores)],
    }
    for row, way in WAYS.items():
        rows[row] = []
        for control in range(len(CLASSES)):
            move = partial(by_controls, way, control, controls_of(training, control))
            pipeline = fitted("lr", training, move) if full else lr
            rows[row].append(partial(labelled, pipeline, move))
    return rows


def cut(tables: Tables, title: str, row: str, label: Labeller, cells: Cells) -> None:
    """Measure cut plates, the first few of these."""
    few = cells.select(np.isin(cells.plates, np.unique(cells.plates)[:N_CUT]))
    for name, parts in CUTS.items():
        found = errors(few, labels_of(label, few, parts))
        add(tables, f"{title}, cut wild plates", row, name, found)


def show(tables: Tables, seeds: list[int]) -> None:
    for title, rows in tables.items():
        columns = list(dict.fromkeys(column for row in rows.values() for column in row))
        print(f"\n{title}; simulated, seeds {', '.join(map(str, seeds))}\n")
        print(f"| | {' | '.join(columns)} |\n|{'---|' * (1 + len(columns))}")
        for row, found in rows.items():
            means = {column: np.mean(of_seeds, axis=0) for column, of_seeds in found.items()}
            told = ["{:.1f} ({:.0f})".format(*means[c]) if c in means else "" for c in columns]
            print(f"| {row} | {' | '.join(told)} |", flush=True)


REMEDIES = {"batchnorm": measure_batchnorm, "tvn": measure_tvn}


def main() -> None:
    """Print the tables of each seed and those before it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=REMEDIES, help="measure one remedy (default: both)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[11], help="of the data sets")
    parser.add_argument("--preset", choices=NETWORKS, default="quick", help="of ResNet's training")
    parser.add_argument("--work", type=Path, help="keeps plates and networks (default: nowhere)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = asked.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        os.environ["COOS_CACHE"] = str(work / "cache")
        tables: Tables = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
        for i, seed in enumerate(asked.seeds, 1):
            for name in [asked.only] if asked.only else REMEDIES:
                REMEDIES[name](tables, work, seed, asked.preset)
            show(tables, asked.seeds[:i])


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Let the drift report judge real cells of other laboratories, and print its verdicts as a table.

    scripts/real_verdicts.py ../shared/real

The folder holds `yeast_cells.hdf5` and `cells/*.h5`; docs/drift.md says what they are. Models are
trained in a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from drift_validation import plates, registries
from drift_validation.bank import Described
from drift_validation.causes import Cause
from drift_validation.seeds import JUDGING

from coos_mlflow.drift.assessment import Assessor
from coos_mlflow.drift.image_quality import raw_figures
from coos_mlflow.model.cell_model import CellModel
from coos_mlflow.plates.dataset import MIXTURE, ONE_CLASS, TRAINING
from coos_mlflow.plates.dataset_file import DATASET_FILE
from coos_mlflow.plates.reader import PlateWriter, open_plate
from coos_mlflow.plates.splits import find_data
from coos_mlflow.representations import create
from coos_mlflow.training.row import TrainingInputs

YEAST = "yeast_cells.hdf5"
PROTEINS = ("AAC1", "AAC3", "AAP1")
DYES = {"JUMP": "jump_BR00117006.h5", "PCA": "pca_BR00143976.h5"}
DYE_NAMES = {"AGP": 1, "RNA": 3}
"""The two dyes that both projects have, and their labels."""

AS_IT_IS = "as it is"

CAUSES = {
    AS_IT_IS: Cause("gain", 1.0),
    "gain x1.5": Cause("gain", 1.5),
    "noise of 40 counts": Cause("added_noise", 40.0),
    "blur of 1 pixel": Cause("camera_blur", 1.0),
    "channels swapped": Cause("swapped_channels", 1.0),
}

WELLS = {1: "1 well", 2: "2 halves"}
"""Yeast plates are one field each. Halves of a field are no wells, but let plates be judged."""

SCALE, SEED = 0.05, JUDGING.thin
"""Of the simulated data set, the first of those that judge."""


@dataclass(frozen=True)
class Cells:
    """Cells: images, uint16 (n, 2, 64, 64), and labels (-1 for none), plates and wells, (n,)."""

    images: np.ndarray
    labels: np.ndarray
    plates: np.ndarray
    wells: np.ndarray

    def select(self, rows: np.ndarray) -> Cells:
        """Return some of the cells."""
        return Cells(*(values[rows] for values in vars(self).values()))


@dataclass(frozen=True)
class Look:
    """What a report says of some cells: a line of the table, or of one that counts several."""

    said: dict[str, Any]
    truth: float | None

    @property
    def holds(self) -> bool:
        """Whether the true error lies in the range of the answer, or not below "at least"."""
        low, high = self.said["error"]["low"], self.said["error"]["high"]
        return low <= self.truth and (high is None or self.truth <= high)

    @property
    def answer(self) -> str:
        """The answer for the error in words, in %."""
        error = self.said["error"]
        if error["low"] is None:
            return str(error["answer"])
        if error["high"] is None:
            return f"at least {error['low']:.0f}"
        return f"{error['balanced_error']:.0f} ({error['low']:.0f} to {error['high']:.0f})"


def read(path: Path) -> Cells:
    """Read all cells of a plate file."""
    with open_plate(path) as plate:
        images = np.concatenate([batch.images for batch in plate.batches()])
        labels = np.full(len(images), -1) if plate.labels is None else plate.labels
        assert plate.plates is not None
        assert plate.wells is not None
        return Cells(images, labels, plate.plates, plate.wells)


def describe(cells: Cells) -> Described:
    """Compute texture features and raw-image figures."""
    features = create(registries.REPRESENTATION).transform(cells.images)
    return Described(features, raw_figures(cells.images), cells.labels, cells.wells)


def look(model: CellModel, cells: Described, names: np.ndarray, assessor: Assessor) -> Look:
    """Let a model judge a file of these cells of plates of these names.

    The true error is over labels, where there are.
    """
    scored = plates.score(model, cells)
    by_plate = {str(name): scored.select(names == name) for name in np.unique(names)}
    said = assessor.assess(
        plates.collected(by_plate), has_plate_ids=True, has_well_ids=True, effects=False
    )
    return Look(said, scored.true_error if (cells.labels >= 0).all() else None)


def select(cells: Described, rows: np.ndarray) -> Described:
    """Return some of the cells."""
    features = {layer: values[rows] for layer, values in cells.features.items()}
    return Described(features, cells.raw[rows], cells.labels[rows], cells.wells[rows])


def train(
    folder: Path, cells: Cells, described: Described, names: Sequence[str], wells: str
) -> CellModel:
    """Train texture-lr on cells labelled 0, 1, ..., without references."""
    folder.mkdir(parents=True)
    with PlateWriter(folder / "train.h5", len(cells.images)) as writer:
        writer.append(**vars(cells))
    description = {
        "name": folder.name,
        "classes": [{"name": name} for name in names],
        "crop": 64,
        "wells": wells,
        "splits": [{"name": "Training", "role": "train", "files": "train.h5"}],
    }
    (folder / DATASET_FILE).write_text(yaml.safe_dump(description))
    data = find_data(folder)
    inputs = TrainingInputs(create(registries.REPRESENTATION, dataset=data.dataset), data)
    # Computed on demand, these would be computed again for every model of the same cells.
    inputs.features, inputs.raw = {TRAINING: described.features}, {TRAINING: described.raw}
    return registries.trained(inputs, "lr", folder.name)


def simulated_model(work: Path) -> CellModel:
    """Simulate COOS-7 and train texture-lr on it."""
    data = registries.Data(registries.THIN, SCALE, SEED, ("lr",))
    registries.make(data, work, "real")
    return registries.judges([data], work, "real")[0].load()


def yeast_plates(cells: Cells, n_wells: int) -> Cells:
    """Make each field of each protein a plate, and equal parts of it, in file order, wells."""
    names = np.char.add(np.char.add(cells.plates.astype(str), " field "), cells.wells.astype(str))
    wells = np.empty(len(names), "U2")
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        wells[rows] = [f"A{1 + i * n_wells // len(rows)}" for i in range(len(rows))]
    labels = np.array([PROTEINS.index(protein) for protein in cells.plates])
    return replace(cells, labels=labels, plates=names, wells=wells)


def yeast_looks(
    cells: Cells, by_cause: dict[str, Described], work: Path
) -> dict[str, dict[str, Look]]:
    """Judge the plates of each field by a model of the other fields; by cause and plate."""
    by_cause = {
        cause: replace(described, labels=cells.labels, wells=cells.wells)
        for cause, described in by_cause.items()
    }
    looks: dict[str, dict[str, Look]] = {cause: {} for cause in by_cause}
    fields = np.array([plate.split()[-1] for plate in cells.plates])
    for field in np.unique(fields):
        others = fields != field
        described = select(by_cause[AS_IT_IS], others)
        model = train(work / f"yeast-{field}", cells.select(others), described, PROTEINS, ONE_CLASS)
        assessor = Assessor(model.reference)
        for plate in np.unique(cells.plates[~others]):
            rows = cells.plates == plate
            for cause, changed in by_cause.items():
                looks[cause][str(plate)] = look(
                    model, select(changed, rows), cells.plates[rows], assessor
                )
    return looks


def yeast_lines(path: Path, work: Path) -> Iterator[list[str]]:
    """Yield the lines of yeast plates, judged by models of other yeast plates."""
    yeast, rng = read(path), np.random.default_rng(SEED)
    by_cause = {
        cause: describe(replace(yeast, images=change.apply(rng, yeast.images)))
        for cause, change in CAUSES.items()
    }
    for n_wells, title in WELLS.items():
        looks = yeast_looks(yeast_plates(yeast, n_wells), by_cause, work / title)
        for cause, by_plate in looks.items():
            counted = _counted([*by_plate.values()])
            yield ["yeast, 9 plates", f"12 plates of {title}, {cause}", *counted]
        if n_wells > 1:
            for plate, one in looks[AS_IT_IS].items():
                yield ["yeast, 9 plates", f"{plate}, {title}", *_told(one)]


def lines_of_others(folder: Path, work: Path) -> Iterator[list[str]]:
    """Yield the lines of all files, judged by a model of other proteins."""
    for name, one in looks_at_others(folder, work):
        yield [f"simulated, scale {SCALE}", name, *_told(one)]


def looks_at_others(folder: Path, work: Path) -> Iterator[tuple[str, Look]]:
    """Judge all files by a model of simulated cells: none of them holds its proteins."""
    model = simulated_model(work)
    assessor = Assessor(model.reference)
    for path in [folder / YEAST, *sorted((folder / "cells").glob("*.h5"))]:
        cells = read(path)
        unknown = replace(cells, labels=np.full(len(cells.labels), -1))
        yield path.stem, look(model, describe(unknown), cells.plates, assessor)


def dye_lines(folder: Path, work: Path) -> Iterator[list[str]]:
    """Yield the lines of cells of two dyes, within and between two projects."""
    projects = {}
    for name, file in DYES.items():
        cells = read(folder / file)
        cells = cells.select(np.isin(cells.labels, list(DYE_NAMES.values())))
        labels = np.searchsorted(list(DYE_NAMES.values()), cells.labels)
        projects[name] = replace(cells, labels=labels)
    described = {name: describe(cells) for name, cells in projects.items()}

    def line(title: str, known: str, rows: np.ndarray, other: str, asked: np.ndarray) -> list[str]:
        cells, own = projects[known].select(rows), select(described[known], rows)
        model = train(work / f"{known}-{other}", cells, own, [*DYE_NAMES], MIXTURE)
        judged = select(described[other], asked), projects[other].plates[asked]
        assessor = Assessor(model.reference)
        return [known, title, *_told(look(model, *judged, assessor))]

    for name, cells in projects.items():
        # The same nucleus occurs once for each dye, in the same order.
        half = np.zeros(len(cells.labels), bool)
        for label in (0, 1):
            half[np.flatnonzero(cells.labels == label)[::2]] = True
        yield line(f"{name}, the other half of the nuclei", name, half, name, ~half)
    for known, other in (("JUMP", "PCA"), ("PCA", "JUMP")):
        every = (np.full(len(projects[name].labels), True) for name in (known, other))
        yield line(other, known, next(every), other, next(every))


def _told(one: Look) -> list[str]:
    sentence = one.said["reason"].partition(". ")[0].partition(": ")[0]
    truth = "not known" if one.truth is None else f"{one.truth:.0f}"
    return [one.said["verdict"], truth, one.answer, sentence.removesuffix(".")]


def _counted(looks: list[Look]) -> list[str]:
    verdicts = Counter(one.said["verdict"] for one in looks)
    answers = Counter(one.said["error"]["answer"] for one in looks)
    answered = [one for one in looks if one.said["error"]["low"] is not None]
    words = [f"{n} {what}" for what, n in answers.most_common()]
    if answered:
        words.append(f"{sum(one.holds for one in answered)} of {len(answered)} hold")
    far = sum(plate["beyond"] for one in looks for plate in one.said["plates"])
    truths = [one.truth for one in looks if one.truth is not None]
    return [
        ", ".join(f"{n} {verdict}" for verdict, n in verdicts.most_common()),
        f"{np.mean(truths):.0f} ({min(truths):.0f} to {max(truths):.0f})",
        ", ".join(words),
        f"{far} far outside what the model knows",
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    beside = Path(__file__).resolve().parents[2] / "shared" / "real"
    parser.add_argument("folder", type=Path, nargs="?", default=beside)
    folder = parser.parse_args().folder
    if not (folder / YEAST).is_file() or not (folder / "cells").is_dir():
        raise SystemExit(f"{folder}: no {YEAST} and cells/ found, expected the real cells there.")
    head = ["trained on", "judged", "verdict", "true error, %", "answer, %", "reason begins with"]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)
    with tempfile.TemporaryDirectory() as work:
        os.environ["COOS_CACHE"] = f"{work}/cache"
        for lines in (
            yeast_lines(folder / YEAST, Path(work)),
            lines_of_others(folder, Path(work)),
            dye_lines(folder / "cells", Path(work)),
        ):
            for line in lines:
                print(f"| {' | '.join(line)} |", flush=True)


if __name__ == "__main__":
    main()

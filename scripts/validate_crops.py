"""Measure on simulated plates what finding nuclei costs in labels: found cells against own crops.

    python scripts/validate_crops.py

A texture-lr model is trained on simulated COOS-7. Simulated plates of whole fields are cropped and
scored as `coos-score` does. The same nuclei are also cropped around their true outlines ("own
crops"). The last line is JSON: `points` is the largest difference of the balanced error of both
over the plates at 40x, in percentage points; each row of the table is one plate.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from benches._scoring import SCALE, at_home

from coos_mlflow import train
from coos_mlflow.cropping.crop import crop_plate
from coos_mlflow.cropping.plan import CropOptions, open_plate_images
from coos_mlflow.fields.cells import cut_cells
from coos_mlflow.fields.plate_images import Channel
from coos_mlflow.fields.settings import CropSettings
from coos_mlflow.fields.writers import WrittenField, write_plate
from coos_mlflow.metrics import balanced_error, confusion_matrix
from coos_mlflow.plates.dataset import coos7
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.scoring.images import crop_job
from coos_mlflow.scoring.scorer import Scorer
from coos_mlflow.simulate.whole_fields import WholeField, simulate_fields

PLATES = (("training", 0.3225), ("test2", 0.3225), ("test3", 0.3225), ("training", 0.645))
"""Split whose plates each is like, and size of its pixels in micrometres: 40x and 20x."""

SIDE_UM = 225.0
"""Height and width of a field, 700 pixels at 40x."""

WELLS = 4
"""Wells of each class, with one field each."""

SEED = 4711


class Row(NamedTuple):
    """What was measured on one plate; errors are balanced errors in %."""

    like: str
    pixel_um: float
    n_cells: int
    without_truth: int
    own_error: float
    found_error: float
    verdict: str
    estimate: float | None


def main(words: list[str] | None = None) -> None:
    argparse.ArgumentParser(description=__doc__).parse_args(words)
    with tempfile.TemporaryDirectory() as name, at_home(Path(name)):
        train("texture", data="simulated", scale=SCALE, classifiers=["lr"])
        scorer = Scorer.load("texture-lr")
        rows = [
            measured_on(scorer, Path(name), like, pixel, WELLS, SEED + number)
            for number, (like, pixel) in enumerate(PLATES)
        ]
    print("| like | pixel | cells | own crops | found cells | difference | verdict | estimate |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        difference = row.found_error - row.own_error
        estimate = "-" if row.estimate is None else f"{row.estimate:.1f} %"
        print(
            f"| {row.like} | {row.pixel_um:g} µm | {row.n_cells:,} | {row.own_error:.1f} % | "
            f"{row.found_error:.1f} % | {difference:+.1f} | {row.verdict} | {estimate} |"
        )
    at_40x = [row for row in rows if row.pixel_um < 0.4]
    points = max(abs(row.found_error - row.own_error) for row in at_40x)
    unmatched = sum(row.without_truth for row in rows) / sum(row.n_cells for row in rows)
    print(
        json.dumps({"points": round(points, 2), "cells_that_are_no_nucleus": round(unmatched, 4)})
    )


def measured_on(
    scorer: Scorer, folder: Path, like: str, pixel_um: float, wells: int, seed: int
) -> Row:
    """Crop and score a simulated plate, and compare its cells with own crops."""
    side = round(SIDE_UM / pixel_um)
    fields = list(
        simulate_fields(
            like=like,
            wells_per_class=wells,
            fields_per_well=1,
            size=(side, side),
            pixel_size_um=pixel_um,
            seed=seed,
        )
    )
    name = f"{like}_{pixel_um:g}"
    images = write_plate(
        folder / name,
        [WrittenField(f.plate, f.well, f.number, f.counts) for f in fields],
        format="harmony",
        channels=(Channel("GFP"), Channel("DRAQ5")),
        pixel_size_um=pixel_um,
        shape=(16, 24),
        simulated=True,
    )
    options = CropOptions()
    job = crop_job(scorer, open_plate_images(str(images), options), folder / "scores", options)
    crop_plate(job)
    scored = scorer.score(job.out, folder / "scores", log=False)
    with open_plate(job.out) as plate:
        cells = next(plate.batches(plate.n_cells))
        measured = plate.measurements
    pairs = [_paired(field, cells, measured, job.settings) for field in fields]
    classes = np.concatenate([pair.classes for pair in pairs])
    own = scorer.predict(np.concatenate([pair.own for pair in pairs]))
    found = scorer.predict(np.concatenate([pair.found for pair in pairs]))
    return Row(
        like,
        pixel_um,
        len(cells),
        sum(pair.without_truth for pair in pairs),
        _balanced_error(classes, own),
        _balanced_error(classes, found),
        scored.drift["verdict"],
        (scored.drift["error"] or {}).get("balanced_error"),
    )


class Pairs(NamedTuple):
    """The nuclei of a field that gave a cell both by their true outlines and by found ones."""

    classes: np.ndarray
    own: np.ndarray
    found: np.ndarray
    without_truth: int


def _paired(
    field: WholeField,
    cells: CellBatch,
    measured: dict[str, np.ndarray],
    settings: CropSettings,
) -> Pairs:
    """Pair the found cells of a field with the true nuclei that their centres lie on."""
    assert cells.wells is not None
    rows = np.flatnonzero(cells.wells == field.well)
    y, x = (np.rint(measured[f"centre_{axis}"][rows]).astype(int) for axis in "yx")
    true = field.labels[y, x]
    own = cut_cells(field.counts, field.labels, settings)
    numbers = own.columns["object"]
    both = np.isin(true, numbers)
    return Pairs(
        classes=field.classes[true[both] - 1],
        own=own.images[np.searchsorted(numbers, true[both])],
        found=cells.images[rows[both]],
        without_truth=int((true == 0).sum()),
    )


def _balanced_error(labels: np.ndarray, predictions: pd.DataFrame) -> float:
    """Return the balanced error in %."""
    predicted = predictions["label"].to_numpy()
    confusion = confusion_matrix(labels, predicted, coos7().n_classes)
    return float(balanced_error(confusion))


if __name__ == "__main__":
    main()

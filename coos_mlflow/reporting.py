"""From a scored plate to the report's page: the table of wells, the cells to look at, the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from coos_mlflow.data.cells import CLASSES
from coos_mlflow.data.wells import well_positions
from coos_mlflow.drift.profile import Profile
from coos_mlflow.drift.reference import Reference, ReferenceCells
from coos_mlflow.evaluation import recalls
from coos_mlflow.report.summary import WELL_COLUMNS, ExampleCell, ModelInfo
from coos_mlflow.tracking.registry import ModelRef


class WellConfidence:
    """Sums the confidence of cells by well while a plate streams by."""

    def __init__(self) -> None:
        self._totals: dict[tuple[str, str], float] = {}

    def add(self, plates: np.ndarray, wells: np.ndarray, confidence: np.ndarray) -> None:
        """Add the cells of a batch; three arrays of shape (n,)."""
        units, unit = np.unique(np.stack([plates, wells]), axis=1, return_inverse=True)
        sums = np.bincount(unit.ravel(), weights=confidence)
        for plate, well, total in zip(*units.tolist(), sums.tolist(), strict=True):
            self._totals[plate, well] = self._totals.get((plate, well), 0.0) + total

    def total(self, plate: str, well: str) -> float:
        """Return the summed confidence of a well's cells."""
        return self._totals[plate, well]


def well_table(
    assessment: dict[str, Any], profile: Profile, confidence: WellConfidence
) -> pd.DataFrame:
    """Return one row a well, with the report's `WELL_COLUMNS`."""
    rows = assessment["wells"]
    names = np.array([row["well"] for row in rows], dtype=str)
    row_numbers, column_numbers = well_positions(names)
    shares = _shares(profile, [(row["plate"], row["well"]) for row in rows])
    table = pd.DataFrame(
        {
            "plate": [row["plate"] for row in rows],
            "well": names,
            "row": row_numbers,
            "column": column_numbers,
            "n_cells": [row["n_cells"] for row in rows],
            "confidence": [
                confidence.total(row["plate"], row["well"]) / row["n_cells"] for row in rows
            ],
            "distance": [np.nan if row["distance"] is None else row["distance"] for row in rows],
        }
        | {f"share_{label}": shares[:, label] for label in range(len(CLASSES))}
    )
    return table[list(WELL_COLUMNS)]


def cells_to_look_at(picked: list[ExampleCell], reference: ReferenceCells) -> list[ExampleCell]:
    """Return the picked cells followed by the reference's."""
    columns = (reference.images, reference.labels, reference.splits, reference.plates)
    known: list[ExampleCell] = [
        {
            "image": image,
            "label": int(label),
            "role": "reference",
            "split": str(split),
            "plate": str(plate),
            "well": str(well),
        }
        for image, label, split, plate, well in zip(*columns, reference.wells, strict=True)
    ]
    return [*picked, *known]


def model_info(model: ModelRef, reference: Reference) -> ModelInfo:
    """Return what the page says of a model version."""
    return {
        "name": model.name,
        "version": model.version,
        "alias": model.alias,
        "trained_on": reference.provenance["dataset"],
        "simulated": bool(reference.provenance["simulated"]),
        "errors": reference.errors,
        "recalls": {
            split: recalls(confusion).tolist() for split, confusion in reference.confusions.items()
        },
    }


def _shares(profile: Profile, wells: list[tuple[str, str]]) -> np.ndarray:
    """Return the share of each predicted class in each well, shape (wells, 7)."""
    place = {well: row for row, well in enumerate(wells)}
    counts = np.zeros((len(wells), len(CLASSES)))
    units = zip(profile.plates.tolist(), profile.wells.tolist(), strict=True)
    rows = np.array([place[unit] for unit in units])
    np.add.at(counts, (rows, profile.classes), profile.counts)
    return counts / counts.sum(axis=1, keepdims=True)

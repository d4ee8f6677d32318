"""Read the labelled cells of a scored plate, as its model sees them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from coos_mlflow._utils.progress import progress
from coos_mlflow.audit.frame import Frame
from coos_mlflow.audit.labels_file import read_labels
from coos_mlflow.audit.sequence import inclusion
from coos_mlflow.errors import DataError
from coos_mlflow.labelling.adapt.cells import LabelledCells
from coos_mlflow.model.cell_model import CellModel
from coos_mlflow.plates.dataset import Dataset
from coos_mlflow.plates.layout import NONE, PREFIX, Layout, LayoutColumn
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.registry.results import AUDIT, PREDICTIONS
from coos_mlflow.reports.plate.wording import counted
from coos_mlflow.scoring.audited import audit_entry, frame_of
from coos_mlflow.scoring.predictions import BATCH

FEWEST = 20
"""Labelled cells of known classes that adapting needs: with fewer, leaving wells out tells
nothing."""

CONTROL_CELLS = 20
"""Most cells of a control well that teach; they resemble each other."""


@dataclass(frozen=True)
class Labels:
    """Rows of a plate's frame whose classes are known.

    Parameters
    ----------
    frame : Frame
    labeller : str
        Whose labels count, the same as in the measured error.
    rows, truths : ndarray of int64, shape (n,)
        Labelled cells of known classes.
    weights : ndarray of float64, shape (n,)
        One divided by the probability that the cell was drawn.
    strangers : int
        Labelled cells of no known class, which cannot teach.
    """

    frame: Frame
    labeller: str
    rows: np.ndarray
    truths: np.ndarray
    weights: np.ndarray
    strangers: int


def labels_in(folder: Path, drift: dict[str, Any]) -> Labels:
    """Return the labels in a folder of results.

    Raises
    ------
    DataError
        Where there are none or too few, or they are of another plate or model.
    """
    entry = audit_entry(folder, drift)
    if entry is None:
        raise DataError(
            f"{folder}: no cell has a label that says what it is, expected at least {FEWEST}; "
            f"`coos label {folder}` asks for some."
        )
    frame = frame_of(folder, drift)
    numbers = {one["name"]: n for n, one in enumerate(drift["dataset"]["classes"])}
    own = {
        label.cell: label.label
        for label in read_labels(folder / AUDIT)
        if label.labeller == entry["labeller"]
    }
    rows = np.flatnonzero(np.isin(frame.cells, list(own)))
    drawn = inclusion(frame, rows)
    truths = np.array([numbers.get(own[cell], NONE) for cell in frame.cells[rows].tolist()])
    known = truths != NONE
    if (n := int(known.sum())) < FEWEST:
        raise DataError(
            f"{folder}: {counted(n, 'cell')} of known classes labelled by {entry['labeller']}, "
            f"expected at least {FEWEST}; `coos label {folder}` asks for more."
        )
    return Labels(
        frame=frame,
        labeller=entry["labeller"],
        rows=rows[known],
        truths=truths[known],
        weights=1 / drawn[known],
        strangers=entry["n_cells"] - n,
    )


def controls_in(
    folder: Path, drift: dict[str, Any], labels: Labels, dataset: Dataset
) -> tuple[np.ndarray, np.ndarray]:
    """Return cells of wells whose class the plate map says; none of wells with labelled cells.

    Returns
    -------
    rows, truths : ndarray of int64, shape (m,)
        Of the frame.
    """
    frame, column = labels.frame, (drift["controls"] or {}).get("column")
    if column is None:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    table = pd.read_parquet(folder / PREDICTIONS, columns=["Metadata_Index", PREFIX + column])
    said = table.set_index("Metadata_Index")[PREFIX + column].loc[frame.cells]
    texts, text = np.unique(said.fillna("").to_numpy(str), return_inverse=True)
    truths = _classes(texts, column, dataset)[text]
    wells = _wells(frame, np.arange(len(frame)))
    free = (truths != NONE) & ~np.isin(wells, wells[labels.rows])
    rows = np.concatenate(
        [
            np.zeros(0, np.int64),
            *(_some(np.flatnonzero(free & (wells == well))) for well in np.unique(wells[free])),
        ]
    )
    return rows, truths[rows]


def cells_of(
    model: CellModel,
    plate: Path,
    frame: Frame,
    rows: np.ndarray,
    truths: np.ndarray,
    weights: np.ndarray,
) -> LabelledCells:
    """Compute the features of cells.

    Parameters
    ----------
    model : CellModel
        Prepared to score (`CellModel.prepare`).
    plate : Path
        The plate file.
    frame : Frame
    rows, truths : ndarray of int64, shape (n,)
        Of the frame.
    weights : ndarray of float64, shape (n,)
    """
    parts = list(_scored(model, plate, frame.cells[rows]))
    features, projected, probabilities = (np.concatenate(part) for part in zip(*parts, strict=True))
    wells = _wells(frame, rows)
    return LabelledCells(features, projected, probabilities, truths, weights, wells)


def _scored(model: CellModel, path: Path, cells: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    with (
        open_plate(path, model.dataset, check_labels=False) as plate,
        progress("Reading labelled cells", total=len(cells), unit="cells") as advance,
    ):
        for start in range(0, len(cells), BATCH):
            own = cells[start : start + BATCH].tolist()
            images = [next(plate.batches(1, cell, cell + 1)).images for cell in own]
            features = model.representation.transform(np.concatenate(images), model.layers)
            scores = model.classify(features)
            yield features[model.layer], scores.features, scores.probabilities
            advance(len(own))


def _wells(frame: Frame, rows: np.ndarray) -> np.ndarray:
    """Return the number of each row's well; cells without one have a number of their own."""
    names = np.stack([frame.plates[rows], frame.wells[rows]])
    number: np.ndarray = np.unique(names, axis=1, return_inverse=True)[1].ravel()
    nameless = frame.wells[rows] == ""
    return np.where(nameless, len(rows) + np.arange(len(rows)), number)


def _classes(texts: np.ndarray, column: str, dataset: Dataset) -> np.ndarray:
    """Return the class that each text in a layout's column of classes means; `NONE` for none."""
    values = tuple(str(text) or None for text in texts)
    lines = tuple(range(len(values)))
    column_of_classes = LayoutColumn(column, "string", values)
    layout = Layout(column, "", tuple(map(str, lines)), None, lines, (column_of_classes,))
    return np.array([NONE if one is None else one for one in layout.classes(dataset)], np.int64)


def _some(rows: np.ndarray) -> np.ndarray:
    """Return at most `CONTROL_CELLS` rows, spread evenly."""
    places = np.linspace(0, len(rows) - 1, min(CONTROL_CELLS, len(rows)))
    return rows[places.round().astype(np.int64)]

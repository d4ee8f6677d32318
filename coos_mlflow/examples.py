"""Cells worth looking at, picked while a plate streams by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coos_mlflow.data.cells import CLASSES, CellBatch
from coos_mlflow.data.wells import well_names
from coos_mlflow.report.summary import ExampleCell

PER_CLASS = 6

ROLES = ("typical", "doubtful", "farthest")
"""Nearest to the reference cells of their class; least probable; farthest from the reference."""


@dataclass
class _Kept:
    """The best cells so far of one class and one role, the best first."""

    ranks: np.ndarray
    cells: list[ExampleCell]


class ExamplePicker:
    """Keeps the few cells of each predicted class that rank first in each of `ROLES`."""

    def __init__(self) -> None:
        self._kept = {
            (role, label): _Kept(np.empty(0), []) for role in ROLES for label in range(len(CLASSES))
        }

    def add(self, batch: CellBatch, probabilities: np.ndarray, novelty: np.ndarray) -> None:
        """Look at a batch.

        Parameters
        ----------
        probabilities : ndarray, shape (n, 7)
        novelty : ndarray, shape (n,)
            Distance of each cell from the reference cells of its predicted class.
        """
        labels, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
        ranks = dict(zip(ROLES, (novelty, confidence, -novelty), strict=True))
        for (role, label), kept in self._kept.items():
            for row in _first(ranks[role], np.flatnonzero(labels == label), kept):
                cell = _describe(batch, row, label, role, confidence[row], novelty[row])
                _insert(kept, float(ranks[role][row]), cell)

    def cells(self) -> list[ExampleCell]:
        """Return the cells picked, by role and predicted class, the best first."""
        return [cell for kept in self._kept.values() for cell in kept.cells]


def _first(ranks: np.ndarray, rows: np.ndarray, kept: _Kept) -> list[int]:
    """Return the rows that could enter `kept`, at most `PER_CLASS`."""
    worst = kept.ranks[-1] if len(kept.ranks) == PER_CLASS else np.inf
    rows = rows[ranks[rows] < worst]
    order: list[int] = rows[np.argsort(ranks[rows], kind="stable")[:PER_CLASS]].tolist()
    return order


def _insert(kept: _Kept, rank: float, cell: ExampleCell) -> None:
    at = int(np.searchsorted(kept.ranks, rank, side="right"))
    kept.ranks = np.insert(kept.ranks, at, rank)[:PER_CLASS]
    kept.cells.insert(at, cell)
    del kept.cells[PER_CLASS:]


def _describe(
    batch: CellBatch, row: int, label: int, role: str, confidence: float, novelty: float
) -> ExampleCell:
    cell: ExampleCell = {
        "image": batch.images[row].copy(),
        "label": label,
        "role": role,
        "index": batch.start + row,
        "confidence": float(confidence),
        "distance": float(novelty),
    }
    if batch.plates is not None:
        cell["plate"] = str(batch.plates[row])
    if batch.wells is not None:
        cell["well"] = str(well_names(batch.wells[row : row + 1])[0])
    return cell

"""Cells worth looking at, picked while a plate streams by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from coos_mlflow.data.cells import CLASSES, CellBatch
from coos_mlflow.data.wells import well_names

PER_CLASS = 6

KINDS = ("typical", "least confident", "farthest")
"""Nearest to the reference cells of their class; least probable; farthest from the reference."""


@dataclass
class _Kept:
    """The best cells so far of one class and one kind, the best first."""

    ranks: np.ndarray
    cells: list[dict[str, Any]]


class ExamplePicker:
    """Keeps the few cells of each predicted class that rank first in each of `KINDS`."""

    def __init__(self) -> None:
        self._kept = {
            (kind, label): _Kept(np.empty(0), []) for kind in KINDS for label in range(len(CLASSES))
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
        ranks = dict(zip(KINDS, (novelty, confidence, -novelty), strict=True))
        for (kind, label), kept in self._kept.items():
            for row in _first(ranks[kind], np.flatnonzero(labels == label), kept):
                cell = _describe(batch, row, label, confidence[row], novelty[row])
                _insert(kept, float(ranks[kind][row]), cell)

    def cells(self) -> dict[str, dict[int, list[dict[str, Any]]]]:
        """Return, by kind and predicted class, the cells picked, the best first."""
        return {
            kind: {label: self._kept[kind, label].cells for label in range(len(CLASSES))}
            for kind in KINDS
        }


def _first(ranks: np.ndarray, rows: np.ndarray, kept: _Kept) -> list[int]:
    """Return the rows that could enter `kept`, at most `PER_CLASS`."""
    worst = kept.ranks[-1] if len(kept.ranks) == PER_CLASS else np.inf
    rows = rows[ranks[rows] < worst]
    order: list[int] = rows[np.argsort(ranks[rows], kind="stable")[:PER_CLASS]].tolist()
    return order


def _insert(kept: _Kept, rank: float, cell: dict[str, Any]) -> None:
    at = int(np.searchsorted(kept.ranks, rank, side="right"))
    kept.ranks = np.insert(kept.ranks, at, rank)[:PER_CLASS]
    kept.cells.insert(at, cell)
    del kept.cells[PER_CLASS:]


def _describe(
    batch: CellBatch, row: int, label: int, confidence: float, novelty: float
) -> dict[str, Any]:
    return {
        "index": batch.start + row,
        "plate": None if batch.plates is None else str(batch.plates[row]),
        "well": None if batch.wells is None else str(well_names(batch.wells[row : row + 1])[0]),
        "label": label,
        "confidence": float(confidence),
        "novelty": float(novelty),
        "image": batch.images[row].copy(),
    }

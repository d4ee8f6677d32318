"""How good predictions are: balanced error, recall per class, confusion, and an interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from coos_mlflow.data.cells import CLASSES


@dataclass(frozen=True)
class Evaluation:
    """Predictions of one split against its labels.

    Parameters
    ----------
    confusion : ndarray of int64, shape (7, 7)
        Rows are true classes, columns predicted ones.
    interval : tuple of float
        95 % interval of the balanced error in %.
    """

    confusion: np.ndarray
    interval: tuple[float, float]

    @property
    def balanced_error(self) -> float:
        """Balanced classification error in %, 100 * (1 - mean recall) (Lu et al. 2019)."""
        return float(_balanced_errors(self.confusion))

    @property
    def recalls(self) -> list[float]:
        """Recall per class 0..6; NaN for a class that the split does not hold."""
        return [float(r) for r in recalls(self.confusion)]

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return int(self.confusion.sum())

    @classmethod
    def from_dict(cls, said: dict[str, Any]) -> Evaluation:
        """Make again what `as_dict` has told."""
        low, high = said["interval"]
        return cls(np.array(said["confusion"], np.int64), (low, high))

    def as_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready, NaN as None."""
        return {
            "balanced_error": self.balanced_error,
            "interval": list(self.interval),
            "recalls": [None if np.isnan(r) else r for r in self.recalls],
            "confusion": self.confusion.tolist(),
            "n_cells": self.n_cells,
        }


def evaluate(
    labels: np.ndarray,
    predicted: np.ndarray,
    plates: np.ndarray,
    wells: np.ndarray,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Compare predictions with labels.

    The interval comes from a bootstrap that draws wells, with replacement, within each plate:
    cells of a well resemble each other, so drawing cells would promise too much.

    Parameters
    ----------
    labels, predicted : ndarray of int64, shape (n,)
        Classes 0..6.
    plates, wells : ndarray of str, shape (n,)
        Where each cell was.
    draws : int
        Bootstrap repetitions.
    """
    units, unit = np.unique(np.stack([plates, wells]), axis=1, return_inverse=True)
    per_well = np.zeros((units.shape[1], len(CLASSES), len(CLASSES)), np.int64)
    np.add.at(per_well, (unit.ravel(), labels, predicted), 1)
    weights = _draw_wells(units[0], draws, np.random.default_rng(seed))
    drawn = np.einsum("dw,wij->dij", weights, per_well)
    low, high = np.nanpercentile(_balanced_errors(drawn), [2.5, 97.5])
    return Evaluation(per_well.sum(axis=0), (float(low), float(high)))


def confusion_table(evaluation: Evaluation) -> pd.DataFrame:
    """Return the confusion matrix as a table with class names."""
    names = pd.Index(CLASSES, name="true class")
    return pd.DataFrame(evaluation.confusion, index=names, columns=list(CLASSES))


def _draw_wells(plates: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return (draws, wells) multiplicities: within a plate, as many wells as it has."""
    weights = np.zeros((draws, len(plates)))
    for plate in np.unique(plates):
        (members,) = np.nonzero(plates == plate)
        even = np.full(len(members), 1 / len(members))
        weights[:, members] = rng.multinomial(len(members), even, size=draws)
    return weights


def recalls(confusions: np.ndarray) -> np.ndarray:
    """Return recalls (..., 7) of confusions (..., 7, 7), NaN where a class has no cell."""
    cells = confusions.sum(axis=-1)
    right = np.einsum("...ii->...i", confusions)
    return np.divide(right, cells, out=np.full(cells.shape, np.nan), where=cells > 0)


def _balanced_errors(confusions: np.ndarray) -> np.ndarray:
    return 100 * (1 - np.nanmean(recalls(confusions), axis=-1))

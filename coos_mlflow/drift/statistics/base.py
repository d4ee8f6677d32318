"""The contract of an effect size between cells, and how one is found by its key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from coos_mlflow._utils.plugins import load_plugins


@dataclass(frozen=True)
class CellSample:
    """Some cells, in the three views.

    Parameters
    ----------
    wells : ndarray of int64, shape (n,)
        Number of each cell's well; wells of different plates have different numbers.
    classes : ndarray of int64, shape (n,)
        Predicted class 0..6.
    softmax : ndarray of float32, shape (n, 7)
        Probabilities of the classes.
    features : ndarray of float32, shape (n, dims)
        Main axes of the representation (`Projection.project`).
    raw : ndarray of float32, shape (n, len(RAW_FIGURES))
        What `raw_figures` returned.
    """

    wells: np.ndarray
    classes: np.ndarray
    softmax: np.ndarray
    features: np.ndarray
    raw: np.ndarray

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.classes)

    def select(self, rows: np.ndarray) -> CellSample:
        """Return the cells at `rows` (numbers or a mask)."""
        return CellSample(*(values[rows] for values in vars(self).values()))


@dataclass(frozen=True)
class Statistic:
    """An effect size: how much the cells of a plate differ from reference cells of the same mix.

    Cells of one well resemble each other, so that an effect size never becomes a p-value.

    Parameters
    ----------
    title : str
        What the report calls it.
    meaning : str
        What its values mean, for a biologist: what 0 is, what large is.
    measure : callable
        ``measure(plate, reference, seed)`` of two `CellSample` to a float. The reference is drawn
        with the plate's shares of predicted classes. The same arguments give the same value.
    """

    title: str
    meaning: str
    measure: Callable[[CellSample, CellSample, int], float]


@cache
def statistics() -> dict[str, Statistic]:
    """Return all statistics by key, the stem of their file, in the order of the keys."""
    return load_plugins(__package__, "STATISTIC")

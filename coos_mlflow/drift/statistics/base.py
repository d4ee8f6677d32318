"""The interface of an effect size, its input, and the lookup by key.

To add a statistic, add a file to this folder that declares ``STATISTIC = Statistic(...)``.
Reports then show it for every plate. Models that were registered before have no values of their
own splits for it; reports show a dash in these columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from coos_mlflow._utils.plugins import load_plugins

MAX_CELLS = 2000
"""The most cells of each side that are compared: the time of some statistics grows with the square
of their number."""


@dataclass(frozen=True)
class CellSample:
    """Some cells, in the three views.

    Parameters
    ----------
    wells : ndarray of int64, shape (n,)
        Number of each cell's well; wells of different plates have different numbers.
    classes : ndarray of int64, shape (n,)
        Predicted class.
    softmax : ndarray of float32, shape (n, classes)
        Probabilities of the classes.
    features : ndarray of float32, shape (n, dims)
        Main axes of the representation (`Projection.project`).
    raw : ndarray of float32, shape (n, len(RAW_FIGURES))
        From `coos_mlflow.drift.image_quality.raw_figures`.
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
    """An effect size between the cells of a plate and reference cells with the same class shares.

    Effect sizes never become p-values: cells of one well are correlated, so that a test over
    cells would call nearly every plate shifted.

    Parameters
    ----------
    title : str
        Its name in the report.
    meaning : str
        The meaning of its values for a biologist: which value is no difference, which is large.
    measure : callable
        ``measure(plate, reference, seed)`` takes two `CellSample` and returns a float. The
        reference is drawn with the plate's shares of predicted classes. The same arguments must
        give the same value.
    """

    title: str
    meaning: str
    measure: Callable[[CellSample, CellSample, int], float]


@cache
def statistics() -> dict[str, Statistic]:
    """Return all statistics by key, the stem of their file, in the order of the keys."""
    return load_plugins(__package__, "STATISTIC")

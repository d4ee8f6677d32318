"""How many robust deviations the raw-image figures lie from those of the reference."""

from __future__ import annotations

import numpy as np

from coos_mlflow.drift.plate_distance import LEAST_DEVIATION
from coos_mlflow.drift.statistics.base import CellSample, Statistic

MOVED = 3.5
"""Above this a figure is called moved (Iglewicz & Hoaglin 1993, "How to detect outliers")."""


def robust_z(values: np.ndarray, reference: np.ndarray, least: np.ndarray | float) -> np.ndarray:
    """Return (value - median) / (1.4826 * median absolute deviation) in each dimension.

    Parameters
    ----------
    values : ndarray, shape (dims,)
        Figures of the plate.
    reference : ndarray, shape (plates, dims)
        The same figures of the reference plates.
    least : ndarray, shape (dims,), or float
        Lower limit of the deviation, for plates that happen to agree; above 0.
    """
    return (values - np.median(reference, axis=0)) / np.maximum(robust_spread(reference), least)


def robust_spread(values: np.ndarray) -> np.ndarray:
    """Return 1.4826 * median absolute deviation of each column: normal ones' standard deviation."""
    return 1.4826 * np.median(np.abs(values - np.median(values, axis=0)), axis=0)


def standardised_differences(plate: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the differences of the means over the spread of single reference cells.

    Parameters
    ----------
    plate, reference : ndarray, shape (n, figures) and (m, figures)
        Raw-image figures of cells.

    Returns
    -------
    ndarray of float64, shape (figures,)
        Signed. The spread is `robust_spread`; that of a figure which hardly ever leaves one value,
        such as the number of saturated pixels, is the standard deviation, at least
        `LEAST_DEVIATION`.
    """
    spread = robust_spread(reference.astype(np.float64))
    rare = spread < LEAST_DEVIATION
    spread[rare] = np.maximum(reference[:, rare].std(axis=0), LEAST_DEVIATION)
    difference = plate.mean(axis=0, dtype=np.float64) - reference.mean(axis=0, dtype=np.float64)
    return difference / spread


def _measure(plate: CellSample, reference: CellSample, seed: int) -> float:
    return float(np.abs(standardised_differences(plate.raw, reference.raw)).max())


STATISTIC = Statistic(
    "Difference of the raw images",
    "Largest difference in brightness, contrast, focus and the like, in standard deviations of "
    "single cells. Near 0: alike; 1: as large as cells ordinarily differ.",
    _measure,
)

"""Robust differences of raw-image figures (brightness, contrast, sharpness) from the reference."""

from __future__ import annotations

import numpy as np

from coos_mlflow.drift.plate_distance import MIN_CELL_DEVIATION
from coos_mlflow.drift.statistics.base import CellSample, Statistic

MOVED = 3.5
"""A figure has moved if its robust z reaches this (Iglewicz & Hoaglin 1993, "How to detect
outliers")."""


def robust_z(values: np.ndarray, reference: np.ndarray, minimum: np.ndarray | float) -> np.ndarray:
    """Return (value - median) / (1.4826 * median absolute deviation) in each dimension.

    Parameters
    ----------
    values : ndarray, shape (dims,)
        Figures of the plate.
    reference : ndarray, shape (plates, dims)
        The same figures of the reference plates.
    minimum : ndarray, shape (dims,), or float
        Lower limit of the deviation, above 0: a few reference plates can agree by chance.
    """
    return (values - np.median(reference, axis=0)) / np.maximum(robust_spread(reference), minimum)


def robust_spread(values: np.ndarray) -> np.ndarray:
    """Return 1.4826 * median absolute deviation of each column.

    For normal values this estimates the standard deviation.
    """
    return 1.4826 * np.median(np.abs(values - np.median(values, axis=0)), axis=0)


def standardised_differences(plate: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the differences of the means, divided by the spread of single reference cells.

    Parameters
    ----------
    plate, reference : ndarray, shape (n, figures) and (m, figures)
        Raw-image figures of cells.

    Returns
    -------
    ndarray of float64, shape (figures,)
        Signed. The spread is `robust_spread`. For figures that are constant over most cells, such
        as the number of saturated pixels, it is the standard deviation, at least
        `MIN_CELL_DEVIATION`.
    """
    spread = robust_spread(reference.astype(np.float64))
    nearly_constant = spread < MIN_CELL_DEVIATION
    deviation = reference[:, nearly_constant].std(axis=0)
    spread[nearly_constant] = np.maximum(deviation, MIN_CELL_DEVIATION)
    difference = plate.mean(axis=0, dtype=np.float64) - reference.mean(axis=0, dtype=np.float64)
    return difference / spread


def _measure(plate: CellSample, reference: CellSample, seed: int) -> float:
    return float(np.abs(standardised_differences(plate.raw, reference.raw)).max())


STATISTIC = Statistic(
    "Difference of the raw images",
    "Largest difference in brightness, contrast, sharpness and so on, in standard deviations of "
    "single cells. Near 0: alike; 1: as large as cells ordinarily differ.",
    _measure,
)

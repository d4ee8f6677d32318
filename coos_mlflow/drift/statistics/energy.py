"""Energy distance: mean distance between samples, compared with that within samples."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from coos_mlflow.drift.statistics.base import MAX_CELLS, CellSample, Statistic

MIN_SCALE = 0.01
"""Minimum standard deviation of an axis, relative to that of the widest axis. Without it a nearly
constant axis would dominate the distance."""

_BLOCK = 256


def mean_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Return the mean Euclidean distance between the cells of `x` and those of `y`.

    Parameters
    ----------
    x, y : ndarray, shape (n, dims) and (m, dims)
        Cells.
    """
    blocks = (cdist(x[start : start + _BLOCK], y).sum() for start in range(0, len(x), _BLOCK))
    return float(sum(blocks) / (len(x) * len(y)))


def energy_coefficient(x: np.ndarray, y: np.ndarray) -> float:
    """Return (2 E|X - Y| - E|X - X'| - E|Y - Y'|) / (2 E|X - Y|).

    The energy distance over its largest possible value (Szekely & Rizzo 2013, "Energy statistics",
    J. Stat. Plan. Inference 143). A cell is not paired with itself, which keeps the numerator
    unbiased for any number of cells.

    Parameters
    ----------
    x, y : ndarray, shape (n, dims) and (m, dims)
        Two samples of at least 2 cells each.

    Returns
    -------
    float
        Around 0, also slightly below, for equal distributions; 1 for two separate points.
    """
    between = 2 * mean_distance(x, y)
    if between == 0:
        return 0.0
    within = sum(mean_distance(side, side) * len(side) / (len(side) - 1) for side in (x, y))
    return (between - within) / between


def _measure(plate: CellSample, reference: CellSample, seed: int) -> float:
    rng = np.random.default_rng(seed)
    x, y = (
        rng.choice(sample.features, min(len(sample), MAX_CELLS), replace=False)
        for sample in (plate, reference)
    )
    deviation = y.std(axis=0, dtype=np.float64)
    scale = np.maximum(deviation, MIN_SCALE * deviation.max()) if deviation.any() else 1.0
    return energy_coefficient(x / scale, y / scale)


STATISTIC = Statistic(
    "Energy distance",
    "How much farther cells lie from the other sample's cells than from their own sample's. "
    "Around 0: alike; 1: two separate points.",
    _measure,
)

"""Difference of the predicted probabilities: black-box shift detection as an effect size."""

from __future__ import annotations

import numpy as np
from scipy.stats import ks_2samp

from coos_mlflow.drift.statistics.base import CellSample, Statistic

DIGITS = 2
"""Probabilities are rounded to hundredths. The statistic uses ranks only: without rounding, the
difference between 0.000001 and 0.0001 would count as much as any other."""


def kolmogorov_smirnov(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the Kolmogorov-Smirnov distance of x and y in each column.

    Parameters
    ----------
    x, y : ndarray, shape (n, classes) and (m, classes)
        Two samples.

    Returns
    -------
    ndarray of float64, shape (classes,)
        0 for equal, 1 for disjoint samples. Chance alone gives about 0.9 sqrt(1/n + 1/m).
    """
    pairs = zip(x.T, y.T, strict=True)
    return np.array([ks_2samp(a, b, method="asymp").statistic for a, b in pairs])


def _measure(plate: CellSample, reference: CellSample, seed: int) -> float:
    """Return the largest distance over classes.

    Lipton et al. 2018 detect shift from a model's predictions; Rabanser et al. 2019 ("Failing
    loudly") use this statistic in each class.
    """
    x, y = (np.round(sample.softmax, DIGITS) for sample in (plate, reference))
    return float(kolmogorov_smirnov(x, y).max())


STATISTIC = Statistic(
    "Difference of the model's answers",
    "Share of cells for which the model gives a class another probability than on the reference. "
    "Near 0: it answers alike; 1: quite otherwise.",
    _measure,
)

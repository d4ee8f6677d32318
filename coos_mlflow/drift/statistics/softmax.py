"""Distance between the model's answers: black-box shift detection as an effect size."""

from __future__ import annotations

import numpy as np
from scipy.stats import ks_2samp

from coos_mlflow.drift.statistics.base import CellSample, Statistic

DIGITS = 2
"""Probabilities are compared to one hundredth: ranks would else make a difference of one in a
million and one in ten thousand, in a class that the model does not think of, as large as any."""


def kolmogorov_smirnov(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the largest difference of the distribution functions of x and y in each column.

    Parameters
    ----------
    x, y : ndarray, shape (n, classes) and (m, classes)
        Two samples.

    Returns
    -------
    ndarray of float64, shape (classes,)
        0 for equal, 1 for disjoint. Chance alone gives some 0.9 sqrt(1/n + 1/m).
    """
    pairs = zip(x.T, y.T, strict=True)
    return np.array([ks_2samp(a, b, method="asymp").statistic for a, b in pairs])


def _measure(plate: CellSample, reference: CellSample, seed: int) -> float:
    """Return the largest over classes.

    Lipton et al. 2018 look for a shift in the model's answers, Rabanser et al. 2019 ("Failing
    loudly") by this statistic in each class.
    """
    x, y = (np.round(sample.softmax, DIGITS) for sample in (plate, reference))
    return float(kolmogorov_smirnov(x, y).max())


STATISTIC = Statistic(
    "Difference of the model's answers",
    "Share of cells for which the model gives a class another probability than on the reference. "
    "Near 0: it answers alike; 1: quite otherwise.",
    _measure,
)

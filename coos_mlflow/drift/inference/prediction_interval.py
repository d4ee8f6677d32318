"""The limit below which the score of the next plate falls, from the scores of few plates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats


def plate_moments(reference: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation over plates, each plate with the same weight.

    Parameters
    ----------
    reference : sequence of ndarray, shape (choices, ...)
        Scores of each of m >= 2 plates; a plate that can be judged in several ways, by one class
        or by another, divides its weight among them.

    Returns
    -------
    mean, deviation : ndarray of float64, shape (...)
        The deviation has m - 1 degrees of freedom.
    """
    m = len(reference)
    scores = np.concatenate([np.asarray(choices, dtype=np.float64) for choices in reference])
    weights = np.concatenate([np.full(len(choices), 1 / len(choices)) for choices in reference])
    mean = np.average(scores, axis=0, weights=weights)
    variance = np.average((scores - mean) ** 2, axis=0, weights=weights) * m / (m - 1)
    return mean, np.sqrt(variance)


def exceedance(value: np.ndarray, m: int) -> np.ndarray:
    """Return the share of further plates expected above values, by the t prediction interval.

    Hahn & Meeker (1991), "Statistical Intervals", section 4.8, for one further observation of a
    normal population of which m plates are known.

    Parameters
    ----------
    value : ndarray of float64
        In standard deviations of the m plates from their mean; see `plate_moments`.
    m : int
        At least 2.
    """
    share: np.ndarray = stats.t.sf(np.asarray(value) / np.sqrt(1 + 1 / m), m - 1)
    return share


def upper_limit(alpha: float, m: int) -> float:
    """Return the value with an `exceedance` of `alpha`: t(1 - alpha; m - 1) * sqrt(1 + 1/m)."""
    return float(stats.t.ppf(1 - alpha, m - 1) * np.sqrt(1 + 1 / m))

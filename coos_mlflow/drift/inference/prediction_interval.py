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


def exceedance(score: float, reference: Sequence[np.ndarray]) -> float:
    """Return the share of further plates expected above a score: 1 - alpha of `upper_limit`.

    Parameters
    ----------
    score : float
    reference : sequence of ndarray, shape (choices,)
        See `upper_limit`.
    """
    m = len(reference)
    mean, deviation = plate_moments(reference)
    return float(stats.t.sf((score - mean) / (deviation * np.sqrt(1 + 1 / m)), m - 1))


def upper_limit(reference: Sequence[np.ndarray], alpha: float) -> float:
    """Return the one-sided t prediction limit: mean + t(1 - alpha; m - 1) * s * sqrt(1 + 1/m).

    Hahn & Meeker (1991), "Statistical Intervals", section 4.8, for one further observation.

    Parameters
    ----------
    reference : sequence of ndarray, shape (choices,)
        Scores of each of m >= 2 plates, about normal; see `plate_moments`.
    alpha : float
        Share of plates from the same population that exceed the limit.
    """
    m = len(reference)
    mean, deviation = plate_moments(reference)
    return float(mean + stats.t.ppf(1 - alpha, m - 1) * deviation * np.sqrt(1 + 1 / m))

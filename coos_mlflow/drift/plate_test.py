"""Tests that take the plate as the unit: p-values of one plate, and of several plates together.

`verdict` uses these functions. They know arrays of scores only, neither cells nor files.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

DRAWS = 20_000
"""Simulated plates: the 5 % limit is then known to within 1 %."""

SHRINKAGE = 0.5
"""Weight of the identity matrix in the correlation of the views. About twenty plates give only a
rough correlation; independent views have the higher limit."""


def simes(p: np.ndarray) -> float:
    """Combine the p-values of n plates: the minimum of n p_(i) / i over sorted p_(1) <= ... p_(n).

    The result is small when one plate is very unusual or when many are slightly unusual. For a
    single plate it is the plate's own p. Simes (1986), Biometrika 73(3), 751-754,
    doi:10.1093/biomet/73.3.751.

    Parameters
    ----------
    p : ndarray of float, shape (n,), n >= 1
        One p-value for each plate, independent or positively dependent.
    """
    ordered = np.sort(np.asarray(p, dtype=np.float64))
    return float((len(ordered) * ordered / np.arange(1, len(ordered) + 1)).min())


def plate_moments(reference: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation over plates, with equal weight for each plate.

    Parameters
    ----------
    reference : sequence of ndarray, shape (choices, ...)
        Scores of each of m >= 2 plates. A plate that can be compared by several choices of its
        classes divides its weight equally among them.

    Returns
    -------
    mean, deviation : ndarray of float64, shape (...)
        The deviation has m - 1 degrees of freedom.
    """
    m = len(reference)
    scores, weights = _weighted_choices(reference)
    mean = np.average(scores, axis=0, weights=weights)
    variance = np.average((scores - mean) ** 2, axis=0, weights=weights) * m / (m - 1)
    return mean, np.sqrt(variance)


def view_correlation(plates: Sequence[np.ndarray]) -> np.ndarray:
    """Return the correlation of the views over plates, shrunk towards independence.

    Parameters
    ----------
    plates : sequence of ndarray, shape (choices, views)
        Values of each plate, weighted as in `plate_moments`.

    Returns
    -------
    ndarray of float64, shape (views, views)
    """
    values, weights = _weighted_choices(plates)
    centred = values - np.average(values, axis=0, weights=weights)
    covariance = (weights[:, None] * centred).T @ centred
    deviation = np.sqrt(np.diag(covariance))
    scale = np.where(deviation > 0, deviation, 1.0)
    observed = covariance / np.outer(scale, scale)
    np.fill_diagonal(observed, 1.0)
    return (1 - SHRINKAGE) * observed + SHRINKAGE * np.eye(values.shape[1])


def null_maxima(m: int, correlation: np.ndarray, seed: int = 0) -> np.ndarray:
    """Simulate the null distribution of a new plate's largest standardised view.

    Views are standardised by mean and deviation of m known plates, which are drawn too: the
    uncertainty from having few plates makes the maxima larger. For one view the distribution is
    Student's t times sqrt(1 + 1/m), the prediction interval of Hahn & Meeker (1991), section 4.8.
    For several views it is the single-step max-T of Westfall & Young (1993) under normality.

    Parameters
    ----------
    m : int
        Known plates, at least 2.
    correlation : ndarray, shape (views, views)
    seed : int

    Returns
    -------
    ndarray of float64, shape (DRAWS,)
        In increasing order.
    """
    rng = np.random.default_rng(seed)
    factor = np.linalg.cholesky(correlation)
    plates = rng.standard_normal((DRAWS, m + 1, len(correlation))) @ factor.T
    known, new = plates[:, :m], plates[:, m]
    standardised = (new - known.mean(axis=1)) / known.std(axis=1, ddof=1)
    return np.sort(standardised.max(axis=1))


def p_value(score: np.ndarray, maxima: np.ndarray) -> np.ndarray:
    """Return the share of simulated maxima that are at least as large as the score.

    The score itself is counted among them (Phipson & Smyth 2010), so that p is never 0.

    Parameters
    ----------
    score : ndarray, any shape
    maxima : ndarray, shape (n,)
        In increasing order, from `null_maxima`.

    Returns
    -------
    ndarray of float64, the shape of `score`
    """
    at_least = len(maxima) - np.searchsorted(maxima, score, side="left")
    share: np.ndarray = (1 + at_least) / (len(maxima) + 1)
    return share


def conformal_rank(score: float, reference: Sequence[np.ndarray]) -> float:
    """Return (1 + number of reference plates at least as far) / (number of plates + 1).

    If the plate and the m reference plates are exchangeable, the result is at most alpha in no
    more than a share alpha of plates, whatever the distribution (Vovk, Gammerman & Shafer 2005,
    chapter 2).

    Parameters
    ----------
    score : float
        Distance of the plate.
    reference : sequence of ndarray, shape (choices,)
        Distances of each reference plate. A plate that can be compared by several choices of its
        classes counts by the share of choices that are at least as far.

    Returns
    -------
    float
        At least 1 / (m + 1).
    """
    at_least = sum(float(np.mean(np.asarray(choices) >= score)) for choices in reference)
    return (1 + at_least) / (len(reference) + 1)


def _weighted_choices(plates: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the choices of all plates as one array, and weights that sum to 1 for each plate."""
    scores = np.concatenate([np.asarray(choices, dtype=np.float64) for choices in plates])
    weights = np.concatenate([np.full(len(choices), 1 / len(choices)) for choices in plates])
    return scores, weights

"""How far the farthest of several views of an ordinary plate lies, where few plates are known."""

from __future__ import annotations

import numpy as np

DRAWS = 20_000
"""Simulated plates: the 5 % limit is then known to within 1 %."""

SHRINKAGE = 0.5
"""Weight of independence in the correlation of the views, which some twenty plates tell roughly;
independent views have the higher limit."""


def view_correlation(plates: list[np.ndarray]) -> np.ndarray:
    """Return how the views of plates rise and fall together, shrunk towards independence.

    Parameters
    ----------
    plates : list of ndarray, shape (choices, views)
        Values of each plate; one that can be judged in several ways divides its weight among them.

    Returns
    -------
    ndarray of float64, shape (views, views)
    """
    values = np.concatenate(plates)
    weights = np.concatenate([np.full(len(one), 1 / len(one)) for one in plates])
    centred = values - np.average(values, axis=0, weights=weights)
    covariance = (weights[:, None] * centred).T @ centred
    deviation = np.sqrt(np.diag(covariance))
    scale = np.where(deviation > 0, deviation, 1.0)
    observed = covariance / np.outer(scale, scale)
    np.fill_diagonal(observed, 1.0)
    return (1 - SHRINKAGE) * observed + SHRINKAGE * np.eye(values.shape[1])


def null_maxima(m: int, correlation: np.ndarray, seed: int = 0) -> np.ndarray:
    """Draw the largest standardised view of a further plate of a normal population.

    Mean and deviation of each view are those of m known plates, as they are in use: what few
    plates do not tell of them makes the maximum larger. For one view this is Student's t times
    sqrt(1 + 1/m), the prediction interval of Hahn & Meeker (1991), section 4.8; for several it is
    the single-step max-T of Westfall & Young (1993) under normality.

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
    place = (new - known.mean(axis=1)) / known.std(axis=1, ddof=1)
    return np.sort(place.max(axis=1))


def p_value(score: np.ndarray, maxima: np.ndarray) -> np.ndarray:
    """Return the share of drawn maxima at least as large as scores, never 0."""
    at_least = len(maxima) - np.searchsorted(maxima, score, side="left")
    share: np.ndarray = (1 + at_least) / (len(maxima) + 1)
    return share

"""Intervals of recalls that were measured in wells of known class, and of their balanced error.

Cells of a well are not independent. The number of right labels in a well is taken as beta-binomial:
wells have recalls of their own, spread around that of their class by the correlation of cells in a
well (Williams 1975, Biometrics 31, 949-952). What the wells say of the correlation is a posterior
on a grid. For each correlation the cells of a class are worth a number of independent ones, and the
interval is that of a mixture over the correlations: an uncertain correlation makes it wider.
"""

from __future__ import annotations

import numpy as np
from scipy.special import betainc, betaln

from coos_mlflow.drift.estimators.well_consensus import CELL_CORRELATION
from coos_mlflow.drift.wells import LEVEL

CORRELATION_SHAPE, CORRELATION_SCALE = 2, 0.1
"""Gamma prior of the correlation, before any well is seen: mode 0.1, mean 0.2, several times what
was measured (`CELL_CORRELATION`). One well tells nothing of the correlation and eight wells little,
and the intervals still cover with a correlation of 0.15 (docs/drift.md)."""

_CORRELATIONS = np.geomspace(0.01, 0.9, 12)
_PRIOR = _CORRELATIONS**CORRELATION_SHAPE * np.exp(-_CORRELATIONS / CORRELATION_SCALE)
"""By step of the grid, which is even in the logarithm."""

_RECALLS = np.sin((np.arange(60) + 0.5) / 60 * np.pi / 2) ** 2
"""Even steps of the angle are Jeffreys' prior of a recall."""

_BINS = 400


def intervals(
    right: np.ndarray, cells: np.ndarray, classes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """Return the 95 % intervals of the recalls of classes and of their balanced error.

    For a given correlation the posterior of a recall is that of Jeffreys' prior (Brown, Cai &
    DasGupta 2001, Statistical Science 16(2), 101-133) for the effective number of cells (Kish 1965,
    section 5.4), with a correlation of at least `CELL_CORRELATION`. All classes share the
    correlation. An interval holds the measured value. The ends of the balanced error follow from
    those of the recalls (MOVER: Zou & Donner 2008, Statistics in Medicine 27(10), 1693-1702). Its
    sides are at least as wide as those of the share of all cells that are right.

    Parameters
    ----------
    right, cells : ndarray, shape (wells,)
        Cells with the right label, and all cells, of wells of known class.
    classes : ndarray of int, shape (wells,)
        The class of each well.

    Returns
    -------
    lows, highs : ndarray of float64, shape (classes that occur,)
        Of the recalls, in the order of the labels.
    error : (float, float)
        Of the balanced error in %.
    """
    members = [np.flatnonzero(classes == label) for label in np.unique(classes)]
    weights = _correlation_weights([(right[own], cells[own]) for own in members])
    measured = np.array([right[own].sum() / cells[own].sum() for own in members])
    posteriors = np.stack([_posterior(right[own], cells[own]) for own in members])
    ends = np.array([_ends(weights @ posterior) for posterior in posteriors])
    lows, highs = _holding(measured, *ends.T)
    mean, n = float(measured.mean()), len(measured)
    # Where a class is read wholly right, its interval has no upper side: that of all cells has one.
    share = right.sum() / cells.sum()
    low, high = _ends(weights @ _posterior(right, cells))
    below = max(float(np.linalg.norm(measured - lows)) / n, share - low)
    above = max(float(np.linalg.norm(highs - measured)) / n, high - share)
    return lows, highs, (100 * max(1 - mean - above, 0.0), 100 * min(1 - mean + below, 1.0))


def _correlation_weights(classes: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the posterior of the correlation on its grid, given right and all cells by class."""
    concentration = (1 / _CORRELATIONS - 1)[:, None]
    alpha, beta = _RECALLS * concentration, (1 - _RECALLS) * concentration
    logs = np.log(_PRIOR)
    for right, cells in classes:
        pairs, times = np.unique(np.stack([right, cells - right]), axis=1, return_counts=True)
        own = -times.sum() * betaln(alpha, beta)
        for hits, misses, n in zip(*pairs, times, strict=True):
            own += n * betaln(hits + alpha, misses + beta)
        top = own.max()
        logs = logs + np.log(np.exp(own - top).mean(axis=1)) + top
    weights: np.ndarray = np.exp(logs - logs.max())
    return weights / weights.sum()


def _posterior(right: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Return the posterior of a recall by correlation, shape (correlations, bins)."""
    correlation = np.maximum(_CORRELATIONS, CELL_CORRELATION)[:, None]
    total = cells.sum()
    effective = total**2 / (cells * (1 + (cells - 1) * correlation)).sum(axis=1, keepdims=True)
    share = right.sum() / total
    edges = np.linspace(0, 1, _BINS + 1)
    return np.diff(betainc(0.5 + effective * share, 0.5 + effective * (1 - share), edges), axis=1)


def _ends(masses: np.ndarray) -> tuple[float, float]:
    """Return the ends of the central interval of a distribution over the bins."""
    tail, middles = (1 - LEVEL) / 2, (np.arange(_BINS) + 0.5) / _BINS
    low, high = np.interp([tail, 1 - tail], np.cumsum(masses) - masses / 2, middles)
    return float(low), float(high)


def _holding(
    measured: np.ndarray, lows: np.ndarray, highs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return intervals that hold the measured share, and reach 0 or 1 where that does."""
    lows = np.where(measured == 0, 0.0, np.minimum(lows, measured))
    return lows, np.where(measured == 1, 1.0, np.maximum(highs, measured))

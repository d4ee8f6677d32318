"""Novelty: distance of single cells from the reference cells with the same predicted class."""

from __future__ import annotations

import numpy as np

from coos_mlflow.drift.statistics.base import CellSample, Statistic

FARTHEST = 0.01
"""Share of the reference cells that count as far from their class."""


def class_moments(
    classes: np.ndarray,
    counts: np.ndarray,
    means: np.ndarray,
    variances: np.ndarray,
    n_classes: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Pool means and variances of groups of cells to mean and standard deviation by class.

    Parameters
    ----------
    classes, counts : ndarray of int, shape (groups,)
        Class and number of cells of each group.
    means, variances : ndarray, shape (groups, dims)
        Of the cells of each group.
    n_classes : int
        Number of classes.

    Returns
    -------
    centres, spreads : ndarray of float64, shape (n_classes, dims)
        NaN for a class without cells.
    """
    centres = np.full((n_classes, means.shape[1]), np.nan)
    spreads = np.full_like(centres, np.nan)
    for label in np.unique(classes):
        rows = classes == label
        weight = counts[rows, None] / counts[rows].sum()
        centre = (weight * means[rows]).sum(axis=0, dtype=np.float64)
        around = variances[rows] + (means[rows] - centre) ** 2
        centres[label] = centre
        spreads[label] = np.sqrt((weight * around).sum(axis=0, dtype=np.float64))
    return centres, spreads


def cell_novelty(
    features: np.ndarray, predicted: np.ndarray, centres: np.ndarray, spreads: np.ndarray
) -> np.ndarray:
    """Return the root mean squared deviation of cells from the centre of their class.

    Parameters
    ----------
    features : ndarray, shape (n, dims)
        Cells.
    predicted : ndarray of int, shape (n,)
        Their classes.
    centres, spreads : ndarray, shape (classes, dims)
        From `class_moments`. Cells of a class without reference cells are compared with the
        nearest centre of the other classes.

    Returns
    -------
    ndarray of float64, shape (n,)
        In standard deviations of single cells: 1 is an ordinary cell.
    """
    known = np.flatnonzero(np.isfinite(centres).all(axis=1))
    distances = np.full((len(features), len(centres)), np.inf)
    for label in known:
        spread = np.maximum(spreads[label], max(0.01 * spreads[label].max(), 1e-6))
        scaled = (features - centres[label]) / spread
        distances[:, label] = np.sqrt(np.mean(scaled**2, axis=1))
    own = distances[np.arange(len(features)), predicted]
    return np.where(np.isfinite(own), own, distances.min(axis=1))


def far_share(plate: CellSample, centre_cells: CellSample, limit_cells: CellSample) -> float:
    """Return the share of cells that lie farther from their class than 99 % of reference cells do.

    Parameters
    ----------
    plate : CellSample
        Cells to judge.
    centre_cells : CellSample
        Reference cells from which the centres of the classes are computed.
    limit_cells : CellSample
        Other reference cells, from which the limit is computed. Cells lie nearer to centres that
        were computed from themselves, so that the two must not overlap.

    Returns
    -------
    float
        From 0 to 1; about `FARTHEST` for cells like the reference's.
    """
    moments = class_moments(
        centre_cells.classes,
        np.ones(len(centre_cells), dtype=np.int64),
        centre_cells.features,
        np.zeros_like(centre_cells.features),
        centre_cells.softmax.shape[1],
    )
    limit = np.quantile(
        cell_novelty(limit_cells.features, limit_cells.classes, *moments), 1 - FARTHEST
    )
    return float(np.mean(cell_novelty(plate.features, plate.classes, *moments) > limit))


def _measure(plate: CellSample, reference: CellSample, seed: int) -> float:
    order = np.random.default_rng(seed).permutation(len(reference))
    halves = [reference.select(rows) for rows in np.array_split(order, 2)]
    return (far_share(plate, *halves) + far_share(plate, *halves[::-1])) / 2


STATISTIC = Statistic(
    "Cells unlike any of their class",
    "Share of the cells that lie farther from their class than 99 % of the reference cells do. "
    "0.01: as on the reference; 1: all of them.",
    _measure,
)

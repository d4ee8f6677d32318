"""How far a single cell lies from the reference cells that were given the same class."""

from __future__ import annotations

import numpy as np


def class_moments(
    classes: np.ndarray,
    counts: np.ndarray,
    means: np.ndarray,
    variances: np.ndarray,
    n_classes: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of the cells of each class from those of its groups.

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
        From `class_moments`. Cells of a class without reference are compared with the nearest
        centre among the others.

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

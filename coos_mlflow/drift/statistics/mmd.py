"""Maximum mean discrepancy (MMD): distance between two samples of cells under a Gaussian kernel."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import pdist

from coos_mlflow.drift.statistics.base import CellSample, Statistic

FREQUENCIES = 1024
"""Number of random frequencies. The value is a mean over them; its relative error is about
1 / sqrt(1024)."""

BANDWIDTH_CELLS = 500
"""Cells of each side from which the bandwidth is computed."""

_BLOCK = 512


def median_bandwidth(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> float:
    """Return the median distance between cells of the pooled samples.

    The median heuristic of Gretton et al. (2012), section 8, on at most `BANDWIDTH_CELLS` cells
    of each side. Distances of 0 are left out.

    Parameters
    ----------
    x, y : ndarray, shape (n, dims) and (m, dims)
        Cells.
    rng : numpy.random.Generator

    Returns
    -------
    float
        In the unit of the features; 0 if all cells are identical.
    """
    pooled = np.concatenate(
        [rng.choice(side, min(len(side), BANDWIDTH_CELLS), replace=False) for side in (x, y)]
    )
    distances = pdist(pooled)
    apart = distances[distances > 0]
    return float(np.median(apart)) if len(apart) else 0.0


def random_frequencies(
    dims: int, bandwidth: float, rng: np.random.Generator, n: int = FREQUENCIES
) -> np.ndarray:
    """Draw frequencies from the spectrum of exp(-|x - y|^2 / (2 bandwidth^2)).

    Parameters
    ----------
    dims : int
        Of the features.
    bandwidth : float
        Of the kernel, above 0, in the unit of the features.
    rng : numpy.random.Generator
    n : int
        Number of frequencies.

    Returns
    -------
    ndarray of float32, shape (dims, n)
    """
    return (rng.normal(size=(dims, n)) / bandwidth).astype(np.float32)


def mmd_squared(x: np.ndarray, y: np.ndarray, frequencies: np.ndarray) -> float:
    """Estimate the squared maximum mean discrepancy by random Fourier features.

    The unbiased estimator of Gretton et al. (2012), "A kernel two-sample test", equation 3, with
    the kernel k(x, y) = mean over frequencies w of cos(w (x - y)) (Rahimi & Recht 2007). It needs
    only the mean of cos(w x) and sin(w x) of each sample: time grows with n + m, and memory does
    not grow.

    Parameters
    ----------
    x, y : ndarray, shape (n, dims) and (m, dims)
        Two samples of at least 2 cells each.
    frequencies : ndarray, shape (dims, D)
        From `random_frequencies`.

    Returns
    -------
    float
        Around 0, also slightly below, for equal distributions; at most 2.
    """
    mean_x, mean_y = (_mean_wave(side, frequencies) for side in (x, y))
    within = sum(
        (n * np.mean(np.abs(mean) ** 2) - 1) / (n - 1)
        for mean, n in ((mean_x, len(x)), (mean_y, len(y)))
    )
    return float(within - 2 * np.mean((mean_x * mean_y.conj()).real))


def _mean_wave(cells: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Return the mean of exp(i w x) over cells, complex, shape (D,)."""
    total = np.zeros(frequencies.shape[1], dtype=np.complex128)
    for start in range(0, len(cells), _BLOCK):
        phase = cells[start : start + _BLOCK] @ frequencies
        total += np.cos(phase).sum(axis=0, dtype=np.float64)
        total += 1j * np.sin(phase).sum(axis=0, dtype=np.float64)
    return total / len(cells)


def _measure(plate: CellSample, reference: CellSample, seed: int) -> float:
    rng = np.random.default_rng(seed)
    x, y = plate.features, reference.features
    bandwidth = median_bandwidth(x, y, rng)
    if bandwidth == 0:
        return 0.0
    return mmd_squared(x, y, random_frequencies(x.shape[1], bandwidth, rng))


STATISTIC = Statistic(
    "Kernel distance (MMD\N{SUPERSCRIPT TWO})",
    "How differently the cells are spread over what the model sees. Around 0: alike; "
    "0.01 is a slight difference, 0.1 a large one.",
    _measure,
)

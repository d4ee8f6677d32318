"""MMD against its closed form for Gaussians, the exact kernel, and its bound on memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from coos_mlflow.drift.statistics import CellSample
from coos_mlflow.drift.statistics.mmd import (
    STATISTIC,
    median_bandwidth,
    mmd_squared,
    random_frequencies,
)


def exact_mmd_squared(x: np.ndarray, y: np.ndarray, bandwidth: float) -> float:
    """Return equation 3 of Gretton et al. (2012) with the full kernel matrices."""

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.exp(-cdist(a, b, "sqeuclidean") / (2 * bandwidth**2))

    n, m = len(x), len(y)
    within = (kernel(x, x).sum() - n) / (n * (n - 1)) + (kernel(y, y).sum() - m) / (m * (m - 1))
    return float(within - 2 * kernel(x, y).mean())


def sample_of(features: np.ndarray) -> CellSample:
    n = len(features)
    zeros = np.zeros(n, dtype=np.int64)
    return CellSample(zeros, zeros, np.zeros((n, 7)), features.astype(np.float32), zeros[:, None])


@pytest.mark.parametrize("shift", [0.25, 1.0, 2.0])
def test_two_gaussians_have_the_closed_form(shift):
    dims, bandwidth, n = 3, 2.0, 4000
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, dims)), rng.normal(size=(n, dims))
    y[:, 0] += shift
    # x - y is normal with variance 2: the mean of the kernel over it is a Gaussian integral.
    same = (bandwidth**2 / (bandwidth**2 + 2)) ** (dims / 2)
    expected = 2 * same * (1 - np.exp(-(shift**2) / (2 * (bandwidth**2 + 2))))
    values = mmd_squared(x, y, random_frequencies(dims, bandwidth, rng, 2048))
    assert values == pytest.approx(expected, rel=0.05, abs=0.001)


def test_random_features_come_near_the_exact_kernel():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(200, 16)), 0.8 * rng.normal(size=(300, 16)) + 0.5
    exact = exact_mmd_squared(x, y, 5.0)
    values = [mmd_squared(x, y, random_frequencies(16, 5.0, rng)) for _ in range(20)]
    assert np.mean(values) == pytest.approx(exact, rel=0.03)
    assert np.std(values) < 0.1 * exact


def test_no_difference_is_zero_on_average_however_few_the_cells():
    rng = np.random.default_rng(2)
    frequencies = random_frequencies(2, 1.5, rng, 256)
    values = [
        mmd_squared(rng.normal(size=(5, 2)), rng.normal(size=(9, 2)), frequencies)
        for _ in range(1000)
    ]
    error = np.std(values) / np.sqrt(len(values))
    assert np.mean(values) == pytest.approx(0, abs=3 * error)
    assert error < 0.01  # the biased estimator is off by more than 0.1 here


def test_bandwidth_is_the_median_distance_of_the_pooled_cells():
    rng = np.random.default_rng(0)
    x, y = np.array([[0.0], [1.0]]), np.array([[3.0], [3.0]])
    # Distances 1, 3, 3, 2, 2; the two cells that coincide do not count.
    assert median_bandwidth(x, y, rng) == 2
    assert median_bandwidth(np.ones((3, 1)), np.ones((2, 1)), rng) == 0


def test_two_points_apart_and_one_point():
    here, there = sample_of(np.zeros((60, 2))), sample_of(np.full((60, 2), 3.0))
    # Distances above 0 are all the same: the kernel between the points is exp(-1/2).
    assert STATISTIC.measure(here, there, 0) == pytest.approx(2 * (1 - np.exp(-0.5)), rel=0.1)
    assert STATISTIC.measure(here, here, 0) == 0


def test_memory_does_not_grow_with_the_cells():
    frequencies = random_frequencies(4, 1.0, np.random.default_rng(0), 64)
    peaks = []
    for n in (2_000, 20_000):
        cells = np.ones((n, 4), dtype=np.float32)
        tracemalloc.start()
        mmd_squared(cells, cells, frequencies)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]

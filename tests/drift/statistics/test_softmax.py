"""Distance between predicted probabilities against values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from coos_mlflow.drift.statistics import CellSample
from coos_mlflow.drift.statistics.softmax import STATISTIC, kolmogorov_smirnov


def sample_of(first: np.ndarray) -> CellSample:
    """Cells with these probabilities of the first class, the rest being the last one's."""
    softmax = np.zeros((len(first), 7), dtype=np.float32)
    softmax[:, 0], softmax[:, 6] = first, 1 - first
    zeros = np.zeros(len(first), dtype=np.int64)
    return CellSample(zeros, zeros, softmax, softmax, softmax)


def test_by_hand():
    x = np.array([[1, 0], [2, 0], [3, 0], [4, 0]])
    y = np.array([[3, 1], [4, 1], [5, 1], [6, 1]])
    # Below 3 lie two of four and none; the second column is disjoint.
    np.testing.assert_allclose(kolmogorov_smirnov(x, y), [0.5, 1])
    np.testing.assert_allclose(kolmogorov_smirnov(x, x), [0, 0])


def test_ties_and_unequal_numbers():
    x, y = np.array([[0.0], [0.0], [1.0]]), np.array([[0.0], [1.0], [1.0], [1.0], [1.0]])
    assert kolmogorov_smirnov(x, y)[0] == pytest.approx(2 / 3 - 1 / 5)


def test_two_uniform_distributions_have_the_closed_form():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 0.8, 5000), rng.uniform(0.2, 1, 5000)
    assert STATISTIC.measure(sample_of(x), sample_of(y), 0) == pytest.approx(0.25, abs=0.03)


def test_the_class_that_differs_most_counts():
    x, y = sample_of(np.full(60, 0.9)), sample_of(np.full(60, 0.9))
    y.softmax[:15, 0] = 0.5
    assert STATISTIC.measure(x, y, 0) == pytest.approx(0.25)


def test_probabilities_next_to_nothing_do_not_differ():
    rare, rarer = sample_of(np.full(60, 1e-4)), sample_of(np.full(60, 1e-6))
    assert kolmogorov_smirnov(rare.softmax, rarer.softmax)[0] == 1
    assert STATISTIC.measure(rare, rarer, 0) == 0

"""Energy distance against point masses, normal distributions in closed form, and SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import energy_distance, norm

from coos_mlflow.drift.statistics import CellSample
from coos_mlflow.drift.statistics.energy import STATISTIC, energy_coefficient, mean_distance


def sample_of(features: np.ndarray) -> CellSample:
    n = len(features)
    zeros = np.zeros(n, dtype=np.int64)
    return CellSample(zeros, zeros, np.zeros((n, 7)), features.astype(np.float32), zeros[:, None])


def test_by_hand():
    x, y = np.array([[0.0], [2.0]]), np.array([[1.0], [3.0]])
    # Between: (1 + 3 + 1 + 1) / 4; within: 2 and 2.
    assert mean_distance(x, y) == 1.5
    assert energy_coefficient(x, y) == pytest.approx((3 - 4) / 3)


def test_two_points_are_as_far_as_can_be():
    x, y = np.zeros((30, 3)), np.full((20, 3), 4.0)
    assert energy_coefficient(x, y) == 1
    assert energy_coefficient(x, x) == 0


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_two_normal_distributions_have_the_closed_form(shift):
    # x - y is normal with mean `shift` and variance 2: the mean of its absolute value.
    root = np.sqrt(2)
    between = root * np.sqrt(2 / np.pi) * np.exp(-(shift**2) / 4)
    between += shift * (1 - 2 * norm.cdf(-shift / root))
    within = 2 / np.sqrt(np.pi)
    x = norm.ppf((np.arange(2000) + 0.5) / 2000)[:, None]  # evenly spread, for no chance
    expected = (between - within) / between
    assert energy_coefficient(x, x + shift) == pytest.approx(expected, rel=0.02)


def test_numerator_is_scipys_but_for_the_pairs_of_a_cell_with_itself():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(300, 1)), rng.normal(0.7, 2, size=(517, 1))
    between = 2 * mean_distance(x, y)
    with_itself = between - mean_distance(x, x) - mean_distance(y, y)
    # SciPy's is the root of 2 * integral of (F - G)^2, which is that of our numerator.
    assert with_itself == pytest.approx(energy_distance(x[:, 0], y[:, 0]) ** 2)
    without = between - mean_distance(x, x) * 300 / 299 - mean_distance(y, y) * 517 / 516
    assert energy_coefficient(x, y) == pytest.approx(without / between)


def test_no_difference_is_zero_on_average_however_few_the_cells():
    rng = np.random.default_rng(2)
    values = [
        energy_coefficient(rng.normal(size=(10, 2)), rng.normal(size=(20, 2))) for _ in range(1000)
    ]
    assert np.mean(values) == pytest.approx(0, abs=0.005)  # pairs with itself would give 0.05


def test_the_unit_of_an_axis_does_not_matter():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(200, 3)), rng.normal(0.5, size=(200, 3))
    plain = STATISTIC.measure(sample_of(x), sample_of(y), 0)
    unit = [10, 1, 2]
    assert STATISTIC.measure(sample_of(x * unit), sample_of(y * unit), 0) == pytest.approx(plain)


def test_axes_without_spread_are_bearable():
    x = np.zeros((60, 2))
    assert STATISTIC.measure(sample_of(x), sample_of(x), 0) == 0
    assert STATISTIC.measure(sample_of(x + 1), sample_of(x), 0) == 1
    rng = np.random.default_rng(4)
    y = np.column_stack([rng.normal(size=300), np.zeros(300)])
    nearly = y + np.array([0.0, 1e-6])
    assert abs(STATISTIC.measure(sample_of(nearly), sample_of(y), 0)) < 0.01

"""Raw-image figures' deviations against values by hand."""

from __future__ import annotations

import numpy as np
import pytest

from coos_mlflow.drift.plate_distance import MIN_CELL_DEVIATION
from coos_mlflow.drift.statistics import CellSample
from coos_mlflow.drift.statistics.raw_figures import (
    STATISTIC,
    robust_spread,
    robust_z,
    standardised_differences,
)


def sample_of(raw: np.ndarray) -> CellSample:
    zeros = np.zeros(len(raw), dtype=np.int64)
    return CellSample(zeros, zeros, raw, raw, raw)


def test_robust_z_by_hand():
    reference = np.array([[1.0], [2.0], [3.0], [4.0], [100.0]])  # median 3, MAD 1
    assert robust_z(np.array([10.0]), reference, 1e-9)[0] == pytest.approx(7 / 1.4826)
    assert robust_z(np.array([10.0]), np.full((5, 1), 3.0), 0.5)[0] == pytest.approx(14)


def test_spread_is_the_standard_deviation_of_normal_values():
    values = np.random.default_rng(0).normal(5, [1, 3], size=(20_000, 2))
    np.testing.assert_allclose(robust_spread(values), [1, 3], rtol=0.03)


def test_differences_by_hand():
    reference = np.array([[1.0, 7.0], [2.0, 7.0], [3.0, 7.0], [4.0, 7.0], [5.0, 7.0]])
    plate = np.array([[6.0, 7.0], [8.0, 7.2]])  # means 7 and 7.1 beside 3 and 7
    expected = [4 / 1.4826, 0.1 / MIN_CELL_DEVIATION]
    np.testing.assert_allclose(standardised_differences(plate, reference), expected)
    assert STATISTIC.measure(sample_of(plate), sample_of(reference), 0) == pytest.approx(4 / 1.4826)
    assert STATISTIC.measure(sample_of(-plate), sample_of(-reference), 0) == pytest.approx(
        4 / 1.4826
    )
    lower = standardised_differences(-plate, -reference)
    np.testing.assert_allclose(lower, -np.array(expected))


def test_a_figure_that_hardly_ever_moves_is_measured_by_its_standard_deviation():
    reference = np.zeros((100, 1))
    reference[:10] = 4.0  # MAD 0, standard deviation 1.2
    values = standardised_differences(reference + 0.6, reference)
    np.testing.assert_allclose(values, [0.5])


def test_a_few_reference_cells_far_off_do_not_hide_a_shift():
    rng = np.random.default_rng(1)
    reference, plate = rng.normal(size=(1000, 1)), rng.normal(1, 1, size=(1000, 1))
    reference[:4] = [[60.0], [-60.0], [60.0], [-60.0]]
    assert standardised_differences(plate, reference)[0] == pytest.approx(1, abs=0.1)
    assert 1 / reference.std() < 0.3

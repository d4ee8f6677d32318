"""Statistics against values computed by hand, published ones, and known populations."""

from __future__ import annotations

import numpy as np
import pytest

from coos_mlflow.drift.inference.cell_novelty import cell_novelty, class_moments
from coos_mlflow.drift.inference.conformal_rank import conformal_rank
from coos_mlflow.drift.inference.label_shift import corrected_shares
from coos_mlflow.drift.inference.plate_distance import judged_units
from coos_mlflow.drift.inference.prediction_interval import plate_moments, upper_limit
from coos_mlflow.drift.inference.robust_z import robust_z
from coos_mlflow.drift.inference.variance_components import (
    PLATE_FLOOR,
    cell_deviation,
    plate_correlation,
    plate_variance,
    well_variance,
)


def test_rank_counts_the_plates_at_least_as_far():
    reference = [np.array([value]) for value in (1.0, 2.0, 3.0, 4.0)]
    assert conformal_rank(2.5, reference) == 3 / 5
    assert conformal_rank(2.0, reference) == 4 / 5
    assert conformal_rank(99.0, reference) == 1 / 5


def test_rank_shares_a_plate_among_its_choices():
    assert conformal_rank(2.5, [np.array([1.0, 3.0]), np.array([4.0])]) == (1 + 0.5 + 1) / 3


def test_rank_is_uniform_if_plates_are_exchangeable():
    rng = np.random.default_rng(0)
    draws = rng.exponential(size=(4000, 20))
    p = [conformal_rank(row[0], [np.array([v]) for v in row[1:]]) for row in draws]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.01)


def test_limit_equals_the_textbook_formula():
    # mean 3, s = sqrt(2.5), t(0.95; 4) = 2.1318 (any t table)
    reference = [np.array([value]) for value in (1.0, 2.0, 3.0, 4.0, 5.0)]
    assert upper_limit(reference, 0.05) == pytest.approx(3 + 2.1318 * np.sqrt(2.5 * 1.2), rel=1e-4)


def test_limit_is_exceeded_by_alpha_of_normal_plates():
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4000, 8))
    above = [row[0] > upper_limit([np.array([v]) for v in row[1:]], 0.05) for row in draws]
    assert np.mean(above) == pytest.approx(0.05, abs=0.01)


def test_moments_weigh_plates_alike():
    mean, deviation = plate_moments([np.array([0.0, 2.0]), np.array([3.0])])
    assert mean == pytest.approx(2.0)  # (1 + 3) / 2
    assert deviation == pytest.approx(np.sqrt(2 * (0.25 * 4 + 0.25 * 0 + 0.5 * 1)))


def test_shares_are_recovered_from_a_confusion_matrix():
    rates = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.0, 0.3, 0.7]])
    true = np.array([0.1, 0.6, 0.3])
    predicted = 1000 * true @ rates
    np.testing.assert_allclose(corrected_shares(predicted, 500 * rates), true, atol=1e-6)


def test_shares_stay_on_the_simplex():
    rates = np.array([[0.6, 0.4], [0.4, 0.6]])
    shares = corrected_shares(np.array([95.0, 5.0]), rates)
    np.testing.assert_allclose(shares, [1, 0], atol=1e-9)


def test_a_class_that_the_reference_lacks_keeps_its_share():
    confusion = np.diag([50, 0, 50])
    np.testing.assert_allclose(corrected_shares(np.array([2, 1, 1]), confusion), [0.5, 0.25, 0.25])


def test_robust_z_by_hand():
    reference = np.array([[1.0], [2.0], [3.0], [4.0], [100.0]])  # median 3, MAD 1
    assert robust_z(np.array([10.0]), reference, 1e-9)[0] == pytest.approx(7 / 1.4826)
    assert robust_z(np.array([10.0]), np.full((5, 1), 3.0), 0.5)[0] == pytest.approx(14)


def test_variance_components_find_those_of_the_population():
    rng = np.random.default_rng(0)
    plates, wells, cells = 200, 8, 30
    effect = rng.normal(0, np.sqrt(0.3), (plates, 1, 1, 2))
    effect = effect + rng.normal(0, np.sqrt(0.1), (plates, wells, 1, 2))
    values = effect + rng.normal(size=(plates, wells, cells, 2))
    counts = np.full(plates * wells, cells)
    means = values.mean(axis=2).reshape(-1, 2)
    variances = values.var(axis=2).reshape(-1, 2)
    unit = np.repeat(np.arange(plates), wells)
    deviation = cell_deviation(np.zeros_like(unit), counts, variances, 1)
    np.testing.assert_allclose(deviation, 1, atol=0.02)
    np.testing.assert_allclose(well_variance(means, counts, unit), 0.1, atol=0.02)
    noise = np.full((plates, 2), (0.1 + 1 / cells) / wells)
    found = plate_variance(values.mean(axis=(1, 2)), noise, np.zeros(plates, dtype=int))
    np.testing.assert_allclose(found, 0.3, atol=0.06)


def test_plates_that_agree_keep_a_least_variance():
    found = plate_variance(np.zeros((6, 2)), np.full((6, 2), 0.1), np.zeros(6, dtype=int))
    np.testing.assert_array_equal(found, PLATE_FLOOR)


def test_correlation_is_shrunk_by_half_and_ignores_classes():
    rng = np.random.default_rng(0)
    first = rng.normal(size=2000)
    means = np.column_stack([first, first])
    classes = rng.integers(3, size=2000)
    means = means + 100 * classes[:, None] * [1, -1]
    found = plate_correlation(means, classes)
    np.testing.assert_allclose(found, [[1, 0.5], [0.5, 1]], atol=1e-6)


def test_units_are_the_classes_that_a_plate_carries():
    plates = np.array(["a", "a", "a", "b", "b"])
    classes = np.array([0, 1, 1, 2, 3])
    counts = np.array([100, 15, 9, 40, 11])
    names, labels, cells, unit = judged_units(plates, classes, counts)
    # Class 1 has 24 of the 25 cells that a quarter of class 0 asks for; class 3 has 11 of 10.
    assert list(zip(names.tolist(), labels.tolist(), cells.tolist(), strict=True)) == [
        ("a", 0, 100),
        ("b", 2, 40),
        ("b", 3, 11),
    ]
    np.testing.assert_array_equal(unit, [0, -1, -1, 1, 2])


def test_moments_of_classes_are_those_of_their_cells():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, 3)) * [1, 2, 3]
    parts = np.split(values, [10, 30])
    centres, spreads = class_moments(
        np.array([1, 1, 1]),
        np.array([len(part) for part in parts]),
        np.stack([part.mean(axis=0) for part in parts]),
        np.stack([part.var(axis=0) for part in parts]),
        2,
    )
    np.testing.assert_allclose(centres[1], values.mean(axis=0))
    np.testing.assert_allclose(spreads[1], values.std(axis=0))
    assert np.isnan(centres[0]).all()


def test_novelty_by_hand_and_for_a_class_without_reference():
    centres = np.array([[0.0, 0.0], [np.nan, np.nan]])
    spreads = np.array([[1.0, 2.0], [np.nan, np.nan]])
    cells = np.array([[3.0, 8.0], [3.0, 8.0]])
    found = cell_novelty(cells, np.array([0, 1]), centres, spreads)
    np.testing.assert_allclose(found, np.sqrt((9 + 16) / 2))

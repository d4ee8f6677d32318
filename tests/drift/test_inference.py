"""Statistics against values computed by hand, published ones, and known populations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from coos_mlflow.drift import max_t
from coos_mlflow.drift.conformal_rank import conformal_rank
from coos_mlflow.drift.label_shift import adapted, corrected_shares
from coos_mlflow.drift.max_t import null_maxima, p_value, view_correlation
from coos_mlflow.drift.plate_distance import judged_units
from coos_mlflow.drift.plate_moments import plate_moments
from coos_mlflow.drift.temperature import fit_temperature, scaled
from coos_mlflow.drift.variance_components import (
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


@pytest.mark.parametrize("m", [5, 20])
def test_one_view_has_the_textbook_prediction_limit(m):
    # Student's t times sqrt(1 + 1/m) (Hahn & Meeker 1991, section 4.8)
    maxima = null_maxima(m, np.eye(1))
    for alpha in (0.2, 0.05, 0.01):
        limit = stats.t.ppf(1 - alpha, m - 1) * np.sqrt(1 + 1 / m)
        assert np.quantile(maxima, 1 - alpha) == pytest.approx(limit, rel=0.05)
        assert p_value(np.array(limit), maxima) == pytest.approx(alpha, rel=0.1)


def test_views_that_move_as_one_are_one_and_independent_ones_cost_the_most():
    limits = [
        np.quantile(null_maxima(20, (1 - r) * np.eye(3) + r * np.ones((3, 3))), 0.95)
        for r in (0.0, 0.6, 0.999)
    ]
    one = np.quantile(null_maxima(20, np.eye(1)), 0.95)
    bonferroni = stats.t.ppf(1 - 0.05 / 3, 19) * np.sqrt(1 + 1 / 20)
    assert limits[2] == pytest.approx(one, rel=0.04)
    assert one < limits[1] < limits[0] <= bonferroni * 1.02


@pytest.mark.parametrize("m", [5, 20])
def test_the_limit_is_exceeded_by_alpha_of_plates(m, monkeypatch):
    """Correlation, means and deviations all come from the few plates themselves."""
    monkeypatch.setattr(max_t, "DRAWS", 2000)  # p to within 0.005
    rng = np.random.default_rng(1)
    factor = np.linalg.cholesky(0.4 * np.eye(3) + 0.6)
    above = []
    for plates in rng.normal(size=(300, m + 1, 3)) @ factor.T:
        known, new = plates[:m], plates[m]
        maxima = null_maxima(m, view_correlation([plate[None] for plate in known]))
        score = ((new - known.mean(axis=0)) / known.std(axis=0, ddof=1)).max()
        above.append(p_value(score, maxima) <= 0.05)
    assert np.mean(above) == pytest.approx(0.05, abs=0.03)


def test_p_is_never_0():
    assert p_value(np.array(np.inf), np.arange(9.0)) == 1 / 10
    np.testing.assert_allclose(p_value(np.array([-1.0, 8.0]), np.arange(9.0)), [1.0, 0.2])


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


def test_temperature_undoes_what_was_done_to_calibrated_answers():
    rng = np.random.default_rng(0)
    answers = rng.dirichlet(np.full(4, 0.4), size=20_000)
    truth = (rng.random((len(answers), 1)) > answers.cumsum(axis=1)).sum(axis=1).clip(0, 3)
    assert fit_temperature(answers, truth) == pytest.approx(1, abs=0.05)
    assert fit_temperature(scaled(answers, 0.5), truth) == pytest.approx(2, rel=0.05)


def test_scaling_leaves_the_label_and_sums_to_one():
    answers = np.array([[0.7, 0.3, 0.0], [0.2, 0.3, 0.5]])
    for temperature in (0.2, 1.0, 5.0):
        changed = scaled(answers, temperature)
        np.testing.assert_allclose(changed.sum(axis=1), 1)
        np.testing.assert_array_equal(changed.argmax(axis=1), answers.argmax(axis=1))
    np.testing.assert_allclose(scaled(answers, 1.0), answers, atol=1e-5)


def test_answers_adapt_to_the_mix_of_a_plate():
    rng = np.random.default_rng(0)
    prior, shares = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    truth = rng.choice(2, size=20_000, p=shares)
    value = rng.normal(loc=np.where(truth == 1, 1.0, -1.0))
    calibrated = 1 / (1 + np.exp(np.stack([2 * value, -2 * value], axis=1)))  # Bayes at 50:50
    found, posteriors = adapted(calibrated, prior)
    np.testing.assert_allclose(found, shares, atol=0.01)
    # Bayes at 90:10 multiplies the odds by 9.
    odds = posteriors[:, 0] / posteriors[:, 1] / (calibrated[:, 0] / calibrated[:, 1])
    np.testing.assert_allclose(odds, found[0] / found[1], rtol=1e-3)


def test_a_class_that_training_lacks_stays_out():
    found, posteriors = adapted(np.full((10, 3), 1 / 3), np.array([0.5, 0.5, 0.0]))
    np.testing.assert_allclose(found, [0.5, 0.5, 0.0])
    assert np.isfinite(posteriors).all()

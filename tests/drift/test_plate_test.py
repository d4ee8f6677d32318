"""P-values of plates against values computed by hand, published ones, and simulations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from coos_mlflow.drift import plate_test
from coos_mlflow.drift.plate_test import (
    conformal_rank,
    null_maxima,
    p_value,
    plate_moments,
    simes,
    view_correlation,
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
    monkeypatch.setattr(plate_test, "DRAWS", 2000)  # p to within 0.005
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


def test_simes_by_hand():
    assert simes(np.array([0.03])) == pytest.approx(0.03)
    assert simes(np.array([0.5, 0.01])) == pytest.approx(0.02)  # 2 * 0.01 / 1
    assert simes(np.array([0.04, 0.03])) == pytest.approx(0.04)  # 2 * 0.04 / 2


def test_simes_keeps_its_level():
    p = np.random.default_rng(0).random((4000, 20))
    assert np.mean([simes(row) <= 0.05 for row in p]) == pytest.approx(0.05, abs=0.012)

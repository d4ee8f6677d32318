"""P-values of plates against values computed by hand, published ones, and simulations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from coos_mlflow.drift.plate_test import (
    PLATE_SHARE,
    PRIOR_FREEDOM,
    WELL_SHARE,
    NullPlates,
    conformal_rank,
    far_mean,
    moderated_deviation,
    p_value,
    shares,
    simes,
    view_correlation,
)

ALPHA = 0.05
ALIKE = 0.5 * np.eye(3) + 0.5
"""A correlation of three views."""


def null_plates(
    m: int,
    classes: int,
    wells: int,
    correlation: np.ndarray = ALIKE,
    freedom: float | None = None,
) -> NullPlates:
    """Plates of as many cells and wells in each class, and a test in every view."""
    return NullPlates(
        m=m,
        freedom=freedom or m - 1 + PRIOR_FREEDOM,
        correlation=correlation,
        weights=(1 / classes,) * classes,
        wells=(wells,) * classes if wells else (),
        class_views=tuple(range(len(correlation))),
    )


def drawn_scores(null: NullPlates, n: int, seed: int) -> list[dict[str, float]]:
    """Statistics of n new plates, each with a reference of its own, as the model describes them."""
    rng = np.random.default_rng([seed, null.m, len(null.weights)])
    draw = stats.multivariate_normal(np.zeros(len(null.correlation)), null.correlation)
    found = []
    for _ in range(n):
        reference, plate = draw.rvs(2, random_state=rng).reshape(2, -1)
        classes = draw.rvs(len(null.weights), random_state=rng).reshape(len(null.weights), -1)
        deviation = np.sqrt(rng.chisquare(null.freedom, classes.shape[1]) / null.freedom)
        own = np.sqrt(PLATE_SHARE) * plate + np.sqrt(1 - PLATE_SHARE) * classes
        own = (own + reference / np.sqrt(null.m)) / deviation
        means = np.array(null.weights) @ own / null.expected
        scores = {"plate": means.max(), "class": own[:, list(null.class_views)].max()}
        if null.wells:
            units = np.repeat(rng.normal(size=len(null.wells)), null.wells)
            wells = np.sqrt(WELL_SHARE) * units
            wells = wells + np.sqrt(1 - WELL_SHARE) * rng.normal(size=len(units))
            wells = (wells + rng.normal() / np.sqrt(null.m)) / deviation[0]
            scores["wells"] = far_mean(wells)
        found.append({name: float(score) for name, score in scores.items()})
    return found


@pytest.mark.parametrize("wells", [0, 8])
@pytest.mark.parametrize("classes", [1, 2, 7])
@pytest.mark.parametrize("m", [5, 10, 20])
def test_alpha_of_plates_of_the_model_are_unusual(m, classes, wells):
    """Within three standard errors: 0.6 points of 1500 plates, 0.3 of 4000 draws."""
    null = null_plates(m, classes, wells)
    p = np.array([null.p(scores) for scores in drawn_scores(null, 1500, seed=wells)])
    assert np.mean(p <= ALPHA) == pytest.approx(ALPHA, abs=0.02)
    assert np.mean(p <= 0.5) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("classes", [1, 2, 7])
@pytest.mark.parametrize("wells", [0, 1, 8])
def test_p_is_alpha_at_the_limits(classes, wells):
    null = null_plates(20, classes, wells)
    limits = null.limits(ALPHA)
    assert ("class" in limits) == (classes > 1)
    assert ("wells" in limits) == (classes > 1 and wells > 0)
    for name, limit in limits.items():
        low = dict.fromkeys(limits, -9.0)
        assert null.p(low | {name: limit + 0.15}) < ALPHA < null.p(low | {name: limit - 0.15})
    for scores in drawn_scores(null, 300, seed=1):
        excess = max(scores[name] - limit for name, limit in limits.items())
        assert abs(excess) < 0.15 or (excess > 0) == (null.p(scores) <= ALPHA)


def test_p_falls_with_every_score():
    null = null_plates(10, 7, 8)
    for name in ("plate", "class", "wells"):
        p = [
            null.p({"plate": 0.0, "class": 0.0, "wells": 0.0} | {name: x})
            for x in np.linspace(0, 9, 40)
        ]
        assert (np.diff(p) <= 0).all()
        assert p[0] > 0.5
        assert p[-1] < 0.001


def test_limits_rise_where_less_is_known():
    """Of few plates mean and deviation are known less, and many classes are many chances."""
    few, many = (null_plates(m, 7, 8).limits(ALPHA) for m in (3, 50))
    assert few["class"] > many["class"]
    two, seven = (null_plates(20, classes, 8).limits(ALPHA) for classes in (2, 7))
    assert seven["class"] > two["class"]


@pytest.mark.parametrize("m", [5, 20])
def test_one_class_in_one_view_has_the_textbook_prediction_limit(m):
    # Student's t times sqrt(1 + 1/m) (Hahn & Meeker 1991, section 4.8)
    null = null_plates(m, 1, 0, np.eye(1))
    for alpha in (0.2, 0.05):
        limit = stats.t.ppf(1 - alpha, m - 1 + PRIOR_FREEDOM)
        assert null.expected == pytest.approx(np.sqrt(1 + 1 / m))
        assert null.limits(alpha)["plate"] == pytest.approx(limit, rel=0.06)
        assert null.p({"plate": limit}) == pytest.approx(alpha, rel=0.2)


def test_views_that_move_as_one_are_one_and_independent_ones_cost_the_most():
    limits = [
        null_plates(20, 1, 0, (1 - r) * np.eye(3) + r, freedom=1e6).limits(ALPHA)["plate"]
        for r in (0.0, 0.7, 0.999)
    ]
    one = null_plates(20, 1, 0, np.eye(1), freedom=1e6).limits(ALPHA)["plate"]
    bonferroni = stats.norm.ppf(1 - ALPHA / 3)
    assert limits[2] == pytest.approx(one, rel=0.06)
    assert one < limits[1] < limits[0] <= bonferroni * 1.05


@pytest.mark.parametrize("has_wells", [True, False])
@pytest.mark.parametrize("classes", range(1, 12))
def test_shares_of_the_false_alarms_sum_to_one(classes, has_wells):
    own = shares(classes, has_wells=has_wells)
    assert sum(own.values()) == pytest.approx(1)
    assert min(own.values()) > 0
    assert ("wells" in own) == (has_wells and classes > 1)


def test_odd_wells_get_more_of_the_false_alarms_the_more_classes_there_are():
    of_wells = [shares(classes, has_wells=True)["wells"] for classes in range(2, 12)]
    assert (np.diff(of_wells) > 0).all()


def test_a_moderated_deviation_lies_between_estimate_and_prior():
    prior = np.array([1.0, 1.0, 1.0])
    estimate = np.array([0.2, 1.0, 3.0])
    moderated = moderated_deviation(estimate, 19.0, prior)
    assert estimate[0] < moderated[0] < prior[0]
    assert moderated[1] == pytest.approx(1)
    assert prior[2] < moderated[2] < estimate[2]
    # Smyth's posterior variance: (d0 s0^2 + d s^2) / (d0 + d).
    np.testing.assert_allclose(moderated**2, (PRIOR_FREEDOM + 19 * estimate**2) / 59)
    many = moderated_deviation(estimate, 1e9, prior)
    np.testing.assert_allclose(many, estimate, rtol=1e-6)


def test_correlation_of_views_is_shrunk_by_half():
    first = np.random.default_rng(0).normal(size=200)
    logs = np.column_stack([first, 3 * first + 1, -first])
    np.testing.assert_allclose(
        view_correlation(logs), [[1, 0.5, -0.5], [0.5, 1, -0.5], [-0.5, -0.5, 1]]
    )


def test_a_view_that_does_not_vary_is_independent():
    logs = np.column_stack([np.arange(5.0), np.ones(5)])
    np.testing.assert_allclose(view_correlation(logs), np.eye(2))


def test_far_mean_by_hand():
    assert far_mean(np.array([3.0])) == 3
    assert far_mean(np.array([1.0, 5.0, 3.0])) == 4  # two at least
    assert far_mean(np.arange(16.0)) == 14.5
    np.testing.assert_array_equal(far_mean(np.arange(48.0).reshape(2, 24)), [22, 46])  # an eighth
    assert far_mean(np.arange(25.0)) == 22.5  # an eighth, rounded up: 4


def test_a_lone_odd_well_is_averaged_with_others():
    """Of a plate of 56 wells, one that lies 3 deviations off adds less than a point of alarms."""
    null = null_plates(20, 7, 8)
    limit = null.limits(ALPHA)["wells"]
    rng = np.random.default_rng(0)
    wells = rng.normal(size=(4000, 56))
    odd = wells + 3 * (np.arange(56) == 0)
    before, after = (np.mean(far_mean(one) > limit) for one in (wells, odd))
    assert before <= after <= ALPHA


def test_odd_wells_of_one_class_stand_out():
    """Of 56 wells, the eight of one class 3 deviations off are nearly always noticed."""
    null = null_plates(20, 7, 8)
    wells = np.random.default_rng(0).normal(size=(400, 56)) + 3 * (np.arange(56) < 8)
    assert np.mean(far_mean(wells) > null.limits(ALPHA)["wells"]) > 0.95


def test_rank_counts_the_plates_at_least_as_far():
    reference = [1.0, 2.0, 3.0, 4.0]
    assert conformal_rank(2.5, reference) == 3 / 5
    assert conformal_rank(2.0, reference) == 4 / 5
    assert conformal_rank(99.0, reference) == 1 / 5


def test_rank_is_uniform_if_plates_are_exchangeable():
    draws = np.random.default_rng(0).exponential(size=(4000, 20))
    p = [conformal_rank(row[0], row[1:].tolist()) for row in draws]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.01)


def test_p_is_never_0():
    assert p_value(np.array(np.inf), np.arange(9.0)) == 1 / 10
    np.testing.assert_allclose(p_value(np.array([-1.0, 8.0]), np.arange(9.0)), [1.0, 0.2])


def test_simes_by_hand():
    assert simes(np.array([0.03])) == pytest.approx(0.03)
    assert simes(np.array([0.5, 0.01])) == pytest.approx(0.02)  # 2 * 0.01 / 1
    assert simes(np.array([0.04, 0.03])) == pytest.approx(0.04)  # 2 * 0.04 / 2


def test_simes_keeps_its_level():
    p = np.random.default_rng(0).random((4000, 20))
    assert np.mean([simes(row) <= 0.05 for row in p]) == pytest.approx(0.05, abs=0.012)

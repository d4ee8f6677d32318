"""Classifier two-sample test against a closed form, and without influence of wells."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from coos_mlflow.drift.statistics import CellSample
from coos_mlflow.drift.statistics.classifier_two_sample import (
    STATISTIC,
    subtract_class_means,
    two_sample_auc,
)


def sample_of(features: np.ndarray, classes: np.ndarray, wells: np.ndarray) -> CellSample:
    softmax, nothing = np.eye(7)[classes], np.zeros((len(features), 1))
    return CellSample(wells, classes, softmax, features.astype(np.float32), nothing)


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0, 2.0])
def test_two_normal_distributions_have_the_closed_form(shift):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2000, 2)), rng.normal(size=(2000, 2))
    x[:, 0] += shift
    wells = np.arange(2000) % 30
    values = two_sample_auc(x, y, wells, wells)
    assert values == pytest.approx(norm.cdf(shift / np.sqrt(2)), abs=0.02)


def test_equal_means_are_told_apart_by_their_spread_and_by_their_correlation():
    rng = np.random.default_rng(1)
    x, wells = rng.normal(size=(2000, 2)), np.arange(2000) % 20
    assert two_sample_auc(2 * x, rng.normal(size=(2000, 2)), wells, wells) > 0.65
    turned = x @ np.linalg.cholesky([[1, 0.8], [0.8, 1]]).T
    assert two_sample_auc(turned, rng.normal(size=(2000, 2)), wells, wells) > 0.65


def test_wells_are_not_taken_for_a_shift():
    rng = np.random.default_rng(2)
    wells = np.repeat(np.arange(10), 30)

    def cells() -> np.ndarray:
        return rng.normal(size=(10, 4))[wells] + rng.normal(size=(300, 4))

    by_well, by_cell = [], []
    for _ in range(12):
        x, y = cells(), cells()
        by_well.append(two_sample_auc(x, y, wells, wells))
        each = rng.permutation(300)
        by_cell.append(two_sample_auc(x, y, each, each))
    assert np.mean(by_well) == pytest.approx(0.5, abs=0.1)
    assert np.mean(by_cell) > 0.65


def test_wells_of_one_class_each_do_not_pull_the_value_below_zero():
    rng = np.random.default_rng(3)
    values, plain = [], []
    for _ in range(6):
        wells = np.repeat(np.arange(14), 30)
        centres = 3 * rng.normal(size=(7, 4))
        x, y = (centres[wells % 7] + rng.normal(size=(420, 4)) for _ in range(2))
        here, there = (
            sample_of(x, wells % 7, wells),
            sample_of(y, wells % 7, rng.permutation(wells)),
        )
        values.append(STATISTIC.measure(here, there, 0))
        plain.append(2 * two_sample_auc(x, y, here.wells, there.wells) - 1)
    assert np.mean(values) == pytest.approx(0, abs=0.08)
    assert np.mean(plain) < -0.2


def test_features_are_taken_beside_the_references_class_means():
    classes, wells = np.array([0, 0, 3]), np.arange(3)
    reference = sample_of(np.array([[1.0], [3.0], [10.0]]), classes, wells)
    plate = sample_of(np.array([[5.0], [2.0], [9.0]]), classes, wells)
    x, y = subtract_class_means(plate, reference)
    np.testing.assert_allclose(x, [[3], [0], [-1]])
    np.testing.assert_allclose(y, [[-1], [1], [0]])


def test_fewer_than_two_wells_give_no_number():
    x = np.random.default_rng(4).normal(size=(60, 2))
    one, two = np.zeros(60, dtype=int), np.arange(60) % 2
    assert np.isnan(two_sample_auc(x, x, one, two))
    assert np.isnan(two_sample_auc(x, x, two, one))
    assert np.isfinite(two_sample_auc(x, x, two, two))


def test_cells_without_spread_cannot_be_told_apart():
    x, wells = np.ones((60, 3)), np.arange(60) % 6
    assert two_sample_auc(x, x, wells, wells) == 0.5

"""Corrected probabilities and class shares on populations of known truth."""

from __future__ import annotations

import numpy as np
import pytest

from coos_mlflow.drift.calibration import (
    adapt_to_shares,
    corrected_shares,
    fit_temperature,
    scale_probabilities,
)


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


def test_the_fitted_temperature_inverts_a_known_one():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(4, 0.4), size=20_000)
    truth = (
        (rng.random((len(probabilities), 1)) > probabilities.cumsum(axis=1)).sum(axis=1).clip(0, 3)
    )
    assert fit_temperature(probabilities, truth) == pytest.approx(1, abs=0.05)
    assert fit_temperature(scale_probabilities(probabilities, 0.5), truth) == pytest.approx(
        2, rel=0.05
    )


def test_scaling_leaves_the_label_and_sums_to_one():
    probabilities = np.array([[0.7, 0.3, 0.0], [0.2, 0.3, 0.5]])
    for temperature in (0.2, 1.0, 5.0):
        changed = scale_probabilities(probabilities, temperature)
        np.testing.assert_allclose(changed.sum(axis=1), 1)
        np.testing.assert_array_equal(changed.argmax(axis=1), probabilities.argmax(axis=1))
    np.testing.assert_allclose(scale_probabilities(probabilities, 1.0), probabilities, atol=1e-5)


def test_probabilities_adapt_to_the_class_shares_of_a_plate():
    rng = np.random.default_rng(0)
    prior, shares = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    truth = rng.choice(2, size=20_000, p=shares)
    value = rng.normal(loc=np.where(truth == 1, 1.0, -1.0))
    calibrated = 1 / (1 + np.exp(np.stack([2 * value, -2 * value], axis=1)))  # Bayes at 50:50
    fitted, posteriors = adapt_to_shares(calibrated, prior)
    np.testing.assert_allclose(fitted, shares, atol=0.01)
    # Bayes at 90:10 multiplies the odds by 9.
    odds = posteriors[:, 0] / posteriors[:, 1] / (calibrated[:, 0] / calibrated[:, 1])
    np.testing.assert_allclose(odds, fitted[0] / fitted[1], rtol=1e-3)


def test_a_class_that_training_lacks_stays_out():
    shares, posteriors = adapt_to_shares(np.full((10, 3), 1 / 3), np.array([0.5, 0.5, 0.0]))
    np.testing.assert_allclose(shares, [0.5, 0.5, 0.0])
    assert np.isfinite(posteriors).all()

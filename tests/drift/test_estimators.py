"""Every estimator fulfils the interface; each one against values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from coos_mlflow.drift.estimators import Predictions, estimators
from coos_mlflow.drift.estimators.well_consensus import PRIOR_CELLS, well_classes

PRIOR = np.full(7, 1 / 7)


def drawn(seed: int, n: int = 1400, classes: int = 7) -> tuple[Predictions, np.ndarray]:
    """Calibrated predictions: each cell's true class is drawn with the probabilities given."""
    rng = np.random.default_rng(seed)
    wells = np.arange(n) * 14 // n
    truth = wells % classes
    noise = rng.normal(size=(n, 7))
    logits = noise.copy()
    logits[np.arange(n), truth] += 2.5
    weights = np.exp(2.5 * logits)  # the log likelihood ratio of a normal moved by 2.5
    return Predictions(weights / weights.sum(axis=1, keepdims=True), wells, 1.0, PRIOR), truth


def confident(labels: np.ndarray, wells: np.ndarray, sure: float = 0.94) -> Predictions:
    predictions = np.full((len(labels), 7), (1 - sure) / 6)
    predictions[np.arange(len(labels)), labels] = sure
    return Predictions(predictions, wells, 1.0, PRIOR)


@pytest.fixture(params=sorted(estimators()))
def estimator(request):
    return estimators()[request.param]


def test_truths_are_probabilities_and_the_same_every_time(estimator):
    predictions, truth = drawn(0)
    fitted = estimator.fit(predictions, truth)
    first, second = (estimator.truths(predictions, fitted) for _ in range(2))
    assert first.shape == (1400, 7)
    assert (first >= 0).all()
    np.testing.assert_allclose(first.sum(axis=1), 1)
    np.testing.assert_array_equal(first, second)


def test_it_estimates_the_error_of_cells_like_those_it_was_fitted_on(estimator):
    fitted = estimator.fit(*drawn(0))
    predictions, truth = drawn(1)
    share = 1 - estimator.truths(predictions, fitted)[np.arange(1400), predictions.labels].mean()
    assert share == pytest.approx(np.mean(predictions.labels != truth), abs=0.02)


def test_it_does_not_depend_on_the_order_of_cells(estimator):
    fitted = estimator.fit(*drawn(0))
    predictions, _ = drawn(1)
    order = np.random.default_rng(0).permutation(1400)
    mixed = Predictions(predictions.probabilities[order], predictions.wells[order], 1.0, PRIOR)
    truths = estimator.truths(mixed, fitted)
    np.testing.assert_allclose(truths, estimator.truths(predictions, fitted)[order], atol=1e-9)


def test_it_accepts_a_plate_of_one_class_and_certain_predictions(estimator):
    fitted = estimator.fit(*drawn(0))
    labels = np.full(80, 3)
    predictions = confident(labels, np.arange(80) // 10, sure=1.0)
    truths = estimator.truths(predictions, fitted)
    assert truths[:, 3].min() > 0.99


def test_it_says_what_it_does(estimator):
    assert estimator.title
    assert estimator.meaning[0].islower()


def test_thresholds_are_missed_by_as_many_cells_as_are_mistakes():
    one = estimators()["thresholded_confidence"]
    sure = np.linspace(0.5, 0.99, 100)
    predictions = np.full((100, 7), 0.0)
    predictions[:, 2], predictions[:, 5] = sure, 1 - sure
    truth = np.where(np.arange(100) < 20, 5, 2)  # the twenty least sure are wrong
    known = Predictions(predictions, None, 1.0, PRIOR)
    threshold = one.fit(known, truth)[2]
    assert (sure < threshold).sum() == 20


def test_thresholds_ignore_classes_that_are_not_on_the_plate():
    """On a plate with one class no label is wrong, however low the confidence."""
    one = estimators()["thresholded_confidence"]
    labels = np.full(400, 4)
    labels[:4] = 1
    predictions = confident(labels, np.zeros(400, dtype=np.int64), sure=0.8)
    truths = one.truths(predictions, np.full(7, 0.9))
    np.testing.assert_allclose(truths[:, 4], 1.0)


def test_wells_get_the_class_of_most_of_their_cells():
    votes = np.array([[18, 2, 0], [3, 17, 0], [1, 0, 19.0]])
    rates = np.full((3, 3), 0.05) + 0.85 * np.eye(3)
    np.testing.assert_allclose(well_classes(votes, rates), np.eye(3), atol=1e-3)


def test_one_unusual_well_among_many_gets_the_class_of_the_others():
    """Seven wells show that class 0 is often labelled 1 here, so that the eighth is class 0 too."""
    votes = np.array([[60.0, 40.0, 0.0]] * 7 + [[45.0, 55.0, 0.0]])
    rates = np.full((3, 3), 0.02) + 0.94 * np.eye(3)
    assert well_classes(votes, rates)[:, 0].min() > 0.9
    assert well_classes(votes[-1:], rates)[0, 1] > 0.9  # alone it would be


def test_prior_confusions_keep_the_names_of_the_classes():
    """A plate on which all of class 0 is labelled 1 looks the same as a plate of class 1."""
    votes = np.array([[0.0, PRIOR_CELLS, 0.0]] * 4)
    rates = np.full((3, 3), 0.02) + 0.94 * np.eye(3)
    np.testing.assert_allclose(well_classes(votes, rates)[:, 1], 1.0, atol=1e-3)

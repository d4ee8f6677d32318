"""One contract for the three classifiers, and the protocol around them."""

from itertools import pairwise

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from coos_mlflow import classifiers
from coos_mlflow.classifiers import FOREST_GRID, TITLES, Protocol, fit, make
from coos_mlflow.errors import DataError

QUICK = Protocol(search_samples=2, cv_folds=2)


@pytest.fixture(scope="module")
def blobs():
    """Seven classes on eight plates, each plate with an effect of its own."""
    rng = np.random.default_rng(0)
    y = np.tile(np.arange(7), 60)
    plates = (np.arange(len(y)) // 7 % 8).astype(str)
    centres = 2.5 * rng.standard_normal((7, 10))
    X = centres[y] + rng.standard_normal((len(y), 10)) + 0.5 * plates.astype(int)[:, None]
    return (1000 * X).astype(np.float32), y, plates


@pytest.mark.parametrize("kind", TITLES)
def test_contract(kind, blobs):
    X, y, plates = blobs
    fitted = fit(kind, X, y, plates, QUICK)
    probabilities = classifiers.class_probabilities(fitted.pipeline, X)
    assert probabilities.shape == (len(y), 7)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert (probabilities.argmax(axis=1) == y).mean() > 0.8
    assert 0 <= fitted.cv_error < 30
    again = fit(kind, X, y, plates, QUICK)
    np.testing.assert_array_equal(probabilities, classifiers.class_probabilities(again.pipeline, X))
    assert again.cv_error == fitted.cv_error


@pytest.mark.parametrize("kind", TITLES)
def test_scaling_is_that_of_training_and_makes_units_irrelevant(kind, blobs):
    X, y, plates = blobs
    units = np.array([1, 1e3, 1e-3, 7, 1, 1, 1, 1, 1, 1], np.float32)
    plain = fit(kind, X, y, plates, QUICK).pipeline
    rescaled = fit(kind, X * units, y, plates, QUICK).pipeline
    np.testing.assert_allclose(plain[0].mean_, X.mean(axis=0), rtol=1e-3)
    same = plain.predict(X) == rescaled.predict(X * units)
    assert same.mean() > 0.99


@pytest.mark.parametrize("kind", TITLES)
def test_a_class_that_training_lacks_gets_no_probability(kind, blobs):
    X, y, plates = blobs
    some = y != 3
    pipeline = fit(kind, X[some], y[some], plates[some], QUICK).pipeline
    probabilities = classifiers.class_probabilities(pipeline, X)
    assert (probabilities[:, 3] == 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_left_out_predictions_never_come_from_the_cells_own_plate(monkeypatch, blobs):
    X, y, plates = blobs
    seen = []

    def spy(pipeline, X, y, fitted, held):
        seen.append((set(plates[fitted]), set(plates[held])))
        return np.zeros((len(held), 7))

    monkeypatch.setattr(classifiers, "_fit_predict", spy)
    classifiers.left_out_probabilities(make("knn", {}, QUICK), X, y, plates)
    assert len(seen) == 8
    assert all(len(held) == 1 and not (held & fitted) for fitted, held in seen)


@pytest.mark.parametrize("kind", TITLES)
def test_fits_side_by_side_end_as_fits_one_after_another(kind, blobs):
    """Seeds decide, whatever runs beside a fit; noise makes liblinear's path long."""
    X, y, plates = blobs
    noisy = X + np.random.default_rng(3).normal(0, 4000, X.shape).astype(np.float32)
    pipeline = make(kind, {"n_estimators": 20} if kind == "rf" else {}, QUICK)
    found = classifiers.left_out_probabilities(pipeline, noisy, y, plates)
    for plate in np.unique(plates):
        held = plates == plate
        alone = clone(pipeline).fit(noisy[~held], y[~held])
        expected = classifiers.class_probabilities(alone, noisy[held])
        np.testing.assert_array_equal(found[held], expected)


def test_plate_folds_do_not_share_plates(blobs):
    X, y, plates = blobs
    grouped = list(classifiers._folds(X, y, plates, Protocol(cv_folds=4, folds="plate")))
    assert all(not (set(plates[a]) & set(plates[b])) for a, b in grouped)
    stratified = list(classifiers._folds(X, y, plates, Protocol(cv_folds=4)))
    assert any(set(plates[a]) & set(plates[b]) for a, b in stratified)
    assert all(np.ptp(np.bincount(y[b])) <= 1 for _, b in stratified)


def test_the_logistic_regression_is_that_of_2019():
    """liblinear, one against the rest, L1, C=1: scikit-learn's defaults when the paper appeared."""
    one_vs_rest = make("lr", {}, Protocol())[-1]
    assert isinstance(one_vs_rest, OneVsRestClassifier)
    one = one_vs_rest.estimator
    assert isinstance(one, LogisticRegression)
    assert (one.solver, one.l1_ratio, one.C) == ("liblinear", 1, 1.0)


def test_the_search_draws_what_the_paper_says():
    drawn = classifiers._candidates("rf", Protocol())
    assert len(drawn) == 100
    assert all(candidate[k] in values for candidate in drawn for k, values in FOREST_GRID.items())
    assert {len(values) for values in FOREST_GRID.values()} == {9, 2, 6, 5}
    assert all(a != b for a, b in pairwise(drawn))


def test_the_search_keeps_the_best_of_its_draws(blobs):
    X, y, plates = blobs
    protocol = Protocol(search_samples=4, cv_folds=2)
    best = fit("rf", X, y, plates, protocol)
    drawn = [make("rf", c, protocol) for c in classifiers._candidates("rf", protocol)]
    errors = classifiers._cross_validate("rf", drawn, X, y, plates, protocol)
    assert best.cv_error == errors.min() < errors.max()


@pytest.mark.parametrize(
    "settings",
    [
        {"folds": "wells"},
        {"neighbours": 0},
        {"cv_folds": 1},
        {"search_samples": 0},
        {"inverse_penalty": 0.0},
        {"inverse_penalty": float("nan")},
        {"seed": 2**32},
    ],
)
def test_protocols_that_make_no_sense_are_refused(settings):
    with pytest.raises(DataError, match="expected"):
        Protocol(**settings)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"cv_folds": 61}, "60 cells of the rarest class"),
        ({"cv_folds": 9, "folds": "plate"}, "8 plates"),
        ({"neighbours": 300, "cv_folds": 2}, "about 210 cells"),
    ],
)
def test_settings_that_do_not_fit_the_data_are_refused(blobs, settings, sentence):
    with pytest.raises(DataError, match=sentence):
        fit("knn", *blobs, Protocol(**settings))


def test_training_of_one_class_is_refused(blobs):
    X, y, plates = blobs
    with pytest.raises(DataError, match="holds 1 class"):
        fit("lr", X[y == 2], y[y == 2], plates[y == 2], QUICK)


def test_leaving_out_a_plate_may_leave_a_single_class(blobs):
    X, y, _ = blobs
    two = y < 2
    found = classifiers.left_out_probabilities(
        make("lr", {}, QUICK), X[two], y[two], y[two].astype(str)
    )
    np.testing.assert_array_equal(found.argmax(axis=1), 1 - y[two])


def test_an_unknown_classifier_lists_the_known_ones():
    with pytest.raises(DataError, match="knn, lr, rf"):
        make("svm", {}, Protocol())

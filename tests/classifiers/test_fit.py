"""One contract for the three classifiers, and the protocol around them."""

import json

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier

from coos_mlflow.classifiers import fit as classifiers
from coos_mlflow.classifiers.fit import build_pipeline, fit
from coos_mlflow.classifiers.forest_search import FOREST_GRID, SEARCHES
from coos_mlflow.classifiers.protocol import TITLES, Protocol
from coos_mlflow.errors import DataError
from coos_mlflow.plates.folds import left_out_plates

QUICK = Protocol(search_samples=2, cv_folds=2)


@pytest.fixture(autouse=True)
def small_forests(monkeypatch):
    monkeypatch.setitem(FOREST_GRID, "n_estimators", [20, 40])


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
    probabilities = classifiers.class_probabilities(fitted.pipeline, X, 7)
    assert probabilities.shape == (len(y), 7)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert (probabilities.argmax(axis=1) == y).mean() > 0.8
    assert 0 <= fitted.cv_error < 30
    again = fit(kind, X, y, plates, QUICK)
    np.testing.assert_array_equal(
        probabilities, classifiers.class_probabilities(again.pipeline, X, 7)
    )
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
    probabilities = classifiers.class_probabilities(pipeline, X, 7)
    assert (probabilities[:, 3] == 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("kind", TITLES)
def test_what_is_fitted_is_of_scikit_learns_own_types(kind, blobs):
    """So that skops stores it and loads it again without trusting anything of ours."""
    X, y, plates = blobs
    pipeline = fit(kind, X, y, plates, QUICK).pipeline
    stored = skops.io.dumps(pipeline)
    foreign = skops.io.get_untrusted_types(data=stored)
    assert set(foreign) <= {"sklearn.tree._tree.Tree"}
    np.testing.assert_array_equal(
        skops.io.loads(stored, trusted=foreign).predict_proba(X), pipeline.predict_proba(X)
    )


@pytest.mark.parametrize("kind", TITLES)
def test_left_out_predictions_never_come_from_the_cells_own_plate(kind):
    """A class that one plate alone holds cannot be known to a fit without that plate."""
    y = np.repeat(np.arange(4), 20)
    X = np.eye(4, dtype=np.float32)[y]
    (pipeline,) = classifiers._fits(build_pipeline(kind, QUICK), X, y, [(np.arange(80), [])], "all")
    assert (pipeline.predict(X) == y).all()
    found = classifiers.left_out_probabilities(pipeline, X, y, np.array(list("dbca"))[y], 4)
    assert (found[np.arange(80), y] == 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)


@pytest.mark.parametrize("kind", TITLES)
def test_fits_on_all_cores_end_as_fits_on_one(kind, blobs, monkeypatch):
    """Seeds decide, whatever runs beside a fit."""
    X, y, plates = blobs
    noisy = X + np.random.default_rng(3).normal(0, 4000, X.shape).astype(np.float32)
    pipeline = build_pipeline(kind, QUICK)
    if kind == "rf":
        pipeline.set_params(classify__n_estimators=20)
    found = classifiers.left_out_probabilities(pipeline, noisy, y, plates, 7)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    for fitted, held in left_out_plates(y, plates):
        (alone,) = classifiers._fits(pipeline, noisy, y, [(fitted, held)], "alone")
        expected = classifiers.class_probabilities(alone, noisy[held], 7)
        np.testing.assert_array_equal(found[held], expected)


def test_neighbours_are_those_of_scikit_learn_as_it_comes(blobs):
    X, y, plates = blobs
    pipeline = fit("knn", X, y, plates, QUICK).pipeline
    scaled = pipeline[0].transform(X)
    plain = KNeighborsClassifier(11).fit(scaled, y)
    np.testing.assert_array_equal(pipeline.predict_proba(X), plain.predict_proba(scaled))


def test_plate_folds_do_not_share_plates(blobs):
    X, y, plates = blobs
    grouped = list(classifiers._folds(X, y, plates, Protocol(cv_folds=4, folds="plate")))
    assert all(not (set(plates[a]) & set(plates[b])) for a, b in grouped)
    stratified = list(classifiers._folds(X, y, plates, Protocol(cv_folds=4)))
    assert any(set(plates[a]) & set(plates[b]) for a, b in stratified)
    assert all(np.ptp(np.bincount(y[b])) <= 1 for _, b in stratified)


def test_the_logistic_regression_is_that_of_2019():
    """liblinear, one against the rest, L1, C=1: scikit-learn's defaults when the paper appeared."""
    one_vs_rest = build_pipeline("lr", Protocol())[-1]
    assert isinstance(one_vs_rest, OneVsRestClassifier)
    one = one_vs_rest.estimator
    assert isinstance(one, LogisticRegression)
    assert (one.solver, one.l1_ratio, one.C) == ("liblinear", 1, 1.0)


@pytest.mark.parametrize("search", SEARCHES)
def test_a_forest_is_the_one_that_the_search_chose(search, blobs, tmp_path):
    X, y, plates = blobs
    protocol = Protocol(search=search, search_samples=4, cv_folds=2)
    journal = tmp_path / "search.jsonl"
    fitted = fit("rf", X, y, plates, protocol, journal)
    noted = [json.loads(line) for line in journal.read_text().splitlines()]
    errors = [line["error"] for line in noted if "error" in line]
    assert len(errors) in ((8,) if search == "random" else (2, 4, 6))
    assert min(errors) <= fitted.cv_error <= max(errors)
    forest = fitted.pipeline[-1]
    assert all(getattr(forest, name) in values for name, values in FOREST_GRID.items())
    assert len(forest.estimators_) == fitted.params["n_estimators"]


@pytest.mark.parametrize(
    "settings",
    [
        {"folds": "wells"},
        {"search": "grid"},
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
        ({"search": "halving", "cv_folds": 31}, "420 cells, expected at least 434"),
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
        build_pipeline("lr", QUICK), X[two], y[two], y[two].astype(str), 7
    )
    np.testing.assert_array_equal(found.argmax(axis=1), 1 - y[two])


def test_an_unknown_classifier_lists_the_known_ones():
    with pytest.raises(DataError, match="knn, lr, rf"):
        build_pipeline("svm", Protocol())

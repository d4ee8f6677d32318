"""One contract for all kinds of classifiers, and the protocol around them."""

import json

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier

from coos_mlflow.classifiers import fit as classifiers
from coos_mlflow.classifiers.fit import Places, build_pipeline, fit
from coos_mlflow.classifiers.forest_search import FOREST_GRID, SEARCHES
from coos_mlflow.classifiers.kinds import kinds
from coos_mlflow.classifiers.protocol import Protocol
from coos_mlflow.errors import DataError
from coos_mlflow.plates.folds import left_out_plates

QUICK = Protocol(search_samples=2, cv_folds=2)


@pytest.fixture(autouse=True)
def small_forests(monkeypatch):
    monkeypatch.setitem(FOREST_GRID, "n_estimators", [20, 40])


def at(plates):
    """Return places on plates, in wells that are not known."""
    return Places(plates, np.full(len(plates), ""))


def alone(kind, X, y, places):
    """Return the fit on all cells, without cross-validation."""
    cells = classifiers._Cells(kinds()[kind], X, y, places)
    rows = [(np.arange(len(y)), [])]
    return next(iter(classifiers._fits(small(kind), cells, rows, "all")))


def small(kind):
    pipeline = build_pipeline(kind, QUICK)
    return pipeline.set_params(classify__n_estimators=20) if kinds()[kind].searched else pipeline


@pytest.fixture(scope="module")
def blobs():
    """Seven classes on eight plates, each plate with an effect of its own."""
    rng = np.random.default_rng(0)
    y = np.tile(np.arange(7), 60)
    plates = (np.arange(len(y)) // 7 % 8).astype(str)
    centres = 2.5 * rng.standard_normal((7, 10))
    X = centres[y] + rng.standard_normal((len(y), 10)) + 0.5 * plates.astype(int)[:, None]
    return (1000 * X).astype(np.float32), y, at(plates)


@pytest.mark.parametrize("kind", kinds())
def test_contract(kind, blobs):
    X, y, places = blobs
    fitted = fit(kind, X, y, places, QUICK)
    probabilities = classifiers.class_probabilities(fitted.pipeline, X, 7)
    assert probabilities.shape == (len(y), 7)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert (probabilities.argmax(axis=1) == y).mean() > 0.8
    assert 0 <= fitted.cv_error < 30
    again = fit(kind, X, y, places, QUICK)
    np.testing.assert_array_equal(
        probabilities, classifiers.class_probabilities(again.pipeline, X, 7)
    )
    assert again.cv_error == fitted.cv_error


@pytest.mark.parametrize("kind", kinds())
def test_scaling_is_that_of_training_and_makes_units_irrelevant(kind, blobs):
    X, y, places = blobs
    units = np.array([1, 1e3, 1e-3, 7, 1, 1, 1, 1, 1, 1], np.float32)
    plain = fit(kind, X, y, places, QUICK).pipeline
    rescaled = fit(kind, X * units, y, places, QUICK).pipeline
    np.testing.assert_allclose(plain[0].mean_, X.mean(axis=0), rtol=1e-3)
    same = plain.predict(X) == rescaled.predict(X * units)
    assert same.mean() > 0.99


@pytest.mark.parametrize("kind", kinds())
def test_a_class_that_training_lacks_gets_no_probability(kind, blobs):
    X, y, places = blobs
    some = y != 3
    pipeline = fit(kind, X[some], y[some], places.select(some), QUICK).pipeline
    probabilities = classifiers.class_probabilities(pipeline, X, 7)
    assert (probabilities[:, 3] == 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("kind", kinds())
def test_what_is_fitted_needs_no_pickle(kind, blobs):
    """skops stores it and loads it again; it trusts trees, and one type of this package."""
    X, y, places = blobs
    pipeline = fit(kind, X, y, places, QUICK).pipeline
    stored = skops.io.dumps(pipeline)
    foreign = skops.io.get_untrusted_types(data=stored)
    own = "coos_mlflow.classifiers.plate_effects.PlateEffects"
    assert set(foreign) <= {"sklearn.tree._tree.Tree", own}
    np.testing.assert_array_equal(
        skops.io.loads(stored, trusted=foreign).predict_proba(X), pipeline.predict_proba(X)
    )


@pytest.mark.parametrize("kind", kinds())
def test_left_out_predictions_never_come_from_the_cells_own_plate(kind):
    """A class that one plate alone holds cannot be known to a fit without that plate."""
    y = np.repeat(np.arange(4), 20)
    X = np.eye(4, dtype=np.float32)[y]
    X += np.random.default_rng(0).normal(0, 0.05, X.shape).astype(np.float32)
    places = at(np.array(list("dbca"))[y])
    pipeline = alone(kind, X, y, places)
    assert (pipeline.predict(X) == y).all()
    found = classifiers.left_out_probabilities(kind, pipeline, X, y, places, 4)
    assert (found[np.arange(80), y] == 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)


@pytest.mark.parametrize("kind", kinds())
def test_fits_on_all_cores_end_as_fits_on_one(kind, blobs, monkeypatch):
    """Seeds decide, whatever runs beside a fit."""
    X, y, places = blobs
    noisy = X + np.random.default_rng(3).normal(0, 4000, X.shape).astype(np.float32)
    found = classifiers.left_out_probabilities(kind, small(kind), noisy, y, places, 7)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    for fitted, held in left_out_plates(y, places.plates):
        one = alone(kind, noisy[fitted], y[fitted], places.select(fitted))
        expected = classifiers.class_probabilities(one, noisy[held], 7, places.select(held))
        np.testing.assert_array_equal(found[held], expected)


def test_neighbours_are_those_of_scikit_learn_as_it_comes(blobs):
    X, y, places = blobs
    pipeline = fit("knn", X, y, places, QUICK).pipeline
    scaled = pipeline[0].transform(X)
    plain = KNeighborsClassifier(11).fit(scaled, y)
    np.testing.assert_array_equal(pipeline.predict_proba(X), plain.predict_proba(scaled))


def test_plate_folds_do_not_share_plates(blobs):
    X, y, places = blobs
    plates = places.plates
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
    X, y, places = blobs
    protocol = Protocol(search=search, search_samples=4, cv_folds=2)
    journal = tmp_path / "search.jsonl"
    fitted = fit("rf", X, y, places, protocol, journal)
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
    X, y, places = blobs
    with pytest.raises(DataError, match="holds 1 class"):
        fit("lr", X[y == 2], y[y == 2], places.select(y == 2), QUICK)


def test_leaving_out_a_plate_may_leave_a_single_class(blobs):
    X, y, _ = blobs
    two = y < 2
    found = classifiers.left_out_probabilities(
        "lr", build_pipeline("lr", QUICK), X[two], y[two], at(y[two].astype(str)), 7
    )
    np.testing.assert_array_equal(found.argmax(axis=1), 1 - y[two])


def test_an_unknown_classifier_lists_the_known_ones():
    with pytest.raises(DataError, match="knn, lr, rf, lr_even"):
        build_pipeline("svm", Protocol())


def test_plates_of_a_class_weigh_the_same_and_classes_as_much_as_before():
    y = np.array([0] * 10 + [1] * 4)
    plates = np.array(["a"] * 8 + ["b"] * 2 + ["a"] * 3 + ["c"])
    weights = classifiers.even_weights(y, plates)
    for label, total in ((0, 5.0), (1, 2.0)):
        for plate in set(plates[y == label]):
            assert weights[(y == label) & (plates == plate)].sum() == pytest.approx(total)


@pytest.mark.parametrize(("plain", "even"), [("lr", "lr_even"), ("rf", "rf_even")])
def test_even_kinds_see_a_small_plate_as_often_as_a_large_one(plain, even):
    """One class lies elsewhere on its small plate, where the other class is on the large one."""
    rng = np.random.default_rng(0)
    y = np.array([0] * 400 + [0] * 10 + [1] * 40)
    plates = np.array(["a"] * 400 + ["b"] * 10 + ["a"] * 20 + ["b"] * 20)
    X = rng.normal(0, 1, (450, 2)).astype(np.float32)
    X[400:410, 0] += 2.5
    X[410:, 0] += 2
    small_plate = slice(400, 410)
    found = {k: alone(k, X, y, at(plates)).predict_proba(X)[small_plate, 0] for k in (plain, even)}
    assert found[even].mean() > found[plain].mean() + 0.05

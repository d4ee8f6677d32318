"""The logistic regression solves liblinear's problem: known solutions, optimality, liblinear."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from coos_mlflow.classifiers.logistic_l1 import fit_in_parallel, minimise


def one_vs_rest(inverse_penalty: float = 1.0, **settings: float) -> Pipeline:
    one = LogisticRegression(C=inverse_penalty, l1_ratio=1, solver="liblinear", **settings)
    return Pipeline([("scale", StandardScaler()), ("classify", OneVsRestClassifier(one))])


def cells(n: int, classes: int, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping classes in 12 features, of which two are sums of others and one is constant."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    X = spread * rng.standard_normal((classes, 12))[y] + rng.standard_normal((n, 12))
    X[:, 9] = X[:, 0] + X[:, 1]
    X[:, 10] = 4096 * X[:, 2]
    X[:, 11] = 7
    return X.astype(np.float32), y


def design_of(X: np.ndarray) -> np.ndarray:
    return np.asfortranarray(
        np.c_[StandardScaler().fit_transform(X.astype(float)), np.ones(len(X))]
    )


def objective(design: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> float:
    margins = np.where(positive, 1, -1) * (design @ weights)
    return np.abs(weights).sum() + np.log1p(np.exp(-margins)).sum()


def fit_all(pipeline: Pipeline, X: np.ndarray, y: np.ndarray) -> Pipeline:
    (fitted,) = fit_in_parallel(pipeline, X, y, [np.arange(len(y))], "LR")
    return fitted


@pytest.mark.parametrize("inverse_penalty", [0.5, 1.0, 4.0])
def test_an_intercept_alone_has_a_solution_in_closed_form(inverse_penalty):
    """30 of 40 cells: |b| + C (30 log(1 + e^-b) + 10 log(1 + e^b)) has slope 0 where
    1 + C (40 sigma(b) - 30) = 0.
    """
    found = minimise(np.ones((40, 1), order="F"), np.arange(40) < 30, inverse_penalty)
    share = (30 - 1 / inverse_penalty) / 40
    np.testing.assert_allclose(found, [np.log(share / (1 - share))], rtol=1e-3)


def test_a_penalty_stronger_than_the_data_leaves_nothing():
    X, y = cells(60, 2, 1.0)
    slopes = np.abs(design_of(X).T @ (0.5 - y))
    assert (minimise(design_of(X), y == 1, 0.99 / slopes.max()) == 0).all()
    assert (minimise(design_of(X), y == 1, 1.05 / slopes.max()) != 0).sum() in (1, 2)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("inverse_penalty", [0.1, 1.0, 10.0])
def test_no_weight_could_be_better(inverse_penalty, seed):
    """The condition of optimality: slopes of the losses are at most 1, and 1 against a weight."""
    X, y = cells(500, 4, 0.7, seed)
    design, positive = design_of(X), y == 1
    weights = minimise(design, positive, inverse_penalty)
    slopes = inverse_penalty * design.T @ (expit(design @ weights) - positive)
    used = weights != 0
    assert used.any()
    np.testing.assert_allclose(slopes[used], -np.sign(weights[used]), atol=0.02)
    assert np.abs(slopes).max() < 1.02


@pytest.mark.parametrize("inverse_penalty", [0.1, 1.0])
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_probabilities_are_those_of_liblinear_run_to_its_end(classes, inverse_penalty):
    X, y = cells(600, classes, 0.8)
    strict = one_vs_rest(inverse_penalty, tol=1e-9, max_iter=10_000, random_state=0).fit(X, y)
    found = fit_all(one_vs_rest(inverse_penalty), X, y)
    np.testing.assert_allclose(found.predict_proba(X), strict.predict_proba(X), atol=1e-3)
    np.testing.assert_array_equal(found.classes_, strict.classes_)
    assert (found.predict(X) == strict.predict(X)).mean() > 0.99


def test_the_objective_is_never_above_that_of_liblinear_as_it_comes():
    X, y = cells(600, 7, 0.8)
    design = design_of(X)
    loose = one_vs_rest(random_state=0).fit(X, y)[-1]
    for label, one in enumerate(loose.estimators_):
        theirs = np.r_[one.coef_[0], one.intercept_]
        ours = minimise(design, y == label, 1.0)
        limit = objective(design, y == label, theirs) * (1 + 1e-6)
        assert objective(design, y == label, ours) <= limit


def test_classes_that_a_plane_separates_end_in_finite_weights():
    X, y = cells(300, 3, 20.0)
    fitted = fit_all(one_vs_rest(), X, y)
    assert (fitted.predict(X) == y).all()
    assert all(np.isfinite(one.coef_).all() for one in fitted[-1].estimators_)


def test_more_features_than_cells():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 200)).astype(np.float32), np.arange(30) % 3
    fitted = fit_all(one_vs_rest(), X, y)
    assert all(0 < (one.coef_ != 0).sum() <= 30 for one in fitted[-1].estimators_)
    assert (fitted.predict(X) == y).mean() > 0.9


def test_labels_of_another_kind_cannot_order_the_classes():
    """Which number a class has makes no difference to its own problem."""
    X, y = cells(300, 3, 0.8)
    by_place = fit_all(one_vs_rest(), X, y).predict_proba(X)
    turned = fit_all(one_vs_rest(), X, np.array([6, 0, 3])[y])
    np.testing.assert_array_equal(turned.classes_, [0, 3, 6])
    np.testing.assert_allclose(turned.predict_proba(X)[:, [2, 0, 1]], by_place, atol=1e-12)


def test_each_subset_is_fitted_on_its_own_rows_alone():
    X, y = cells(400, 4, 0.8)
    first, second, single = np.arange(0, 200), np.arange(200, 400), np.flatnonzero(y == 2)
    together = fit_in_parallel(one_vs_rest(), X, y, [first, second, single], "LR")
    for rows, found in zip((first, second), together, strict=False):
        alone = fit_all(one_vs_rest(), X[rows], y[rows])
        np.testing.assert_array_equal(found.predict_proba(X), alone.predict_proba(X))
        np.testing.assert_allclose(found[0].mean_, X[rows].mean(axis=0), rtol=1e-4)
    np.testing.assert_array_equal(together[2].predict(X), np.full(len(y), 2))

"""L1 logistic regression, each class against the rest: liblinear's problem on Gram matrices.

liblinear (Fan et al. 2008), scikit-learn's solver when the paper was written, minimises for each
class

    sum_j |w_j| + C sum_i log(1 + exp(-s_i x_i w)),    s_i = 1 for the class and -1 for the rest,

where the intercept is one more weight, as penalised as the others. Both it (newGLMNET, Yuan et
al. 2012) and this file take Newton steps, each of them a lasso on weighted cells. liblinear goes
through all cells in each sweep of coordinates, and features as collinear as texture's need
thousands of sweeps; here scikit-learn's lasso reads the Gram matrix instead, and a sweep no
longer depends on the number of cells.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from scipy.special import expit
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import lasso_path
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import LabelBinarizer, StandardScaler
from threadpoolctl import threadpool_limits

from coos_mlflow._utils.progress import progress

TOLERANCE = 1e-7
"""Share of the objective below which a step's gain ends the search."""

STEPS = 200
"""Bound on Newton steps; about 15 are taken, 50 where the lasso runs into its own bound."""

SWEEPS = 5000
"""Bound on a lasso's sweeps: from there on another Newton step gains more."""

MIN_CURVATURE = 1e-6
"""Bounds a cell's weight p (1 - p) from below, by whose root its residual is divided."""

HALVINGS = 20
SUFFICIENT = 0.01
"""Line search: bound on halvings, and Armijo's constant; both as in newGLMNET."""


def fit_side_by_side(
    pipeline: Pipeline, X: np.ndarray, y: np.ndarray, subsets: Sequence[np.ndarray], title: str
) -> list[Pipeline]:
    """Fit scaling and logistic regression on several subsets of cells, on all cores.

    Every class of every subset is a fit of its own, on one core, so that no digit depends on how
    many cores there are.

    Parameters
    ----------
    pipeline : Pipeline
        `StandardScaler` and `OneVsRestClassifier` of a `LogisticRegression`, unfitted.
    X : ndarray, shape (n, d)
    y : ndarray of int64, shape (n,)
    subsets : sequence of ndarray of int64
        Rows of each fit.
    title : str
        Of the progress bar.

    Returns
    -------
    list of Pipeline
        Fitted, of scikit-learn's own types.
    """
    labels = [_positive_labels(y[rows]) for rows in subsets]
    total = sum(len(positive) for positive in labels)
    weights = []
    with one_core_per_fit(), progress(title, total=total, unit="fits") as advance:
        scalers = [clone(pipeline[0]).fit(X[rows]) for rows in subsets]
        jobs = _jobs(scalers, labels, X, y, subsets, pipeline[-1].estimator.C)
        for found in Parallel(n_jobs=-1, prefer="threads", return_as="generator")(jobs):
            weights.append(found)
            advance(1)
    in_turn = iter(weights)
    return [
        _assemble(pipeline, scaler, y[rows], [next(in_turn) for _ in positive])
        for scaler, rows, positive in zip(scalers, subsets, labels, strict=True)
    ]


@contextmanager
def one_core_per_fit() -> Iterator[None]:
    """Hold BLAS to one core, and lassos that end at their bound to silence, around `minimise`.

    Both are settings of the process: no fit may change them while others run beside it.
    """
    with (
        threadpool_limits(limits=1, user_api="blas"),
        warnings.catch_warnings(action="ignore", category=ConvergenceWarning),
    ):
        yield


def minimise(design: np.ndarray, positive: np.ndarray, inverse_penalty: float) -> np.ndarray:
    """Return the weights that solve liblinear's problem for one class.

    Parameters
    ----------
    design : ndarray of float64, shape (n, d + 1), in Fortran order
        Scaled features, and a column of ones for the intercept.
    positive : ndarray of bool, shape (n,)
        Cells of the class.
    inverse_penalty : float
        C.

    Returns
    -------
    ndarray of float64, shape (d + 1,)
    """
    weights, margins = np.zeros(design.shape[1]), np.zeros(len(design))
    objective = _objective(weights, margins, positive, inverse_penalty)
    for _ in range(STEPS):
        residuals = expit(margins) - positive
        accuracy = TOLERANCE * objective
        step = _lasso(design, weights, margins, residuals, inverse_penalty, accuracy) - weights
        change = design @ step
        slope = inverse_penalty * (residuals @ change)
        slope += np.abs(weights + step).sum() - np.abs(weights).sum()
        length = 1.0
        for _ in range(HALVINGS):
            there = weights + length * step, margins + length * change
            reached = _objective(*there, positive, inverse_penalty)
            if reached <= objective + SUFFICIENT * length * slope:
                break
            length /= 2
        gain = objective - reached
        if gain > 0:
            (weights, margins), objective = there, reached
        if gain <= accuracy:
            break
    return weights


def _objective(
    weights: np.ndarray, margins: np.ndarray, positive: np.ndarray, inverse_penalty: float
) -> float:
    losses = np.logaddexp(0, np.where(positive, -margins, margins))
    return float(np.abs(weights).sum() + inverse_penalty * losses.sum())


def _lasso(
    design: np.ndarray,
    weights: np.ndarray,
    margins: np.ndarray,
    residuals: np.ndarray,
    inverse_penalty: float,
    accuracy: float,
) -> np.ndarray:
    """Return the weights that minimise the objective with its losses made quadratic.

    That is a lasso of weighted cells (iteratively reweighted least squares): with p the
    probabilities, cells weigh C p (1 - p), and the target is where their margins should go.
    """
    off = np.abs(residuals)
    root = np.sqrt(inverse_penalty * np.maximum(off * (1 - off), MIN_CURVATURE))
    weighted = design * root[:, None]
    target = root * margins - inverse_penalty * residuals / root
    found = lasso_path(
        weighted,
        target,
        alphas=[1 / len(design)],
        precompute=weighted.T @ weighted,
        Xy=weighted.T @ target,
        coef_init=weights.copy(),
        tol=accuracy / (target @ target),
        max_iter=SWEEPS,
        check_input=False,
    )
    return found[1][:, 0]


def _jobs(
    scalers: Sequence[StandardScaler],
    labels: Sequence[np.ndarray],
    X: np.ndarray,
    y: np.ndarray,
    subsets: Sequence[np.ndarray],
    inverse_penalty: float,
) -> Iterator[Any]:
    """Scale a subset once for all its classes, when its turn comes."""
    for scaler, positive, rows in zip(scalers, labels, subsets, strict=True):
        scaled = scaler.transform(X[rows])
        design = np.ones((len(rows), X.shape[1] + 1), order="F")
        design[:, :-1] = scaled
        for label in positive:
            yield delayed(minimise)(design, y[rows] == label, inverse_penalty)


def _positive_labels(y: np.ndarray) -> np.ndarray:
    """Return the classes to tell from the rest: of two, the second suffices; of one, none."""
    classes = np.unique(y)
    return classes if len(classes) > 2 else classes[1:]


def _assemble(
    pipeline: Pipeline, scaler: StandardScaler, y: np.ndarray, weights: list[np.ndarray]
) -> Pipeline:
    """Return what `pipeline.fit` would: fitted estimators, with these weights."""
    if not weights:
        constant = DummyClassifier().fit(np.zeros((len(y), 1)), y)
        return Pipeline([("scale", scaler), ("classify", constant)])
    one_vs_rest = clone(pipeline[-1])
    one_vs_rest.label_binarizer_ = LabelBinarizer(sparse_output=True).fit(y)
    one_vs_rest.classes_ = one_vs_rest.label_binarizer_.classes_
    one_vs_rest.n_features_in_ = scaler.n_features_in_
    one_vs_rest.estimators_ = []
    for found in weights:
        one = clone(one_vs_rest.estimator)
        one.classes_, one.n_features_in_ = np.array([0, 1]), scaler.n_features_in_
        one.coef_, one.intercept_ = found[None, :-1], found[-1:]
        one_vs_rest.estimators_.append(one)
    return Pipeline([("scale", scaler), ("classify", one_vs_rest)])

"""L1 logistic regression, each class against the rest: liblinear's problem on Gram matrices.

liblinear (Fan et al. 2008), scikit-learn's solver when the paper was written, minimises for each
class

    sum_j |w_j| + C sum_i log(1 + exp(-s_i x_i w)),    s_i = 1 for the class and -1 for the rest.

The intercept is one more weight, penalised like the others. liblinear (newGLMNET, Yuan et al. 2012)
and this file both take Newton steps, each of which solves a lasso on weighted cells. liblinear
passes over all cells in each sweep of coordinates, and features as collinear as texture's need
thousands of sweeps. Here scikit-learn's lasso works on the Gram matrix, so that the cost of a sweep
does not depend on the number of cells.
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
"""The Newton steps end when a step gains less than this share of the objective."""

MAX_STEPS = 200
"""Limit of Newton steps; about 15 are needed, 50 where the lasso reaches `MAX_SWEEPS`."""

MAX_SWEEPS = 5000
"""Limit of a lasso's sweeps; beyond it another Newton step gains more."""

MIN_CURVATURE = 1e-6
"""Lower limit of a cell's weight p (1 - p); its residual is divided by the weight's root."""

MAX_HALVINGS = 20
SUFFICIENT_DECREASE = 0.01
"""Line search: limit of halvings, and Armijo's constant; both as in newGLMNET."""


def fit_in_parallel(
    pipeline: Pipeline,
    X: np.ndarray,
    y: np.ndarray,
    subsets: Sequence[np.ndarray],
    title: str,
    weights: Sequence[np.ndarray | None] | None = None,
) -> list[Pipeline]:
    """Fit scaling and logistic regression on several subsets of cells, on all cores.

    Each class of each subset is fitted on one core, so that the digits do not depend on the number
    of cores.

    Parameters
    ----------
    pipeline : Pipeline
        `StandardScaler` and `OneVsRestClassifier` of a `LogisticRegression`, unfitted.
    X : ndarray, shape (n, d)
    y : ndarray of int64, shape (n,)
    subsets : sequence of ndarray of int64
        Rows of each fit.
    title : str
        Title of the progress bar.
    weights : sequence of ndarray of float64, optional
        Weights of the cells of each fit, about 1; all 1 by default.

    Returns
    -------
    list of Pipeline
        Fitted, of scikit-learn's own types.
    """
    labels = [_positive_labels(y[rows]) for rows in subsets]
    total = sum(len(positive) for positive in labels)
    solutions = []
    with one_core_per_fit(), progress(title, total=total, unit="fits") as advance:
        scalers = [clone(pipeline[0]).fit(X[rows]) for rows in subsets]
        jobs = _jobs(scalers, labels, X, y, subsets, pipeline[-1].estimator.C, weights)
        for solution in Parallel(n_jobs=-1, prefer="threads", return_as="generator")(jobs):
            solutions.append(solution)
            advance(1)
    remaining = iter(solutions)
    return [
        _assemble(pipeline, scaler, y[rows], [next(remaining) for _ in positive])
        for scaler, rows, positive in zip(scalers, subsets, labels, strict=True)
    ]


@contextmanager
def one_core_per_fit() -> Iterator[None]:
    """Limit BLAS to one core and silence the convergence warnings of lassos, around `minimise`.

    Both are settings of the whole process, so they are set once around all parallel fits.
    """
    with (
        threadpool_limits(limits=1, user_api="blas"),
        warnings.catch_warnings(action="ignore", category=ConvergenceWarning),
    ):
        yield


def minimise(
    design: np.ndarray, positive: np.ndarray, inverse_penalty: np.ndarray | float
) -> np.ndarray:
    """Return the weights that solve liblinear's problem for one class.

    Parameters
    ----------
    design : ndarray of float64, shape (n, d + 1), in Fortran order
        Scaled features, and a column of ones for the intercept.
    positive : ndarray of bool, shape (n,)
        Cells of the class.
    inverse_penalty : ndarray of float64, shape (n,), or float
        C, times the weight of each cell.

    Returns
    -------
    ndarray of float64, shape (d + 1,)
    """
    weights, margins = np.zeros(design.shape[1]), np.zeros(len(design))
    objective = _objective(weights, margins, positive, inverse_penalty)
    for _ in range(MAX_STEPS):
        residuals = expit(margins) - positive
        accuracy = TOLERANCE * objective
        step = _lasso(design, weights, margins, residuals, inverse_penalty, accuracy) - weights
        change = design @ step
        slope = (inverse_penalty * residuals) @ change
        slope += np.abs(weights + step).sum() - np.abs(weights).sum()
        length = 1.0
        for _ in range(MAX_HALVINGS):
            candidate = weights + length * step, margins + length * change
            new_objective = _objective(*candidate, positive, inverse_penalty)
            if new_objective <= objective + SUFFICIENT_DECREASE * length * slope:
                break
            length /= 2
        gain = objective - new_objective
        if gain > 0:
            (weights, margins), objective = candidate, new_objective
        if gain <= accuracy:
            break
    return weights


def _objective(
    weights: np.ndarray,
    margins: np.ndarray,
    positive: np.ndarray,
    inverse_penalty: np.ndarray | float,
) -> float:
    losses = np.logaddexp(0, np.where(positive, -margins, margins))
    return float(np.abs(weights).sum() + (inverse_penalty * losses).sum())


def _lasso(
    design: np.ndarray,
    weights: np.ndarray,
    margins: np.ndarray,
    residuals: np.ndarray,
    inverse_penalty: np.ndarray | float,
    accuracy: float,
) -> np.ndarray:
    """Return the weights that minimise the objective's quadratic approximation.

    This is a lasso on weighted cells (iteratively reweighted least squares). A cell with
    probability p has the weight C p (1 - p); its target is the working response of that method.
    """
    distance = np.abs(residuals)  # p or 1 - p
    root = np.sqrt(inverse_penalty * np.maximum(distance * (1 - distance), MIN_CURVATURE))
    weighted = design * root[:, None]
    target = root * margins - inverse_penalty * residuals / root
    path = lasso_path(
        weighted,
        target,
        alphas=[1 / len(design)],
        precompute=weighted.T @ weighted,
        Xy=weighted.T @ target,
        coef_init=weights.copy(),
        tol=accuracy / (target @ target),
        max_iter=MAX_SWEEPS,
        check_input=False,
    )
    return path[1][:, 0]


def _jobs(
    scalers: Sequence[StandardScaler],
    labels: Sequence[np.ndarray],
    X: np.ndarray,
    y: np.ndarray,
    subsets: Sequence[np.ndarray],
    inverse_penalty: float,
    weights: Sequence[np.ndarray | None] | None,
) -> Iterator[Any]:
    """Yield a job for each class of each subset; a subset is scaled only when its jobs start."""
    weights = weights or [None] * len(subsets)
    for scaler, positive, rows, own in zip(scalers, labels, subsets, weights, strict=True):
        penalty = inverse_penalty if own is None else inverse_penalty * own
        scaled = scaler.transform(X[rows])
        design = np.ones((len(rows), X.shape[1] + 1), order="F")
        design[:, :-1] = scaled
        for label in positive:
            yield delayed(minimise)(design, y[rows] == label, penalty)


def _positive_labels(y: np.ndarray) -> np.ndarray:
    """Return the classes to fit against the rest: the second of two classes, none of one."""
    classes = np.unique(y)
    return classes if len(classes) > 2 else classes[1:]


def _assemble(
    pipeline: Pipeline, scaler: StandardScaler, y: np.ndarray, weights: list[np.ndarray]
) -> Pipeline:
    """Return the pipeline as `pipeline.fit` would, with the given weights."""
    if not weights:
        constant = DummyClassifier().fit(np.zeros((len(y), 1)), y)
        return Pipeline([("scale", scaler), ("classify", constant)])
    one_vs_rest = clone(pipeline[-1])
    one_vs_rest.label_binarizer_ = LabelBinarizer(sparse_output=True).fit(y)
    one_vs_rest.classes_ = one_vs_rest.label_binarizer_.classes_
    one_vs_rest.n_features_in_ = scaler.n_features_in_
    one_vs_rest.estimators_ = []
    for solution in weights:
        binary = clone(one_vs_rest.estimator)
        binary.classes_, binary.n_features_in_ = np.array([0, 1]), scaler.n_features_in_
        binary.coef_, binary.intercept_ = solution[None, :-1], solution[-1:]
        one_vs_rest.estimators_.append(binary)
    return Pipeline([("scale", scaler), ("classify", one_vs_rest)])

"""Pipelines of the paper's three classifiers, their fits and their cross-validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from coos_mlflow._utils.progress import progress
from coos_mlflow.classifiers.forest_search import Search, search_forest
from coos_mlflow.classifiers.protocol import TITLES, Protocol
from coos_mlflow.errors import DataError
from coos_mlflow.metrics import balanced_error, confusion_matrix
from coos_mlflow.plates.folds import Fold, left_out_plates

VERSION = "2"
"""To be changed whenever the same cells and settings would give other fits."""

_CELL_FOLDS = 5
"""Folds of cells where all are of one plate, as in the paper's cross-validation."""


@dataclass(frozen=True)
class Fitted:
    """A classifier fitted on Training, and its error in cross-validation.

    Parameters
    ----------
    pipeline : Pipeline or None
        Scaling and classifier, fitted on all of Training; None where the representation classifies
        by itself.
    params : dict
        The classifier's parameters; for a forest those that the search selected.
    cv_error : float
        Balanced error in % over the protocol's folds of Training.
    """

    pipeline: Pipeline | None
    params: dict[str, Any]
    cv_error: float


def fit(
    kind: str,
    X: np.ndarray,
    y: np.ndarray,
    plates: np.ndarray,
    protocol: Protocol,
    journal: Path | None = None,
) -> Fitted:
    """Fit a classifier on Training, selecting a forest's parameters by cross-validation.

    Parameters
    ----------
    kind : str
        A key of `coos_mlflow.classifiers.protocol.TITLES`.
    X : ndarray of float32, shape (n, d)
    y : ndarray of int64, shape (n,)
    plates : ndarray of str, shape (n,)
        Plate of each cell, for folds of whole plates.
    protocol : Protocol
    journal : Path, optional
        File of the forest search's finished fits, with which an interrupted search resumes.

    Raises
    ------
    DataError
        For an unknown classifier, or too few cells for the protocol.
    """
    protocol.check(y, plates)
    folds = list(_folds(X, y, plates, protocol))
    pipeline = build_pipeline(kind, protocol)
    if kind == "rf":
        search = Search(
            pipeline, X, y, folds, protocol.search_samples, protocol.seed, protocol.search
        )
        chosen, cv_error = search_forest(search, journal)
        pipeline[-1].set_params(**chosen)
    else:
        cv_error = _cv_error(kind, pipeline, X, y, folds)
    all_rows = [(np.arange(len(y)), np.arange(0))]
    (fitted,) = _fits(pipeline, X, y, all_rows, f"{TITLES[kind]} on all of Training")
    params = {k: v for k, v in fitted[-1].get_params(deep=False).items() if _is_scalar(v)}
    return Fitted(fitted, params, cv_error)


def build_pipeline(kind: str, protocol: Protocol) -> Pipeline:
    """Return an unfitted pipeline: centre and scale by Training, then the classifier.

    Raises
    ------
    DataError
        For an unknown classifier.
    """
    if kind == "knn":
        # With 69 dimensions and more, trees of neighbours are slower than matrix products.
        classifier = KNeighborsClassifier(protocol.neighbours, algorithm="brute")
    elif kind == "lr":
        # scikit-learn's default when the paper was written; `logistic_l1` solves it.
        classifier = OneVsRestClassifier(
            LogisticRegression(C=protocol.inverse_penalty, l1_ratio=1, solver="liblinear")
        )
    elif kind == "rf":
        classifier = RandomForestClassifier(random_state=protocol.seed)
    else:
        raise DataError(f"Classifier {kind!r} is not known; there are {', '.join(TITLES)}.")
    return Pipeline([("scale", StandardScaler()), ("classify", classifier)])


def step_types() -> set[type]:
    """Return the types of the steps of all pipelines from `build_pipeline`."""
    return {type(step) for kind in TITLES for _, step in build_pipeline(kind, Protocol()).steps}


def left_out_probabilities(
    pipeline: Pipeline, X: np.ndarray, y: np.ndarray, plates: np.ndarray, n_classes: int
) -> np.ndarray:
    """Predict each plate by a classifier fitted without it.

    A classifier predicts the cells of its fit, and other cells of their plates, better than those
    of new plates. These predictions are as good as those of a new plate.

    Returns
    -------
    ndarray of float64, shape (n, classes)
        Class probabilities. Where all cells are of one plate, fifths of its cells are left out.
    """
    splits = left_out_plates(y, plates)
    if len(splits) < 2:
        splits = list(StratifiedKFold(_CELL_FOLDS, shuffle=True, random_state=0).split(X, y))
    return _held_out_probabilities(pipeline, X, y, splits, "left-out plates", n_classes)


def class_probabilities(pipeline: Pipeline, X: np.ndarray, n_classes: int) -> np.ndarray:
    """Return probabilities (n, classes), zero for classes that are not in Training."""
    probabilities = np.zeros((len(X), n_classes))
    probabilities[:, pipeline.classes_] = pipeline.predict_proba(X)
    return probabilities


def _cv_error(
    kind: str, pipeline: Pipeline, X: np.ndarray, y: np.ndarray, folds: Sequence[Fold]
) -> float:
    """Return the balanced error in %, averaged over the folds."""
    title = f"{TITLES[kind]} cross-validation"
    n_classes = int(y.max()) + 1
    predicted = _held_out_probabilities(pipeline, X, y, folds, title, n_classes).argmax(axis=1)
    errors = [balanced_error(confusion_matrix(y[held], predicted[held])) for _, held in folds]
    return float(np.mean(errors))


def _held_out_probabilities(
    pipeline: Pipeline,
    X: np.ndarray,
    y: np.ndarray,
    folds: Sequence[Fold],
    title: str,
    n_classes: int,
) -> np.ndarray:
    """Return probabilities of each fold's held-out rows by the fit on its other rows."""
    probabilities = np.zeros((len(y), n_classes))
    for fitted, (_, held) in zip(_fits(pipeline, X, y, folds, title), folds, strict=True):
        probabilities[held] = class_probabilities(fitted, X[held], n_classes)
    return probabilities


def _fits(
    pipeline: Pipeline, X: np.ndarray, y: np.ndarray, folds: Sequence[Fold], title: str
) -> Iterator[Pipeline]:
    """Yield the pipeline fitted on the rows of each fold."""
    if isinstance(pipeline[-1], OneVsRestClassifier):
        # Imported here: a served model fits nothing.
        from coos_mlflow.classifiers.logistic_l1 import fit_in_parallel

        yield from fit_in_parallel(pipeline, X, y, [rows for rows, _ in folds], title)
        return
    with progress(title, total=len(folds), unit="fits") as advance:
        for rows, _ in folds:
            yield _fit_on_all_cores(clone(pipeline), X[rows], y[rows])
            advance(1)


def _folds(X: np.ndarray, y: np.ndarray, plates: np.ndarray, protocol: Protocol) -> Iterator[Fold]:
    settings = {"n_splits": protocol.cv_folds, "shuffle": True, "random_state": protocol.seed}
    if protocol.folds == "plate":
        return StratifiedGroupKFold(**settings).split(X, y, plates)
    return StratifiedKFold(**settings).split(X, y)


def _fit_on_all_cores(pipeline: Pipeline, X: np.ndarray, y: np.ndarray) -> Pipeline:
    """Fit on all cores where the classifier is a forest, but let it predict on one core.

    Threads add up the trees' votes in the order in which they end, so the last digit of a
    probability would differ from one prediction to the next.
    """
    if not isinstance(pipeline[-1], RandomForestClassifier):
        return pipeline.fit(X, y)
    return pipeline.set_params(classify__n_jobs=-1).fit(X, y).set_params(classify__n_jobs=None)


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))

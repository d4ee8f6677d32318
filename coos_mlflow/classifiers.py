"""The paper's three classifiers: kNN, L1 logistic regression, random forest with its search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.model_selection import (
    LeaveOneGroupOut,
    ParameterSampler,
    StratifiedGroupKFold,
    StratifiedKFold,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from coos_mlflow.data.cells import CLASSES
from coos_mlflow.errors import DataError
from coos_mlflow.progress import progress

TITLES = {"knn": "kNN", "lr": "L1 LR", "rf": "RF"}
"""Classifiers by key, under the names of the paper's Table 3."""

FOREST_GRID = {
    "n_estimators": [20, 40, 60, 80, 120, 140, 160, 180, 200],
    "max_features": ["log2", "sqrt"],
    "max_depth": [1, 13, 25, 37, 50, None],
    "min_samples_split": [2, 5, 10, 20, 40],
    "min_samples_leaf": [1, 2, 4, 8, 16],
}
"""Lu et al. 2019, section 3.1; "min_samples" there is scikit-learn's ``min_samples_split``."""

FOLDS = ("stratified", "plate")

_DEPENDS_ON = {
    "knn": ("neighbours",),
    "lr": ("inverse_penalty", "seed"),
    "rf": ("search_samples", "cv_folds", "folds", "seed"),
}


@dataclass(frozen=True)
class Protocol:
    """How classifiers are fitted and compared.

    Parameters
    ----------
    neighbours : int
        k of kNN (Lu et al. 2019: 11).
    inverse_penalty : float
        C of the logistic regression (scikit-learn's default in 2019: 1).
    search_samples : int
        Draws from `FOREST_GRID` (Lu et al. 2019: 100).
    cv_folds : int
        Folds of cross-validation on Training (Lu et al. 2019: 5).
    folds : {"stratified", "plate"}
        "stratified" as in the paper; "plate" keeps the cells of a plate in one fold.
    seed : int
        Of the folds, the search, the forest and liblinear.
    """

    neighbours: int = 11
    inverse_penalty: float = 1.0
    search_samples: int = 100
    cv_folds: int = 5
    folds: str = "stratified"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.folds not in FOLDS:
            raise DataError(f"folds={self.folds!r} found, expected one of {', '.join(FOLDS)}.")
        for name, least in (("neighbours", 1), ("search_samples", 1), ("cv_folds", 2)):
            if getattr(self, name) < least:
                raise DataError(f"{name}={getattr(self, name)} found, expected at least {least}.")
        if not 0 < self.inverse_penalty < np.inf:
            raise DataError(f"inverse_penalty={self.inverse_penalty} found, expected above 0.")
        if not 0 <= self.seed < 2**32:
            raise DataError(f"seed={self.seed} found, expected 0 to 4294967295.")

    def params(self) -> dict[str, Any]:
        """Return all settings, JSON-ready."""
        return asdict(self)

    def params_of(self, kind: str) -> dict[str, Any]:
        """Return the settings on which a fitted classifier of this kind depends."""
        return {name: getattr(self, name) for name in _DEPENDS_ON[kind]}

    def check(self, y: np.ndarray, plates: np.ndarray) -> None:
        """Refuse Training data that are too few for these settings."""
        counts = np.unique(y, return_counts=True)[1]
        if len(counts) < 2:
            raise DataError(f"Training holds {len(counts)} class, expected at least 2.")
        units, what = counts.min(), "cells of the rarest class"
        if self.folds == "plate":
            units, what = len(np.unique(plates)), "plates"
        if self.cv_folds > units:
            raise DataError(
                f"cv_folds={self.cv_folds} found, but Training has {units} {what}; ask for fewer."
            )
        fewest = len(y) * (self.cv_folds - 1) // self.cv_folds
        if self.neighbours > fewest:
            raise DataError(
                f"neighbours={self.neighbours} found, but a fold is fitted on about {fewest} cells."
            )


@dataclass(frozen=True)
class Fitted:
    """A classifier fitted on Training, and what cross-validation there says of it.

    Parameters
    ----------
    pipeline : Pipeline
        Scaling and classifier, fitted on all of Training.
    params : dict
        The classifier's own parameters, the selected ones for a forest.
    cv_error : float
        Balanced error in % over the protocol's folds of Training.
    """

    pipeline: Pipeline
    params: dict[str, Any]
    cv_error: float


def fit(kind: str, X: np.ndarray, y: np.ndarray, plates: np.ndarray, protocol: Protocol) -> Fitted:
    """Fit a classifier on Training, selecting a forest's parameters by cross-validation.

    Parameters
    ----------
    kind : str
        A key of `TITLES`.
    X : ndarray of float32, shape (n, d)
    y : ndarray of int64, shape (n,)
    plates : ndarray of str, shape (n,)
        Plate of each cell, for plate-grouped folds.
    protocol : Protocol
    """
    protocol.check(y, plates)
    candidates = [make(kind, chosen, protocol) for chosen in _candidates(kind, protocol)]
    errors = _cross_validate(kind, candidates, X, y, plates, protocol)
    best = int(np.argmin(errors))
    with progress(f"{TITLES[kind]} on all of Training", unit="fits"):
        pipeline = _fit_on_all_cores(kind, clone(candidates[best]), X, y)
    params = {k: v for k, v in pipeline[-1].get_params(deep=False).items() if _plain(v)}
    return Fitted(pipeline, params, float(errors[best]))


def make(kind: str, chosen: dict[str, Any], protocol: Protocol) -> Pipeline:
    """Return an unfitted pipeline: centre and scale by Training, then the classifier."""
    if kind == "knn":
        # 69 dimensions and more: trees of neighbours degenerate, matrix products do not.
        last = KNeighborsClassifier(protocol.neighbours, algorithm="brute")
    elif kind == "lr":
        # liblinear one-vs-rest, scikit-learn's default when the paper was written.
        one = LogisticRegression(
            C=protocol.inverse_penalty,
            l1_ratio=1,
            solver="liblinear",
            random_state=protocol.seed,
            max_iter=1000,
        )
        last = OneVsRestClassifier(one)
    elif kind == "rf":
        last = RandomForestClassifier(random_state=protocol.seed, **chosen)
    else:
        raise DataError(f"Classifier {kind!r} is not known; there are {', '.join(TITLES)}.")
    return Pipeline([("scale", StandardScaler()), ("classify", last)])


def left_out_probabilities(
    pipeline: Pipeline, X: np.ndarray, y: np.ndarray, plates: np.ndarray
) -> np.ndarray:
    """Predict each plate by the classifier fitted on all other plates.

    A classifier knows the cells that it was fitted on, and the plates that they came from, too
    well; these predictions are what it would say of a new plate.

    Returns
    -------
    ndarray of float64, shape (n, 7)
        Class probabilities; with a single plate, those of the fit itself.
    """
    if len(np.unique(plates)) < 2:
        return class_probabilities(pipeline, X)
    splits = list(LeaveOneGroupOut().split(X, y, plates))
    done = _side_by_side(pipeline)(
        delayed(_fit_predict)(pipeline, X, y, fitted, held) for fitted, held in splits
    )
    probabilities = np.zeros((len(y), len(CLASSES)))
    with progress("leave-one-plate-out", total=len(splits), unit="plates") as advance:
        for (_, held), found in zip(splits, done, strict=True):
            probabilities[held] = found
            advance(1)
    return probabilities


def class_probabilities(pipeline: Pipeline, X: np.ndarray) -> np.ndarray:
    """Return (n, 7) probabilities, zero for classes that Training did not hold."""
    probabilities = np.zeros((len(X), len(CLASSES)))
    probabilities[:, pipeline.classes_] = pipeline.predict_proba(X)
    return probabilities


def _side_by_side(pipeline: Pipeline) -> Parallel:
    """Return what runs fits of a pipeline on all cores, with the results of one after another.

    liblinear draws from one generator for the whole process: fits in threads would take turns at
    it and end a little differently each time.
    """
    prefer = "processes" if isinstance(pipeline[-1], OneVsRestClassifier) else "threads"
    return Parallel(n_jobs=-1, prefer=prefer, return_as="generator")


def _candidates(kind: str, protocol: Protocol) -> list[dict[str, Any]]:
    if kind != "rf":
        return [{}]
    return list(ParameterSampler(FOREST_GRID, protocol.search_samples, random_state=protocol.seed))


def _cross_validate(
    kind: str,
    candidates: list[Pipeline],
    X: np.ndarray,
    y: np.ndarray,
    plates: np.ndarray,
    protocol: Protocol,
) -> np.ndarray:
    """Return the balanced error in % of each candidate, averaged over the folds."""
    folds = list(_folds(X, y, plates, protocol))
    jobs: Iterator[Any] = (
        delayed(_fold_error)(candidate, X, y, fitted, held)
        for candidate in candidates
        for fitted, held in folds
    )
    errors = []
    total = len(candidates) * len(folds)
    with progress(f"{TITLES[kind]} cross-validation", total=total, unit="fits") as advance:
        for error in _side_by_side(candidates[0])(jobs):
            errors.append(error)
            advance(1)
    return np.array(errors).reshape(len(candidates), len(folds)).mean(axis=1)


def _folds(
    X: np.ndarray, y: np.ndarray, plates: np.ndarray, protocol: Protocol
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    settings = {"n_splits": protocol.cv_folds, "shuffle": True, "random_state": protocol.seed}
    if protocol.folds == "plate":
        return StratifiedGroupKFold(**settings).split(X, y, plates)
    return StratifiedKFold(**settings).split(X, y)


def _fold_error(
    candidate: Pipeline, X: np.ndarray, y: np.ndarray, fitted: np.ndarray, held: np.ndarray
) -> float:
    predicted = clone(candidate).fit(X[fitted], y[fitted]).predict(X[held])
    present = np.unique(y[held])
    recall = recall_score(y[held], predicted, labels=present, average="macro", zero_division=0)
    return 100 * (1 - recall)


def _fit_predict(
    pipeline: Pipeline, X: np.ndarray, y: np.ndarray, fitted: np.ndarray, held: np.ndarray
) -> np.ndarray:
    classes = np.unique(y[fitted])
    if len(classes) == 1:
        return np.tile(np.eye(len(CLASSES))[classes[0]], (len(held), 1))
    return class_probabilities(clone(pipeline).fit(X[fitted], y[fitted]), X[held])


def _fit_on_all_cores(kind: str, pipeline: Pipeline, X: np.ndarray, y: np.ndarray) -> Pipeline:
    """Fit a forest's trees side by side, but let it answer on one core.

    Threads would add up the trees' votes in the order in which they end, and the last digit of a
    probability would differ from one prediction to the next.
    """
    if kind != "rf":
        return pipeline.fit(X, y)
    return pipeline.set_params(classify__n_jobs=-1).fit(X, y).set_params(classify__n_jobs=None)


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))

"""The paper's three classifiers: kNN, L1 logistic regression, random forest with its search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
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
from coos_mlflow.classifiers.forest_search import (
    SEARCHES,
    Fold,
    Search,
    least_cells,
    search_forest,
)
from coos_mlflow.errors import DataError
from coos_mlflow.metrics import balanced_error, confusion_matrix
from coos_mlflow.plates.schema import CLASSES

TITLES = {"knn": "kNN", "lr": "L1 LR", "rf": "RF"}
"""Classifiers by key, under the names of the paper's Table 3."""

FOLDS = ("stratified", "plate")

VERSION = "2"
"""Changes whenever the same cells and settings would give other fits."""

_FOLDED = ("cv_folds", "folds", "seed")

_DEPENDS_ON = {
    "knn": ("neighbours", *_FOLDED),
    "lr": ("inverse_penalty", *_FOLDED),
    "rf": ("search", "search_samples", *_FOLDED),
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
    search : {"random", "halving"}
        How a forest's parameters are chosen; "random" as in the paper, "halving" faster.
    search_samples : int
        Draws from `coos_mlflow.classifiers.forest_search.FOREST_GRID` (Lu et al. 2019: 100).
    cv_folds : int
        Folds of cross-validation on Training (Lu et al. 2019: 5).
    folds : {"stratified", "plate"}
        "stratified" as in the paper; "plate" keeps the cells of a plate in one fold.
    seed : int
        Of the folds, the search and the forest.
    """

    neighbours: int = 11
    inverse_penalty: float = 1.0
    search: str = "random"
    search_samples: int = 100
    cv_folds: int = 5
    folds: str = "stratified"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("folds", FOLDS), ("search", SEARCHES)):
            found = getattr(self, name)
            if found not in known:
                raise DataError(f"{name}={found!r} found, expected one of {', '.join(known)}.")
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
        """Return the settings on which a fitted classifier, or what is said of it, depends."""
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
        if self.search == "halving" and len(y) < least_cells(y, self.cv_folds):
            raise DataError(
                f"search='halving' found, but Training has {len(y)} cells, expected at least "
                f"{least_cells(y, self.cv_folds)}; ask for search='random' or fewer cv_folds."
            )


@dataclass(frozen=True)
class Fitted:
    """A classifier fitted on Training, and what cross-validation there says of it.

    Parameters
    ----------
    pipeline : Pipeline or None
        Scaling and classifier, fitted on all of Training; None where the representation answers
        itself.
    params : dict
        The classifier's own parameters, the selected ones for a forest.
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
        A key of `TITLES`.
    X : ndarray of float32, shape (n, d)
    y : ndarray of int64, shape (n,)
    plates : ndarray of str, shape (n,)
        Plate of each cell, for plate-grouped folds.
    protocol : Protocol
    journal : Path, optional
        File of the forest search's finished fits, from which it goes on after a kill.
    """
    protocol.check(y, plates)
    folds = list(_folds(X, y, plates, protocol))
    pipeline = make(kind, {}, protocol)
    if kind == "rf":
        search = Search(
            pipeline, X, y, folds, protocol.search_samples, protocol.seed, protocol.search
        )
        chosen, cv_error = search_forest(search, journal)
        pipeline[-1].set_params(**chosen)
    else:
        cv_error = _cv_error(kind, pipeline, X, y, folds)
    everything = [(np.arange(len(y)), np.arange(0))]
    (fitted,) = _fits(pipeline, X, y, everything, f"{TITLES[kind]} on all of Training")
    params = {k: v for k, v in fitted[-1].get_params(deep=False).items() if _plain(v)}
    return Fitted(fitted, params, cv_error)


def make(kind: str, chosen: dict[str, Any], protocol: Protocol) -> Pipeline:
    """Return an unfitted pipeline: centre and scale by Training, then the classifier."""
    if kind == "knn":
        # 69 dimensions and more: trees of neighbours degenerate, matrix products do not.
        last = KNeighborsClassifier(protocol.neighbours, algorithm="brute")
    elif kind == "lr":
        # scikit-learn's default when the paper was written; see `l1_logistic` for how it is solved.
        last = OneVsRestClassifier(
            LogisticRegression(C=protocol.inverse_penalty, l1_ratio=1, solver="liblinear")
        )
    elif kind == "rf":
        last = RandomForestClassifier(random_state=protocol.seed, **chosen)
    else:
        raise DataError(f"Classifier {kind!r} is not known; there are {', '.join(TITLES)}.")
    return Pipeline([("scale", StandardScaler()), ("classify", last)])


def steps() -> set[type]:
    """Return what the pipelines of `make` consist of."""
    return {type(step) for kind in TITLES for _, step in make(kind, {}, Protocol()).steps}


def left_out_probabilities(
    pipeline: Pipeline, X: np.ndarray, y: np.ndarray, plates: np.ndarray
) -> np.ndarray:
    """Predict each plate by a classifier fitted without it.

    A classifier knows the cells that it was fitted on, and the plates that they came from, too
    well; these predictions are what it would say of a new plate.

    Returns
    -------
    ndarray of float64, shape (n, 7)
        Class probabilities; with a single plate, those of the fit itself.
    """
    splits = left_out_plates(y, plates)
    if len(splits) < 2:
        return class_probabilities(pipeline, X)
    return _held_out(pipeline, X, y, splits, "left-out plates")


def left_out_plates(y: np.ndarray, plates: np.ndarray) -> list[Fold]:
    """Divide Training into few folds of whole plates, of which no two hold the same class.

    Each fold leaves out one plate of a class, as leaving out plate after plate would, but plates
    of different classes share a fold: COOS-7's twenty or so become four to six. Plates join the
    first fold that they fit, those of many classes first. The only plate of a class is alone in
    its fold, so that no fold leaves out more classes than it must.

    Parameters
    ----------
    y : ndarray of int64, shape (n,)
    plates : ndarray of str, shape (n,)

    Returns
    -------
    list of Fold
        Rows to fit on and rows held out, of every plate once.
    """
    classes = {str(plate): set(y[plates == plate].tolist()) for plate in np.unique(plates)}
    shared = {
        plate: all(sum(label in others for others in classes.values()) > 1 for label in held)
        for plate, held in classes.items()
    }
    groups: list[list[str]] = []
    for plate in sorted(classes, key=lambda name: (-len(classes[name]), name)):
        for group in groups:
            members = [*group, plate]
            together = sum(len(classes[member]) for member in members)
            apart = len(set().union(*(classes[member] for member in members))) == together
            if apart and all(shared[member] for member in members):
                group.append(plate)
                break
        else:
            groups.append([plate])
    held = [np.isin(plates, group) for group in groups]
    return [(np.flatnonzero(~rows), np.flatnonzero(rows)) for rows in held]


def class_probabilities(pipeline: Pipeline, X: np.ndarray) -> np.ndarray:
    """Return (n, 7) probabilities, zero for classes that Training did not hold."""
    probabilities = np.zeros((len(X), len(CLASSES)))
    probabilities[:, pipeline.classes_] = pipeline.predict_proba(X)
    return probabilities


def _cv_error(
    kind: str, pipeline: Pipeline, X: np.ndarray, y: np.ndarray, folds: Sequence[Fold]
) -> float:
    """Return the balanced error in %, averaged over the folds."""
    predicted = _held_out(pipeline, X, y, folds, f"{TITLES[kind]} cross-validation").argmax(axis=1)
    errors = [balanced_error(confusion_matrix(y[held], predicted[held])) for _, held in folds]
    return float(np.mean(errors))


def _held_out(
    pipeline: Pipeline, X: np.ndarray, y: np.ndarray, folds: Sequence[Fold], title: str
) -> np.ndarray:
    """Return (n, 7) probabilities of each fold's held-out rows by the fit on its other rows."""
    probabilities = np.zeros((len(y), len(CLASSES)))
    for fitted, (_, held) in zip(_fits(pipeline, X, y, folds, title), folds, strict=True):
        probabilities[held] = class_probabilities(fitted, X[held])
    return probabilities


def _fits(
    pipeline: Pipeline, X: np.ndarray, y: np.ndarray, folds: Sequence[Fold], title: str
) -> Iterator[Pipeline]:
    """Yield the pipeline fitted on the rows of each fold, each on all cores."""
    if isinstance(pipeline[-1], OneVsRestClassifier):
        from coos_mlflow.classifiers.logistic_l1 import (
            fit_side_by_side,  # what is served never fits
        )

        yield from fit_side_by_side(pipeline, X, y, [rows for rows, _ in folds], title)
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
    """Fit a forest's trees side by side, but let it answer on one core.

    Threads would add up the trees' votes in the order in which they end, and the last digit of a
    probability would differ from one prediction to the next.
    """
    if not isinstance(pipeline[-1], RandomForestClassifier):
        return pipeline.fit(X, y)
    return pipeline.set_params(classify__n_jobs=-1).fit(X, y).set_params(classify__n_jobs=None)


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))

"""Fits of classifiers, their cross-validation, and predictions of left-out plates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline

from coos_mlflow._utils.progress import progress
from coos_mlflow.classifiers.forest_search import Search, search_forest
from coos_mlflow.classifiers.kinds import Kind, kind_of, kinds
from coos_mlflow.classifiers.plate_effects import PlateEffects
from coos_mlflow.classifiers.protocol import Protocol
from coos_mlflow.metrics import balanced_error, confusion_matrix
from coos_mlflow.plates.folds import Fold, left_out_plates

VERSION = "2"
"""To be changed whenever the same cells and settings would give other fits."""

_CELL_FOLDS = 5
"""Folds of cells where all are of one plate, as in the paper's cross-validation."""


@dataclass(frozen=True)
class Places:
    """Where cells were imaged.

    Parameters
    ----------
    plates, wells : ndarray of str, shape (n,)
        Empty for a cell whose well is not known.
    pure : bool
        Whether each well holds one class.
    """

    plates: np.ndarray
    wells: np.ndarray
    pure: bool = True

    def select(self, rows: np.ndarray) -> Places:
        """Return the places of the cells at `rows`."""
        return Places(self.plates[rows], self.wells[rows], self.pure)


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
    places: Places,
    protocol: Protocol,
    journal: Path | None = None,
) -> Fitted:
    """Fit a classifier on Training, selecting a forest's parameters by cross-validation.

    Parameters
    ----------
    kind : str
        A key of `coos_mlflow.classifiers.kinds.kinds`.
    X : ndarray of float32, shape (n, d)
    y : ndarray of int64, shape (n,)
    places : Places
        Of each cell.
    protocol : Protocol
    journal : Path, optional
        File of the forest search's finished fits, with which an interrupted search resumes.

    Raises
    ------
    DataError
        For an unknown classifier, or too few cells for the protocol.
    """
    protocol.check(y, places.plates)
    folds = list(_folds(X, y, places.plates, protocol))
    cells = _Cells(kind_of(kind), X, y, places)
    pipeline = build_pipeline(kind, protocol)
    if cells.kind.searched:
        samples = protocol.search_samples
        search = Search(pipeline, X, y, folds, samples, protocol.seed, protocol.search)
        chosen, cv_error = search_forest(replace(search, weights=cells.weights), journal)
        pipeline[-1].set_params(**chosen)
    else:
        cv_error = _cv_error(pipeline, cells, folds)
    all_rows = [(np.arange(len(y)), np.arange(0))]
    (fitted,) = _fits(pipeline, cells, all_rows, f"{cells.kind.title} on all of Training")
    params = {k: v for k, v in fitted[-1].get_params(deep=False).items() if _is_scalar(v)}
    return Fitted(fitted, params, cv_error)


def build_pipeline(kind: str, protocol: Protocol) -> Pipeline:
    """Return an unfitted pipeline: centre and scale by Training, then the classifier.

    Raises
    ------
    DataError
        For an unknown classifier.
    """
    return kind_of(kind).build(protocol)


def step_types() -> set[type]:
    """Return the types of the steps of all pipelines from `build_pipeline`."""
    built = [kind.build(Protocol()) for kind in kinds().values()]
    return {type(step) for pipeline in built for _, step in pipeline.steps}


def even_weights(y: np.ndarray, plates: np.ndarray) -> np.ndarray:
    """Return weights, with mean 1, by which all plates of a class weigh the same, shape (n,).

    Classes weigh as much as they have cells.
    """
    units, unit = np.unique(np.stack([y.astype(str), plates]), axis=1, return_inverse=True)
    of_class = {label: (y.astype(str) == label).sum() for label in np.unique(units[0])}
    plates_of_class = dict(zip(*np.unique(units[0], return_counts=True), strict=True))
    targets = np.array([of_class[label] / plates_of_class[label] for label in units[0]])
    weights: np.ndarray = (targets / np.bincount(unit.ravel()))[unit.ravel()]
    return weights


def left_out_probabilities(
    kind: str,
    pipeline: Pipeline,
    X: np.ndarray,
    y: np.ndarray,
    places: Places,
    n_classes: int,
    *,
    alone: bool = False,
) -> np.ndarray:
    """Predict each plate by a classifier fitted without it.

    A classifier predicts the cells of its fit, and other cells of their plates, better than those
    of new plates. These predictions are as good as those of a new plate.

    Parameters
    ----------
    kind : str
    pipeline : Pipeline
        Of this kind, with the parameters of the fits.
    X, y, places
        See `fit`.
    n_classes : int
    alone : bool
        Predict each cell by itself, also with a classifier that fits itself to plates.

    Returns
    -------
    ndarray of float64, shape (n, classes)
        Class probabilities. Where all cells are of one plate, fifths of its cells are left out.
    """
    splits = left_out_plates(y, places.plates)
    if len(splits) < 2:
        splits = list(StratifiedKFold(_CELL_FOLDS, shuffle=True, random_state=0).split(X, y))
    cells = _Cells(kind_of(kind), X, y, places)
    title = "left-out plates"
    return _held_out_probabilities(pipeline, cells, splits, title, n_classes, alone=alone)


def class_probabilities(
    pipeline: Pipeline, X: np.ndarray, n_classes: int, places: Places | None = None
) -> np.ndarray:
    """Return probabilities (n, classes), zero for classes that are not in Training.

    Parameters
    ----------
    pipeline : Pipeline
    X : ndarray, shape (n, d)
    n_classes : int
    places : Places, optional
        Of each cell. `PlateEffects` uses them; without, it takes each cell by itself.
    """
    probabilities = np.zeros((len(X), n_classes))
    classes = pipeline.classes_
    if places is None or not fits_to_plates(pipeline):
        probabilities[:, classes] = pipeline.predict_proba(X)
        return probabilities
    z = plate_axes(pipeline, X)
    for plate in np.unique(places.plates):
        rows = np.flatnonzero(places.plates == plate)
        effect = pipeline[-1].effect(z[rows], places.wells[rows], pure=places.pure)
        probabilities[np.ix_(rows, classes)] = pipeline[-1].probabilities(z[rows], effect)
    return probabilities


def fits_to_plates(pipeline: Pipeline) -> bool:
    """Tell whether a classifier fits itself to each plate."""
    return isinstance(pipeline[-1], PlateEffects) and pipeline[-1].knows_plates


def plate_axes(pipeline: Pipeline, X: np.ndarray) -> np.ndarray:
    """Return features (n, d) on the axes of a pipeline's `PlateEffects`, (n, axes), float32."""
    z: np.ndarray = pipeline[-1].project(pipeline[:-1].transform(X)).astype(np.float32)
    return z


@dataclass(frozen=True)
class _Cells:
    """The cells of Training, and the kind of classifier that is fitted on them."""

    kind: Kind
    X: np.ndarray
    y: np.ndarray
    places: Places

    @property
    def weights(self) -> np.ndarray | None:
        """Weights of the cells in the fit, shape (n,); None where all weigh the same."""
        return even_weights(self.y, self.places.plates) if self.kind.even else None

    def select(self, rows: np.ndarray) -> _Cells:
        return _Cells(self.kind, self.X[rows], self.y[rows], self.places.select(rows))


def _cv_error(pipeline: Pipeline, cells: _Cells, folds: Sequence[Fold]) -> float:
    """Return the balanced error in %, averaged over the folds."""
    y, title = cells.y, f"{cells.kind.title} cross-validation"
    n_classes = int(y.max()) + 1
    predicted = _held_out_probabilities(pipeline, cells, folds, title, n_classes).argmax(axis=1)
    errors = [balanced_error(confusion_matrix(y[held], predicted[held])) for _, held in folds]
    return float(np.mean(errors))


def _held_out_probabilities(
    pipeline: Pipeline,
    cells: _Cells,
    folds: Sequence[Fold],
    title: str,
    n_classes: int,
    *,
    alone: bool = False,
) -> np.ndarray:
    """Return probabilities of each fold's held-out rows by the fit on its other rows."""
    probabilities = np.zeros((len(cells.y), n_classes))
    for fitted, (_, held) in zip(_fits(pipeline, cells, folds, title), folds, strict=True):
        places = None if alone else cells.places.select(held)
        probabilities[held] = class_probabilities(fitted, cells.X[held], n_classes, places)
    return probabilities


def _fits(
    pipeline: Pipeline, cells: _Cells, folds: Sequence[Fold], title: str
) -> Iterator[Pipeline]:
    """Yield the pipeline fitted on the rows of each fold."""
    if isinstance(pipeline[-1], OneVsRestClassifier):
        # Imported here: a served model fits nothing.
        from coos_mlflow.classifiers.logistic_l1 import fit_in_parallel

        subsets = [rows for rows, _ in folds]
        weights = [cells.select(rows).weights for rows in subsets] if cells.kind.even else None
        yield from fit_in_parallel(pipeline, cells.X, cells.y, subsets, title, weights)
        return
    with progress(title, total=len(folds), unit="fits") as advance:
        for rows, _ in folds:
            yield _fit_on_all_cores(clone(pipeline), cells.select(rows))
            advance(1)


def _folds(X: np.ndarray, y: np.ndarray, plates: np.ndarray, protocol: Protocol) -> Iterator[Fold]:
    settings = {"n_splits": protocol.cv_folds, "shuffle": True, "random_state": protocol.seed}
    if protocol.folds == "plate":
        return StratifiedGroupKFold(**settings).split(X, y, plates)
    return StratifiedKFold(**settings).split(X, y)


def _fit_on_all_cores(pipeline: Pipeline, cells: _Cells) -> Pipeline:
    """Fit on all cores where the classifier is a forest, but let it predict on one core.

    Threads add up the trees' votes in the order in which they end, so the last digit of a
    probability would differ from one prediction to the next.
    """
    X, y = cells.X, cells.y
    if isinstance(pipeline[-1], PlateEffects):
        return pipeline.fit(X, y, classify__plates=cells.places.plates)
    if not isinstance(pipeline[-1], RandomForestClassifier):
        return pipeline.fit(X, y)
    forest = pipeline.set_params(classify__n_jobs=-1)
    forest.fit(X, y, classify__sample_weight=cells.weights)
    return forest.set_params(classify__n_jobs=None)


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))

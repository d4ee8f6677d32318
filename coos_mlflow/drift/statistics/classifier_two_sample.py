"""Classifier two-sample test: how well a classifier separates plate cells and reference cells."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, PredefinedSplit, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from coos_mlflow.drift.statistics.base import MAX_CELLS, CellSample, Statistic

FOLDS = 5
"""The most folds; fewer where a side has fewer wells."""


def two_sample_auc(x: np.ndarray, y: np.ndarray, x_wells: np.ndarray, y_wells: np.ndarray) -> float:
    """Return the cross-validated area under the ROC curve of a classifier of x against y.

    Lopez-Paz & Oquab 2017, "Revisiting classifier two-sample tests", with the area in place of
    the accuracy, since the samples may differ in size. The classifier is a logistic regression on
    the features, their squares and products, so that it can use means, variances and correlations.
    All cells of a well are in the same fold. Otherwise the classifier would recognise wells by
    their other cells, and find a difference without any shift.

    Parameters
    ----------
    x, y : ndarray, shape (n, dims) and (m, dims)
        Two samples.
    x_wells, y_wells : ndarray of int64, shape (n,) and (m,)
        Wells of the cells.

    Returns
    -------
    float
        0.5: the samples cannot be separated; 1: they always can. NaN if a side has fewer than 2
        wells.
    """
    folds = min(FOLDS, len(np.unique(x_wells)), len(np.unique(y_wells)))
    if folds < 2:
        return float("nan")
    fold = np.concatenate([_folds(wells, folds) for wells in (x_wells, y_wells)])
    cells, side = np.concatenate([x, y]), np.repeat([1, 0], [len(x), len(y)])
    areas = cross_val_score(_classifier(), cells, side, cv=PredefinedSplit(fold), scoring="roc_auc")
    return float(areas.mean())


def subtract_class_means(plate: CellSample, reference: CellSample) -> tuple[np.ndarray, np.ndarray]:
    """Subtract from the features of each cell the reference's mean of the cell's class.

    Wells often hold one class each. Leaving out a well then leaves more cells of its class on the
    other side, and a classifier that recognises classes would score worse than by guessing.

    Parameters
    ----------
    plate, reference : CellSample
        With `n` and `m` cells.

    Returns
    -------
    x, y : ndarray of float64, shape (n, dims) and (m, dims)
    """
    n_classes = reference.softmax.shape[1]
    totals = np.zeros((n_classes, reference.features.shape[1]))
    np.add.at(totals, reference.classes, reference.features)
    counts = np.bincount(reference.classes, minlength=n_classes)
    means = totals / np.maximum(counts, 1)[:, None]
    return plate.features - means[plate.classes], reference.features - means[reference.classes]


def _folds(wells: np.ndarray, folds: int) -> np.ndarray:
    """Return the fold of each cell of one side, so that every fold has cells of both sides."""
    fold = np.empty(len(wells), dtype=np.int64)
    for number, (_, rows) in enumerate(GroupKFold(folds).split(wells, groups=wells)):
        fold[rows] = number
    return fold


def _classifier() -> Pipeline:
    return make_pipeline(
        StandardScaler(),
        PolynomialFeatures(2, include_bias=False),
        StandardScaler(),
        LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000),
    )


def _measure(plate: CellSample, reference: CellSample, seed: int) -> float:
    rng = np.random.default_rng(seed)
    drawn_plate, drawn_reference = (
        sample.select(rng.choice(len(sample), min(len(sample), MAX_CELLS), replace=False))
        for sample in (plate, reference)
    )
    x, y = subtract_class_means(drawn_plate, drawn_reference)
    return 2 * two_sample_auc(x, y, drawn_plate.wells, drawn_reference.wells) - 1


STATISTIC = Statistic(
    "Told apart by a classifier",
    "How well a classifier tells the plate's cells from reference cells. Around 0: it cannot; "
    "1: it always can (twice the area under the ROC curve, less 1).",
    _measure,
)

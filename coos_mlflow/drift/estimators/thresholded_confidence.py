"""Average thresholded confidence (ATC) by class: cells below their class's threshold are errors."""

from __future__ import annotations

import numpy as np

from coos_mlflow.drift.estimators.base import Estimator, Predictions

MIN_PLATE_SHARE = 0.02
"""A class with a smaller share of the plate's cells counts as absent. Its label is then an error,
whatever the confidence, and no error of another label is assigned to it."""


def _fit(predictions: Predictions, truth: np.ndarray) -> np.ndarray:
    """Return by label the threshold below which as many cells lie as are errors, (classes,)."""
    confidence = predictions.confidence()
    thresholds = np.zeros(predictions.probabilities.shape[1])
    for label in np.unique(predictions.labels):
        rows = predictions.labels == label
        thresholds[label] = np.quantile(confidence[rows], np.mean(truth[rows] != label))
    return thresholds


def _truths(predictions: Predictions, fitted: np.ndarray) -> np.ndarray:
    """Keep the label where confidence reaches the threshold, else split the cell among the rest."""
    cells, labels = np.arange(len(predictions.labels)), predictions.labels
    on_plate = predictions.posteriors.mean(axis=0) >= MIN_PLATE_SHARE
    others = predictions.posteriors * on_plate
    others[cells, labels] = 0.0
    total = others.sum(axis=1)
    sure = (predictions.confidence() >= fitted[labels]) & on_plate[labels]
    sure |= total <= 0.0  # no other class to choose from
    truths = others / np.where(total > 0.0, total, 1.0)[:, None]
    truths[sure] = 0.0
    truths[cells[sure], labels[sure]] = 1.0
    return truths


ESTIMATOR = Estimator(
    title="Thresholded confidence, by class",
    meaning="counts the cells whose confidence falls below a threshold that each class learnt on "
    "left-out Training plates",
    blind_to="cells of which the model is sure and wrong, which shifted plates are full of",
    needs_wells=False,
    fit=_fit,
    truths=_truths,
)
"""Garg et al. (2022), arXiv 2201.04234; a threshold for each class as in Li et al. (2022), arXiv
2207.09957."""

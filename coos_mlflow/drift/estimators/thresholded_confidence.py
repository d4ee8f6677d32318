"""Class-specific average thresholded confidence (ATC): below its class's threshold, a mistake."""

from __future__ import annotations

import numpy as np

from coos_mlflow.drift.estimators.base import Answers, Estimator

LEAST_SHARE = 0.02
"""Share below which a class is held not to be on the plate: its label is then a mistake, whatever
the confidence, and no cell is mistaken for lack of confidence that it could have been another."""


def _fit(answers: Answers, truth: np.ndarray) -> np.ndarray:
    """Return for each label the confidence that as many cells miss as are mistakes, shape (7,)."""
    confidence = answers.confidence()
    thresholds = np.zeros(answers.probabilities.shape[1])
    for label in np.unique(answers.labels):
        rows = answers.labels == label
        thresholds[label] = np.quantile(confidence[rows], np.mean(truth[rows] != label))
    return thresholds


def _truths(answers: Answers, fitted: np.ndarray) -> np.ndarray:
    """Take the label where confidence reaches its threshold, else share out among the others."""
    n = np.arange(len(answers.labels))
    on_plate = answers.posteriors.mean(axis=0) >= LEAST_SHARE
    others = answers.posteriors * on_plate
    others[n, answers.labels] = 0.0
    total = others.sum(axis=1)
    sure = (answers.confidence() >= fitted[answers.labels]) & on_plate[answers.labels]
    sure |= total <= 0.0
    truths = others / np.where(total > 0.0, total, 1.0)[:, None]
    truths[sure] = 0.0
    truths[n[sure], answers.labels[sure]] = 1.0
    return truths


ESTIMATOR = Estimator(
    title="Thresholded confidence, by class",
    meaning="counts the cells whose confidence falls below a threshold that each class learnt on "
    "left-out Training plates",
    needs_wells=False,
    fit=_fit,
    truths=_truths,
)
"""Garg et al. (2022), arXiv 2201.04234; a threshold for each class as in Li et al. (2022), arXiv
2207.09957."""

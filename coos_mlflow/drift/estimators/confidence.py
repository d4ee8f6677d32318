"""Average confidence: a calibrated model is right as often as it is sure."""

from __future__ import annotations

import numpy as np

from coos_mlflow.drift.estimators.base import Answers, Estimator


def _fit(answers: Answers, truth: np.ndarray) -> np.ndarray:
    """Fit nothing: temperature and shares of the classes are part of the answers."""
    return np.zeros(0)


def _truths(answers: Answers, fitted: np.ndarray) -> np.ndarray:
    return answers.posteriors


ESTIMATOR = Estimator(
    title="Average confidence",
    meaning="trusts the model's own probabilities, after temperature scaling and correction for "
    "the plate's mix of classes",
    needs_wells=False,
    fit=_fit,
    truths=_truths,
)
"""Hendrycks & Gimpel (2017), arXiv 1610.02136, after Guo et al. (2017), arXiv 1706.04599."""

"""Average confidence: the accuracy of a calibrated model equals its mean confidence."""

from __future__ import annotations

import numpy as np

from coos_mlflow.drift.estimators.base import Estimator, Predictions


def _fit(predictions: Predictions, truth: np.ndarray) -> np.ndarray:
    """Fit nothing: temperature and class shares are part of the predictions."""
    return np.zeros(0)


def _truths(predictions: Predictions, fitted: np.ndarray) -> np.ndarray:
    return predictions.posteriors


ESTIMATOR = Estimator(
    title="Average confidence",
    meaning="trusts the model's own probabilities, after temperature scaling and correction for "
    "the plate's mix of classes",
    blind_to="cells of which the model is sure and wrong, which shifted plates are full of",
    needs_wells=False,
    fit=_fit,
    truths=_truths,
)
"""Hendrycks & Gimpel (2017), arXiv 1610.02136, after Guo et al. (2017), arXiv 1706.04599."""

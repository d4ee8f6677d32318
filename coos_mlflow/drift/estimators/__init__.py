"""Estimators of the error on a plate without labels, one file each; see `base.Estimator`."""

from coos_mlflow.drift.estimators.base import Estimator, Predictions, estimators

__all__ = ["Estimator", "Predictions", "estimators"]

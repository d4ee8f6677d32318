"""Estimators of the error on a plate without labels, one file each."""

from coos_mlflow.drift.estimators.base import Answers, Estimator, estimators

__all__ = ["Answers", "Estimator", "estimators"]

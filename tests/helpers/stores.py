"""Tracking stores of tests: what MLflow remembers of the one before."""

from __future__ import annotations

import pytest


def forget_experiment(patch: pytest.MonkeyPatch) -> None:
    """Let MLflow begin anew; it keeps the id of its experiment where another store has none."""
    patch.setattr("mlflow.tracking.fluent._active_experiment_id", None)
    patch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)

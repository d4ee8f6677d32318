"""Scoring runs made by hand, with the tags and metrics of real ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource
from mlflow.entities import DatasetInput, Metric, RunTag

from coos_mlflow.registry.runs import SCORING_EXPERIMENT, prepare_store

USUAL = {"softmax": 2.0, "features": 2.5, "raw": 3.0}

Put = Callable[..., str]


def moment(text: str) -> int:
    """Return milliseconds since 1970 of a time in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.fixture(scope="session")
def scorings() -> str:
    """The experiment of the scorings."""
    prepare_store()
    found = mlflow.get_experiment_by_name(SCORING_EXPERIMENT)
    # `mlflow.set_experiment` would leave its choice in the environment of later tests.
    return found.experiment_id if found else mlflow.create_experiment(SCORING_EXPERIMENT)


@pytest.fixture
def model() -> str:
    """A registered model that has no version and was never scored with."""
    prepare_store()
    taken = {found.name for found in MlflowClient().search_registered_models()}
    name = next(name for n in itertools.count() if (name := f"shelf-{n}") not in taken)
    return str(MlflowClient().create_registered_model(name).name)


@pytest.fixture
def put(model: str, scorings: str) -> Put:
    """Factory ``put(plate, when, ...)`` of scoring runs of `model`; returns the run's id."""

    def make(
        plate: str = "plate.h5",
        when: str = "2026-01-01 12:00",
        *,
        version: int = 1,
        verdict: str = "in range",
        distances: tuple[float, ...] = (1.0, 1.1, 0.9),
        error: tuple[float, float, float] | None = (4.0, 2.5, 6.5),
        simulated: tuple[bool, bool] = (False, False),
        status: str = "FINISHED",
        experiment: str | None = None,
        name: str | None = None,
    ) -> str:
        client = MlflowClient()
        tags = {
            "model": f"{name or model}/{version}",
            "verdict": verdict,
            "reason": "Made by hand.",
            "simulated_plate": str(simulated[0]),
            "simulated_model": str(simulated[1]),
            "results": "/scores/plate",
        }
        run = client.create_run(experiment or scorings, moment(when), run_name="score plate")
        numbers: dict[str, Any] = {"n_cells": 1600.0}
        for view, distance in zip(USUAL, distances, strict=False):
            numbers |= {f"distance {view}": distance, f"usual {view}": USUAL[view]}
        for end, value in zip(("", "_low", "_high"), error or (), strict=False):
            numbers[f"estimated_error{end}"] = value
        client.log_batch(
            run.info.run_id,
            metrics=[Metric(key, value, 0, 0) for key, value in numbers.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        source = LocalArtifactDatasetSource("/plates/plate.h5")
        dataset = MetaDataset(source, name=plate, digest="0123")._to_mlflow_entity()
        client.log_inputs(run.info.run_id, datasets=[DatasetInput(dataset, tags=[])])
        client.set_terminated(run.info.run_id, status)
        return str(run.info.run_id)

    return make

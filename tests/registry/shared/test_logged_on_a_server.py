"""A training through `mlflow server` over HTTP: cards, and metrics by data set."""

import mlflow
import pytest
from mlflow import MlflowClient
from stores import forget_experiment

from coos_mlflow.registry.notes import NOTE
from coos_mlflow.registry.runs import TRAINING_EXPERIMENT
from coos_mlflow.representations import create
from coos_mlflow.training import train
from coos_mlflow.training.data import choose

pytestmark = pytest.mark.slow


def test_a_server_shows_the_card_and_metrics_by_data_set(
    trained, start_server, tmp_path, monkeypatch
):
    server = start_server(f"sqlite:///{tmp_path}/mlflow.db", tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    forget_experiment(monkeypatch)
    data, rows = choose(str(trained.data)), [("haralick", "knn")]
    overrides = {"search_samples": 2, "cv_folds": 2}
    for _ in range(2):  # the second time nothing is made twice
        (row,) = train.train_rows(create("texture"), data, rows=rows, overrides=overrides)
    client = MlflowClient()
    experiment = mlflow.get_experiment_by_name(TRAINING_EXPERIMENT)
    (model,) = client.search_logged_models([experiment.experiment_id])
    assert (model.name, model.model_type) == ("texture-knn", "classifier")
    by_dataset = {metric.dataset_name for metric in model.metrics if "balanced" in metric.key}
    assert len(by_dataset) == len(row.evaluations)
    (version,) = client.search_model_versions("name='texture-knn'")
    assert version.description == client.get_registered_model("texture-knn").description
    assert version.description == client.get_run(version.run_id).data.tags[NOTE]
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"

"""What MLflow shows of a training and a scoring: cards, notes, links, metrics by data set."""

from __future__ import annotations

import json
from dataclasses import dataclass

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Run

from coos_mlflow.plates.dataset import coos7
from coos_mlflow.registry import outbox, versions
from coos_mlflow.registry.artifacts import metric_name
from coos_mlflow.registry.notes import LIMIT, NOTE
from coos_mlflow.registry.runs import SCORING_EXPERIMENT, TRAINING_EXPERIMENT
from coos_mlflow.representations import create
from coos_mlflow.scoring.scorer import Scorer
from coos_mlflow.training import train
from coos_mlflow.training.data import choose

OVERRIDES = {"search_samples": 2, "cv_folds": 2}
NAME = "texture-knn"


@dataclass(frozen=True)
class Logged:
    """What a store holds of one row."""

    row: train.Row
    run: Run
    model: LoggedModel


def logged(row: train.Row) -> Logged:
    client = MlflowClient()
    assert row.model.run_id and row.model.model_id
    return Logged(
        row, client.get_run(row.model.run_id), client.get_logged_model(row.model.model_id)
    )


@pytest.fixture(scope="module")
def knn(trained) -> Logged:
    return logged(trained.row(NAME))


def train_knn(trained, **rest) -> list[train.Row]:
    return train.train_rows(
        create("texture"),
        choose(str(trained.data)),
        rows=[("haralick", "knn")],
        overrides=OVERRIDES,
        **rest,
    )


def assert_complete(found: Logged) -> None:
    """Check names, types and links, which are the same in every store."""
    assert (found.model.name, found.model.model_type) == (NAME, "classifier")
    measured = {metric.key: metric for metric in found.model.metrics}
    for split, evaluation in found.row.evaluations.items():
        metric = measured[f"{split}_balanced_error"]
        assert metric.value == pytest.approx(evaluation.balanced_error)
        assert metric.dataset_name == f"simulated {coos7().title(split)}"
        assert metric.run_id == found.run.info.run_id
    contexts = [
        tag.value
        for used in found.run.inputs.dataset_inputs
        for tag in used.tags
        if tag.key == "mlflow.data.context"
    ]
    assert sorted(contexts) == sorted(found.row.evaluations)
    assert len(found.run.inputs.dataset_inputs) == len(contexts)


def test_metrics_belong_to_the_model_and_to_a_data_set(knn):
    assert_complete(knn)


def test_version_model_and_run_have_one_card(knn):
    client = MlflowClient()
    card = client.get_model_version(NAME, "1").description
    assert card.startswith("Predicts the class of single cells")
    for error in knn.row.errors.values():
        assert f"{error:.1f}" in card
    assert client.get_registered_model(NAME).description == card
    assert knn.run.data.tags[NOTE] == knn.model.tags[NOTE] == card
    whole = mlflow.artifacts.load_text(f"runs:/{knn.run.info.run_id}/README.md")
    assert card.split("\n\n")[1] in whole


def test_the_run_above_lists_its_models_with_their_errors(trained, knn):
    parent = MlflowClient().get_run(knn.run.data.tags["mlflow.parentRunId"])
    note = parent.data.tags[NOTE]
    for row in trained.rows:
        (line,) = [line for line in note.splitlines() if f"{row.model.name} version 1" in line]
        assert all(f" {error:.1f}" in line for error in row.errors.values())
    assert "**Simulated cells:" in note and len(note) <= LIMIT


def test_tags_of_a_run_are_short(knn):
    own = {k: v for k, v in knn.run.data.tags.items() if not k.startswith("mlflow.")}
    assert max(map(len, own.values())) <= 20, own


def test_splits_are_listed_in_their_order(knn):
    assert knn.row.model.tags["splits"].split(",") == list(coos7().split_keys)


def test_experiments_have_the_kind_of_model_training_unless_they_have_another(
    trained, own_store, tmp_path
):
    client = MlflowClient()
    client.create_experiment("mine", tags={"mlflow.experimentKind": "genai_development"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
        train_knn(trained)
    train_knn(trained)
    kinds = {
        name: client.get_experiment_by_name(name).tags["mlflow.experimentKind"]
        for name in ("mine", TRAINING_EXPERIMENT)
    }
    assert kinds == {"mine": "genai_development", TRAINING_EXPERIMENT: "custom_model_development"}


def test_a_scoring_has_a_note_its_model_and_its_plate(trained, new_plate, tmp_path):
    scored = Scorer.load(NAME).score(new_plate, tmp_path / "scores")
    found = MlflowClient().get_run(str(scored.run_id))
    note = found.data.tags[NOTE]
    assert note.splitlines()[0] == rf"**new\_plate.h5: {scored.drift['verdict']}**"
    assert "Balanced error, estimated" in note
    assert note.endswith(f"[{NAME} version 1](#/models/{NAME}/versions/1)")
    assert [model.model_id for model in found.inputs.model_inputs] == [scored.model.model_id]
    assert [used.dataset.name for used in found.inputs.dataset_inputs] == ["new_plate.h5"]
    experiment = mlflow.get_experiment_by_name(SCORING_EXPERIMENT)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    # Metrics of plates would make columns in MLflow's table of models.
    measured = MlflowClient().get_logged_model(scored.model.model_id).metrics
    assert {metric.run_id for metric in measured} == {scored.model.run_id}


def test_a_users_own_description_stays_and_ours_follows_the_champion(own_store, tmp_path):
    client = MlflowClient()
    client.create_registered_model("shelf")
    tags = {"simulated": "True", "training_cells": "10"}
    for error, description in (("5", "worse"), ("1", "better")):
        one = client.create_model_version(
            "shelf", tmp_path.as_uri(), tags=tags | {"left_out_error": error}
        )
        versions.describe(versions.model_ref(one), description)
        versions.describe(versions.model_ref(one), "another")  # what is there stays
        versions.update_champion("shelf")
        assert client.get_registered_model("shelf").description == description
    client.update_registered_model("shelf", "of my own")
    versions.update_champion("shelf")
    assert client.get_registered_model("shelf").description == "of my own"


@pytest.fixture
def pending(trained, own_store, monkeypatch) -> outbox.PendingModel:
    """A fitted row that waits for its store."""
    monkeypatch.setattr(outbox, "register", lambda pending: pending)
    with pytest.raises(AttributeError, match="tags"):  # it is not registered
        train_knn(trained)
    (found,) = outbox.pending_models()
    monkeypatch.undo()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", own_store)
    yield found
    outbox.forget(found)


def test_a_row_is_logged_from_the_disk_as_it_would_be_at_once(pending, trained):
    model = outbox.register(pending)
    assert_complete(
        logged(trained.row(NAME).__class__(**vars(trained.row(NAME)) | {"model": model}))
    )
    assert MlflowClient().get_registered_model(NAME).description


def test_a_version_that_was_registered_without_its_card_gets_it(pending, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(versions, "describe", lambda *_: None)
        patch.setattr(outbox, "forget", lambda _: None)
        outbox.register(pending)
    assert not MlflowClient().get_model_version(NAME, "1").description
    outbox.register(pending)
    assert MlflowClient().get_model_version(NAME, "1").description
    assert len(versions.versions(NAME)) == 1


def test_a_row_that_an_older_package_left_has_no_card(pending):
    file = pending.folder / "row.json"
    facts = json.loads(file.read_text())
    del facts["card"], facts["dataset"]
    file.write_text(json.dumps(facts))
    model = outbox.register(outbox.PendingModel(pending.folder))
    assert not MlflowClient().get_model_version(NAME, model.version).description
    assert MlflowClient().get_run(str(model.run_id)).data.metrics["test1_balanced_error"] > 0


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("recall_CD4+", "recall_CD4_2b"),
        ("share a/b, c", "share a_2fb_2c c"),
        ("recall_β-actin", "recall_β-actin"),
        ("x" * 300, "x" * 250),
    ],
)
def test_metrics_have_names_that_mlflow_takes(own_store, name, taken):
    assert metric_name(name) == taken
    with mlflow.start_run() as run:
        mlflow.log_metric(taken, 1.0)
    assert mlflow.get_run(run.info.run_id).data.metrics == {taken: 1.0}

"""The registry that several people and machines write to, on SQLite and behind a server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED, TEMPORARILY_UNAVAILABLE
from typer.testing import CliRunner
from waiting import PATIENCE

from coos_mlflow.cli.main import app
from coos_mlflow.errors import RegistryError
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.registry import versions as registry
from coos_mlflow.registry.artifacts import read_evaluations
from coos_mlflow.registry.results import DRIFT, PREDICTIONS, RESULTS
from coos_mlflow.registry.retry import RETRY_SECONDS, with_retry
from coos_mlflow.registry.runs import TRAINING_EXPERIMENT, prepare_store, run
from coos_mlflow.registry.store_uri import sqlite_file
from coos_mlflow.representations import create
from coos_mlflow.training import train as baselines
from coos_mlflow.training.data import choose

RUSH = Path(__file__).with_name("rush.py")

ROUNDS = int(os.environ.get("COOS_RUSHES", "1"))
"""How often eight processes rush at names that nobody used before."""


@pytest.fixture(scope="module")
def rows(store, trained) -> dict[str, baselines.Row]:
    """kNN and two logistic regressions on texture, trained into the store under test."""
    knn, lr = train(trained, ["knn", "lr"])
    (other,) = train(trained, ["lr"], inverse_penalty=1e-3)
    return {"knn": knn, "lr": lr, "sparse": other}


def train(trained, classifiers: list[str], **overrides: object) -> list[baselines.Row]:
    data, texture = choose(str(trained.data)), create("texture")
    wanted = baselines.rows_of(texture, classifiers)
    asked = {"search_samples": 2, "cv_folds": 2} | overrides
    return baselines.train_rows(texture, data, rows=wanted, overrides=asked)


def one_of_each_fingerprint(name: str) -> list[str]:
    found = [version.tags["fingerprint"] for version in registry.versions(name)]
    assert len(found) == len(set(found)), Counter(found)
    return sorted(found)


@pytest.mark.slow
@pytest.mark.parametrize("again", range(ROUNDS))
def test_eight_processes_at_once_lose_and_double_nothing(store, tmp_path, monkeypatch, again):
    if store.kind == "sqlite":  # a file that nobody has migrated
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/fresh/mlflow.db")
    rush = f"rush-{again}"
    command = [sys.executable, str(RUSH), "8", str(tmp_path), rush]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    client = MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name(rush).experiment_id])
    assert {r.info.status for r in runs} == {"FINISHED"}
    pairs = [f"pair-{pair}" for pair in range(4)]
    made = Counter(r.data.tags["fingerprint"] for r in runs)
    assert made == {**dict.fromkeys(pairs, 2), "the-same": 8}
    assert one_of_each_fingerprint(f"{rush}-pairs") == pairs
    assert one_of_each_fingerprint(f"{rush}-same") == ["the-same"]
    for alias in ("champion", "made-up"):
        best = registry.resolve(f"{rush}-pairs@{alias}")
        assert best.tags["fingerprint"] == "pair-1"
        assert registry.resolve(f"{rush}-same@{alias}").tags["fingerprint"] == "the-same"


def test_the_same_again_makes_no_second_version(rows, trained):
    again = train(trained, ["knn", "lr"])
    assert [row.trained for row in again] == [False, False]
    assert [row.model for row in again] == [rows["knn"].model, rows["lr"].model]
    assert len(registry.versions("texture-lr")) == 2


def test_the_champion_has_the_lowest_left_out_error(rows):
    errors = {v.version: float(v.tags["left_out_error"]) for v in registry.versions("texture-lr")}
    assert registry.resolve("texture-lr").version == str(min(errors, key=errors.__getitem__))
    assert {model.name for model in registry.registered_models()} >= {"texture-knn", "texture-lr"}


@pytest.mark.parametrize(
    "asked", ["texture-knn", "texture-knn@haralick", "texture-knn/1", "models:/texture-knn/1"]
)
def test_every_spelling_finds_the_version(rows, asked):
    assert registry.resolve(asked).uri == rows["knn"].model.uri
    assert registry.resolve(f"models:/{rows['knn'].model.model_id}").uri == rows["knn"].model.uri


def test_artifacts_come_from_where_the_store_says(store, rows):
    model = rows["lr"].model
    run_of_it = MlflowClient().get_run(model.run_id)
    assert run_of_it.info.artifact_uri.startswith(store.artifacts)
    files = MlflowClient().get_logged_model(model.model_id).artifact_location
    assert files.startswith(store.artifacts)


def test_evaluations_come_back_as_they_were_logged(rows, trained):
    for kind in ("knn", "lr"):
        found = read_evaluations(str(rows[kind].model.run_id))
        assert {s: e.as_dict() for s, e in found.items()} == {
            s: e.as_dict() for s, e in trained.row(f"texture-{kind}").evaluations.items()
        }


def test_a_plate_is_scored_through_the_store(rows, new_plate, tmp_path):
    arguments = ["score", str(new_plate), "--model", "texture-lr", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    name = rows["lr"].model.name
    (scored,) = mlflow.search_runs(
        experiment_names=["coos-score"],
        filter_string=f"tags.model LIKE '{name}/%'",
        output_format="list",
    )
    assert scored.info.status == "FINISHED"
    logged = {file.path for file in MlflowClient().list_artifacts(scored.info.run_id)}
    assert logged == {*RESULTS} - {PREDICTIONS}
    folder = tmp_path / "out" / new_plate.stem
    copy = mlflow.artifacts.download_artifacts(f"runs:/{scored.info.run_id}/{DRIFT}")
    assert Path(copy).read_bytes() == (folder / DRIFT).read_bytes()
    model = mlflow.pyfunc.load_model(registry.resolve("texture-lr").uri)
    with open_plate(new_plate) as plate:
        labels = model.predict(next(plate.batches(12)).images)["label"]
    table = pd.read_parquet(folder / "predictions.parquet")
    np.testing.assert_array_equal(table["label"][:12], labels)


def test_an_alias_moves_and_the_version_stays(rows):
    client = MlflowClient()
    before = registry.resolve("texture-lr/1").uri
    for row in (rows["lr"], rows["sparse"]):
        client.set_registered_model_alias("texture-lr", "in-use", row.model.version)
        assert registry.resolve("texture-lr@in-use").uri == row.model.uri
    assert registry.resolve("texture-lr/1").uri == before
    client.delete_registered_model_alias("texture-lr", "in-use")


def made_up(name: str, fingerprint: str, error: float) -> tuple[str, dict[str, object]]:
    with run(name, TRAINING_EXPERIMENT, {}) as active:
        model = mlflow.initialize_logged_model("model", source_run_id=active.info.run_id)
        mlflow.finalize_logged_model(model.model_id, "READY")
    tags = {"fingerprint": fingerprint, "left_out_error": error, "layer": "made-up"}
    return f"models:/{model.model_id}", tags


def test_an_alias_goes_with_its_version_and_the_sentence_says_what_is_left(store):
    registry.register("goes", *made_up("goes", "a", 1.0))
    registry.register("goes", *made_up("goes", "b", 2.0))
    registry.update_champion("goes")
    MlflowClient().delete_model_version("goes", "1")
    with pytest.raises(RegistryError) as caught:
        registry.resolve("goes")
    said = f"Model 'goes' is not in {store.uri}; goes has no alias and /2; `coos models promote "
    assert str(caught.value).startswith(said)
    assert registry.update_champion("goes").version == "2"


def test_of_two_machines_that_register_the_same_the_later_takes_its_own_back(store, monkeypatch):
    first = registry.register("twice", *made_up("twice", "a", 1.0))
    looked: list[str] = []

    def not_yet(name: str, fingerprint: str) -> registry.ModelRef | None:
        looked.append(name)
        return find(name, fingerprint) if looked[1:] else None

    find = registry.find_version
    monkeypatch.setattr(registry, "find_version", not_yet)
    assert registry.register("twice", *made_up("twice", "a", 1.0)) == first
    assert [str(v.version) for v in registry.versions("twice")] == [first.version]


def test_a_crown_by_an_old_look_is_put_right_by_the_next(store, monkeypatch):
    registry.register("raced", *made_up("raced", "a", 2.0))
    registry.register("raced", *made_up("raced", "b", 1.0))
    looks: list[str] = []

    def late(name: str) -> list:
        looks.append(name)
        return versions(name)[: None if looks[1:] else 1]

    versions = registry.versions
    monkeypatch.setattr(registry, "versions", late)
    assert registry.update_champion("raced").version == registry.resolve("raced").version == "2"


def test_who_moves_aliases_back_for_ever_is_told_of(store, monkeypatch):
    registry.register("fought", *made_up("fought", "a", 1.0))
    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", lambda *_: None)
    monkeypatch.setattr(registry, "_LOOKS", 3)
    with pytest.raises(RegistryError, match=r"champion, made-up of fought were moved .* 3 times"):
        registry.update_champion("fought")


def test_an_experiment_that_another_made_meanwhile_is_the_one_of_the_run(store, monkeypatch):
    from mlflow.tracking._tracking_service.client import TrackingServiceClient

    wanted = MlflowClient().create_experiment("meanwhile")
    look, looked = TrackingServiceClient.get_experiment_by_name, []

    def not_yet(client, name):
        looked.append(name)
        return look(client, name) if looked[1:] else None

    monkeypatch.setattr(TrackingServiceClient, "get_experiment_by_name", not_yet)
    with run("first", "meanwhile", {}) as active:
        assert active.info.experiment_id == wanted


def test_who_may_not_delete_leaves_a_version_that_no_alias_goes_to(store, monkeypatch):
    def refuse(*_: object) -> None:
        raise MlflowException("no permission", PERMISSION_DENIED)

    first = registry.register("kept", *made_up("kept", "a", 2.0))
    monkeypatch.setattr(MlflowClient, "delete_model_version", refuse)
    looks = iter([None])
    find = registry.find_version
    monkeypatch.setattr(registry, "find_version", lambda *a: next(looks, find(*a)))
    assert registry.register("kept", *made_up("kept", "a", 1.0)) == first
    assert [str(v.version) for v in registry.versions("kept")] == ["1", "2"]
    assert registry.update_champion("kept").version == "1"


def test_a_store_that_does_not_answer_is_an_error_of_exit_code_3(store, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    down = {"sqlite": f"sqlite:///{tmp_path}/file/mlflow.db", "postgresql": "http://127.0.0.1:9"}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", down[store.kind])
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    said = f"The tracking store {down[store.kind]} does not answer \\("
    with pytest.raises(RegistryError, match=said) as caught:
        prepare_store()
    assert caught.value.exit_code == 3 and "\n" not in str(caught.value)


def test_the_verbs_of_housekeeping_work_through_the_store(rows):
    def models(*words: str) -> str:
        done = CliRunner().invoke(app, ["models", *words], env={"COLUMNS": "200"})
        assert done.exit_code == 0, (done.output, done.exception)
        return done.output

    best, other = rows["lr"].model.version, rows["sparse"].model.version
    if registry.resolve("texture-lr").version != best:
        best, other = other, best
    assert "texture-knn" in models("list") and "texture-lr" in models("list")
    assert json.loads(models("show", f"texture-lr/{other}", "--json"))["version"] == int(other)
    assert "test1" in models("compare", f"texture-lr/{best}", f"texture-lr/{other}").lower()
    models("promote", f"texture-lr/{other}")
    assert registry.resolve("texture-lr").version == other
    refused = CliRunner().invoke(app, ["models", "prune", f"texture-lr/{other}", "--yes"])
    assert isinstance(refused.exception, RegistryError) and "stays" in str(refused.exception)
    models("promote", "texture-lr", "--automatic")
    assert registry.resolve("texture-lr").version == best
    models("prune", f"texture-lr/{other}", "--yes")
    assert [str(version.version) for version in registry.versions("texture-lr")] == [best]


@pytest.mark.parametrize(
    ("uri", "file"),
    [
        ("sqlite:////data/mlflow.db", "/data/mlflow.db"),
        ("sqlite:///mlflow.db", "mlflow.db"),
        ("sqlite+pysqlite:///runs/mlflow.db", "runs/mlflow.db"),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("sqlite:///file:/data/my%20runs.db?mode=ro&uri=true", "/data/my runs.db"),
        ("sqlite:///file:runs?mode=memory&uri=true", None),
        ("http://127.0.0.1:5000", None),
        ("postgresql+psycopg2://coos@db/mlflow", None),
    ],
)
def test_a_sqlite_store_alone_has_a_file_to_lock(uri, file):
    assert sqlite_file(uri) == (file and Path(file))


def test_only_what_may_pass_is_tried_again(monkeypatch):
    monkeypatch.setattr("coos_mlflow.registry.retry._PAUSE", (0, 0))
    refusals = [MlflowException("locked", TEMPORARILY_UNAVAILABLE), MlflowException("three times")]

    def act() -> str:
        if refusals:
            raise refusals.pop(0)
        return "done"

    assert with_retry(act) == "done"
    refusals[:] = [MlflowException("no permission", PERMISSION_DENIED)]
    with pytest.raises(MlflowException, match="no permission"):
        with_retry(act)
    refusals[:] = [MlflowException("locked", TEMPORARILY_UNAVAILABLE)] * 2
    with pytest.raises(MlflowException, match="locked"):
        with_retry(act, seconds=0)


def test_a_signal_ends_the_wait():
    def act() -> None:
        raise MlflowException("away", TEMPORARILY_UNAVAILABLE)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    kept = signal.signal(signal.SIGUSR1, interrupt)
    sending = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1))
    sending.start()
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            with_retry(act, RETRY_SECONDS)
    finally:
        sending.join()
        signal.signal(signal.SIGUSR1, kept)
    assert time.monotonic() - began < RETRY_SECONDS / 2


def test_a_store_that_was_waited_for_in_vain_is_not_waited_for_again(monkeypatch):
    monkeypatch.setattr("coos_mlflow.registry.retry._PAUSE", (0, 0))
    monkeypatch.setattr("coos_mlflow.registry.retry.RETRY_SECONDS", 1)
    tries = []

    def act() -> None:
        tries.append(1)
        if len(tries) > 1:
            raise MlflowException("away", TEMPORARILY_UNAVAILABLE)

    with_retry(act)
    with pytest.raises(MlflowException):
        with_retry(act)
    waited = len(tries)
    assert waited > 3
    with pytest.raises(MlflowException):
        with_retry(act)
    assert len(tries) == waited + 1
    del tries[:]
    with_retry(act)  # it is back
    with pytest.raises(MlflowException):
        with_retry(act)
    assert len(tries) > 3
    del tries[:]
    with_retry(act)

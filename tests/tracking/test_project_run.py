"""Which run a command logs in when the environment names one."""

from __future__ import annotations

import os
from collections.abc import Callable

import mlflow
import pytest
from mlflow import MlflowClient

from coos_mlflow.tracking import project_run
from coos_mlflow.tracking.runs import prepare_store, run


@pytest.fixture(autouse=True)
def store(own_store, monkeypatch) -> None:
    prepare_store()
    project_run._named.clear()
    # Registered with monkeypatch, so that what the code takes out of it is put back as it was.
    monkeypatch.setenv("MLFLOW_RUN_ID", "")
    monkeypatch.delenv("MLFLOW_RUN_ID")


@pytest.fixture
def named(monkeypatch) -> Callable[..., str]:
    """Factory of runs that MLFLOW_RUN_ID names, by default one of a project for `score`."""

    def make(*, entry: str | None = "score", metric: bool = False, end: str | None = None) -> str:
        client = MlflowClient()
        tags = {"mlflow.source.type": "PROJECT", "mlflow.project.entryPoint": entry}
        made = client.create_run("0", tags=tags if entry else {}, run_name="theirs")
        run_id: str = made.info.run_id
        client.log_param(run_id, "plate", "a.h5")
        if metric:
            client.log_metric(run_id, "error", 5.0)
        if end:
            client.set_terminated(run_id, end)
        monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
        return run_id

    return make


def logged(name: str = "score a") -> str:
    with run(name, "coos-score", {}) as active:
        mlflow.log_metric("n_cells", 1)
    return str(active.info.run_id)


def test_the_run_that_a_project_made_for_this_command_is_taken_and_ends(named) -> None:
    theirs = named()
    assert logged() == theirs
    found = MlflowClient().get_run(theirs)
    assert (found.info.status, found.data.metrics) == ("FINISHED", {"n_cells": 1.0})


def test_the_second_plate_of_a_command_begins_a_run_of_its_own(named) -> None:
    theirs = named()
    assert logged("score a") == theirs
    assert logged("score b") != theirs


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"end": "FINISHED"}, "has ended (FINISHED)"),
        ({"end": "FAILED"}, "has ended (FAILED)"),
        ({"entry": None}, "`mlflow run` did not start"),
        ({"entry": "texture"}, "started for its entry point texture"),
        ({"metric": True}, "holds results already"),
    ],
)
def test_any_other_run_stays_as_it_is_and_a_new_one_begins(named, capsys, how, words) -> None:
    theirs = named(**how)
    before = MlflowClient().get_run(theirs).to_dictionary()
    assert logged() != theirs
    assert MlflowClient().get_run(theirs).to_dictionary() == before
    said = " ".join(capsys.readouterr().err.split())
    assert theirs in said and words in said and said.endswith("a new run begins.")


def test_a_run_that_is_not_there_or_was_deleted_is_not_taken(named, monkeypatch, capsys) -> None:
    theirs = named()
    MlflowClient().delete_run(theirs)
    assert logged() != theirs
    monkeypatch.setenv("MLFLOW_RUN_ID", "f" * 32)
    assert logged() != "f" * 32
    said = capsys.readouterr().err
    assert "was deleted" in said and "is not in this tracking store" in said


def test_of_two_commands_with_one_run_in_their_environment_one_takes_it(named, monkeypatch) -> None:
    theirs = named()
    assert project_run.claim("score a") is not None
    monkeypatch.setattr(os, "getpid", lambda: -1)  # another process
    monkeypatch.setenv("MLFLOW_RUN_ID", theirs)
    assert project_run.claim("score b") is None


def test_processes_that_a_command_starts_do_not_see_the_run(named) -> None:
    named()
    logged()
    assert "MLFLOW_RUN_ID" not in os.environ


def test_the_experiment_that_the_environment_names_gets_the_runs(monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "screen of May")
    found = MlflowClient().get_run(logged()).info.experiment_id
    assert MlflowClient().get_experiment(found).name == "screen of May"


def test_an_experiment_that_was_deleted_is_told_and_not_used(monkeypatch, capsys) -> None:
    client = MlflowClient()
    gone = client.create_experiment("gone")
    client.delete_experiment(gone)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", gone)
    found = client.get_run(logged()).info.experiment_id
    assert client.get_experiment(found).name == "coos-score"
    assert f"names the experiment {gone}, which was deleted" in capsys.readouterr().err

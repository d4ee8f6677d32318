"""MLFLOW_RUN_ID: the run of a project is used by the command that it was made for, and no other."""

import os
import subprocess
import sys

import mlflow
import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from coos_mlflow.cli.main import app
from coos_mlflow.cli.options import use_store
from coos_mlflow.registry import project_run
from coos_mlflow.registry.artifacts import describe_dataset, log_input
from coos_mlflow.registry.runs import prepare_store, run

pytestmark = pytest.mark.usefixtures("own_store")

PROJECT = {"mlflow.source.type": "PROJECT", "mlflow.project.entryPoint": "score"}


@pytest.fixture
def named(tmp_path, monkeypatch):
    """Factory ``named(**tags)``: a run as ``mlflow run`` makes it, named by MLFLOW_RUN_ID."""

    def make(**tags: str) -> str:
        client = MlflowClient()
        place = str(tmp_path / "mlruns" / "of project")
        found = client.get_experiment_by_name("of project")
        number = found.experiment_id if found else client.create_experiment("of project", place)
        made = client.create_run(number, tags=PROJECT | tags, run_name="as it was").info.run_id
        client.log_param(made, "plate", "a.h5")
        monkeypatch.setenv("MLFLOW_RUN_ID", made)
        return made

    prepare_store()
    return make


def score(name="score a"):
    """What every command does, as far as runs go; its run's id."""
    with run(name, "coos-score", {"model": "texture-lr/1"}) as active:
        mlflow.log_metric("n_cells", 160)
    return active.info.run_id


def put_metric(run_id):
    MlflowClient().log_metric(run_id, "accuracy", 0.5)


def put_file(run_id):
    MlflowClient().log_text(run_id, "notes", "notes.txt")


def put_input(run_id):
    with mlflow.start_run(run_id=run_id):
        log_input(describe_dataset("a.h5", "a", "0" * 64), "training", {})
    MlflowClient().update_run(run_id, status="RUNNING")


def end(run_id):
    MlflowClient().set_terminated(run_id)


def delete(run_id):
    MlflowClient().delete_run(run_id)


def take_elsewhere(run_id):
    MlflowClient().log_param(run_id, "coos_mlflow.process", "another machine 12")


OTHERS = {
    "a finished one": (end, {}, "which has ended (FINISHED)"),
    "a deleted one": (delete, {}, "which was deleted"),
    "one of no project": (None, {"mlflow.source.type": "LOCAL"}, "which `mlflow run` did not"),
    "one of a training": (
        None,
        {"mlflow.project.entryPoint": "texture"},
        "its entry point texture",
    ),
    "one with a metric": (put_metric, {}, "which holds results already"),
    "one with a file": (put_file, {}, "which holds results already"),
    "one with a data set": (put_input, {}, "which holds results already"),
    "one that another process logs in": (take_elsewhere, {}, "in which another command logs"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_run_that_is_not_of_this_command_stays_as_it_is(named, capsys, monkeypatch, other):
    change, tags, words = OTHERS[other]
    run_id = named(**tags)
    if change:
        change(run_id)
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)  # which MLflow drops when any run ends
    before = MlflowClient().get_run(run_id).to_dictionary()
    made = score()
    assert MlflowClient().get_run(run_id).to_dictionary() == before
    assert made != run_id and MlflowClient().get_run(made).info.status == "FINISHED"
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and run_id in said and words in said
    assert "a new run begins" in said


@pytest.mark.parametrize("run_id", ["0" * 32, "no id/.."])
def test_a_run_that_is_not_in_the_store_is_said_and_a_new_one_begins(monkeypatch, capsys, run_id):
    prepare_store()
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    assert MlflowClient().get_run(score()).info.run_name == "score a"
    assert f"{run_id}, which is not in this tracking store" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("score", "score a"),
        ("texture", "texture"),
        ("vgg16", "vgg16-random"),
        ("main", "texture"),
        ("label plates", "score a"),
    ],
)
def test_a_run_that_a_project_made_for_this_command_is_used_once(named, capsys, entry, name):
    run_id = named(**{"mlflow.project.entryPoint": entry})
    assert score(name) == run_id
    found = MlflowClient().get_run(run_id)
    assert (found.info.run_name, found.info.status) == (name, "FINISHED")
    assert found.data.params["plate"] == "a.h5" and found.data.metrics["n_cells"] == 160
    second = score("score b")
    assert second != run_id and MlflowClient().get_run(run_id).info.run_name == name
    assert capsys.readouterr().err == ""


def test_inner_runs_are_children_in_the_experiment_of_the_projects_run(named):
    run_id = named(**{"mlflow.project.entryPoint": "texture"})
    with run("texture", "coos-7", {}), run("texture-lr", "coos-7", {}) as inner:
        pass
    outer = MlflowClient().get_run(run_id)
    assert inner.data.tags["mlflow.parentRunId"] == run_id
    assert inner.info.experiment_id == outer.info.experiment_id


def test_a_command_that_fails_ends_the_projects_run_as_failed(named):
    run_id = named()
    with pytest.raises(ZeroDivisionError), run("score a", "coos-score", {}):
        _ = 1 / 0
    assert MlflowClient().get_run(run_id).info.status == "FAILED"


def test_processes_that_a_command_starts_do_not_inherit_the_run(named, own_store):
    run_id = named()
    use_store(own_store)
    code = "import os; print(os.environ.get('MLFLOW_RUN_ID'))"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout == "None\n"
    assert score() == run_id


def test_sync_logs_nothing_in_a_projects_run(named, capsys):
    run_id = named(**{"mlflow.project.entryPoint": "label plates"})
    done = CliRunner().invoke(app, ["sync"])
    assert done.exit_code == 0 and run_id in done.stderr
    assert score() != run_id and MlflowClient().get_run(run_id).info.run_name == "as it was"


def test_looking_at_models_says_nothing_of_a_run(named):
    run_id = named()
    done = CliRunner().invoke(app, ["models", "list"])
    assert done.exit_code == 0 and "MLFLOW_RUN_ID" not in done.stderr
    assert project_run.claim("score a").info.run_id == run_id


def experiment_of(run_id):
    return mlflow.get_experiment(MlflowClient().get_run(run_id).info.experiment_id).name


def test_the_experiment_of_the_environment_takes_the_runs(monkeypatch, tmp_path, capsys):
    prepare_store()
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    assert experiment_of(score()) == "mine"
    mine = mlflow.get_experiment_by_name("mine")
    assert mine.artifact_location == str(tmp_path / "mlruns" / "mine")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", mine.experiment_id)
    assert experiment_of(score("texture")) == "mine"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("variable", ["MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"])
def test_an_experiment_that_was_deleted_is_said_once_and_the_usual_one_used(
    monkeypatch, capsys, variable
):
    prepare_store()
    number = mlflow.create_experiment("old")
    mlflow.delete_experiment(number)
    monkeypatch.setenv(variable, {"NAME": "old", "ID": number}[variable.rpartition("_")[2]])
    assert {experiment_of(score()), experiment_of(score("score b"))} == {"coos-score"}
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "was deleted; runs go to coos-score" in said


@pytest.mark.parametrize("number", ["77", "abc"])
def test_an_experiment_that_is_not_there_is_said_and_the_usual_one_used(
    monkeypatch, capsys, number
):
    prepare_store()
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", number)
    assert experiment_of(score()) == "coos-score"
    assert f"names the experiment {number}, which is not in" in capsys.readouterr().err


def test_a_training_and_a_scoring_of_one_process_have_an_experiment_each():
    prepare_store()
    with run("texture", "coos-7", {}) as trained:
        pass
    assert "MLFLOW_EXPERIMENT_ID" not in os.environ
    assert experiment_of(trained.info.run_id) == "coos-7"
    assert experiment_of(score()) == "coos-score"

"""Runs end once, by their own name, whatever the store does meanwhile."""

import json
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

from coos_mlflow.errors import RegistryError, RunNotLoggedError, without_passwords
from coos_mlflow.registry import retry
from coos_mlflow.registry.artifacts import describe_dataset, read_evaluations
from coos_mlflow.registry.runs import prepare_store, run, store_name

TERMINATE = "mlflow.tracking.client.MlflowClient.set_terminated"


@pytest.fixture
def refuse(own_store, monkeypatch):
    """Function ``refuse(times, error)``: the store does not take the end of a run so many times."""
    monkeypatch.setattr(retry, "_PAUSE", (0, 0))
    terminate = MlflowClient.set_terminated

    def refusing(times, error):
        left = [error] * times

        def ended(client, run_id, *arguments, **options):
            if left:
                raise left.pop()
            terminate(client, run_id, *arguments, **options)

        monkeypatch.setattr(TERMINATE, ended)

    return refusing


def statuses():
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    return {found.info.run_name: found.info.status for found in runs}


def test_an_end_that_the_store_takes_the_second_time_ends_that_run_alone(refuse):
    refuse(1, MlflowException("locked"))
    with run("outer", "e", {}) as outer:
        with run("inner", "e", {}):
            pass
        assert statuses() == {"outer": "RUNNING", "inner": "FINISHED"}
        assert mlflow.active_run().info.run_id == outer.info.run_id
        with run("next", "e", {}) as found:
            assert found.data.tags["mlflow.parentRunId"] == outer.info.run_id
    assert set(statuses().values()) == {"FINISHED"}


def test_an_end_that_the_store_never_takes_leaves_the_parent_running(refuse):
    refuse(99, MlflowException("no right to", PERMISSION_DENIED))
    with run("outer", "e", {}) as outer:
        with (
            pytest.raises(RunNotLoggedError, match=r"'inner' \(no right to\)"),
            run("inner", "e", {}),
        ):
            pass
        assert statuses() == {"outer": "RUNNING", "inner": "RUNNING"}
        assert mlflow.active_run().info.run_id == outer.info.run_id
        refuse(0, None)
    assert statuses() == {"outer": "FINISHED", "inner": "RUNNING"}


def test_who_interrupts_an_end_interrupts_no_other_run(refuse):
    refuse(1, KeyboardInterrupt())
    with run("outer", "e", {}):
        with pytest.raises(KeyboardInterrupt), run("inner", "e", {}):
            pass
        assert statuses() == {"outer": "RUNNING", "inner": "KILLED"}


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql+psycopg2://u:pa(s's)@h/db", "postgresql+psycopg2://***@h/db"),
        ("https://u:a/b@c@host/mlflow", "https://***@host/mlflow"),
        ("sqlite:////home/ada@lab.example/mlflow.db", "sqlite:////home/ada@lab.example/mlflow.db"),
    ],
)
def test_addresses_are_shown_without_passwords_and_paths_as_they_are(uri, shown):
    assert without_passwords(f"No answer from {uri}; wait.") == f"No answer from {shown}; wait."


@pytest.mark.parametrize(
    ("said", "meant"),
    [("mlflow.db", "here/mlflow.db"), ("./s", "here/s"), ("../x/m.db", "x/m.db")],
)
def test_a_relative_store_is_another_one_in_every_folder(tmp_path, monkeypatch, said, meant):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{said}")
    assert store_name() == f"sqlite:///{tmp_path}/{meant}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store_name())
    assert store_name() == f"sqlite:///{tmp_path}/{meant}"


def test_a_store_that_is_only_read_is_not_made(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/typo/mlflow.db")
    with pytest.raises(RegistryError, match=r"typo/mlflow\.db: no such store"):
        prepare_store(make=False)
    assert list(tmp_path.iterdir()) == []


def test_a_plate_that_is_not_on_this_machine_is_known_by_its_name(make_plate):
    for path, known in ((Path("nowhere.h5"), "nowhere.h5"), (make_plate(), str(make_plate()))):
        source = describe_dataset(path, "plate", "0" * 64).source
        assert json.loads(source.to_json())["uri"] == known


def test_evaluations_that_are_away_are_not_called_deleted(own_store):
    prepare_store()
    with run("other files", "e", {}) as found:
        mlflow.log_text("", "other.txt")
    with pytest.raises(RegistryError, match=r"cannot be read from .*: bring it back if"):
        read_evaluations(found.info.run_id)


def test_artifacts_lie_beside_the_database_whatever_the_folder(own_store, tmp_path, monkeypatch):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        with run("r", "coos-7", {}):
            mlflow.log_text("said", f"{name}.txt")
    found = {path.name for path in (tmp_path / "mlruns" / "coos-7").rglob("*.txt")}
    assert found == {"here.txt", "there.txt"}
    assert not list((tmp_path / "here").iterdir())

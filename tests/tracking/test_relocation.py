"""A SQLite store whose folder was moved: what is said, and how the database learns of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from coos_mlflow.errors import DataError, RegistryError, RunNotLoggedError
from coos_mlflow.tracking.artifacts import read_evaluations
from coos_mlflow.tracking.relocation import relocate
from coos_mlflow.tracking.runs import run


@pytest.fixture
def moved(own_store, tmp_path, monkeypatch) -> tuple[Path, Path, str]:
    """A store whose folder was moved with its files: the old, the new folder, a run."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    shutil.copy(own_store.removeprefix("sqlite:///"), old / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{old}/mlflow.db")
    with run("texture", "coos-7", {}) as active:
        mlflow.log_dict({}, "evaluation.json")
    old.rename(new)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{new}/mlflow.db")
    return old, new, str(active.info.run_id)


def test_files_of_a_moved_store_are_told_where_they_should_be_and_where_they_are(moved) -> None:
    old, new, run_id = moved
    with pytest.raises(RegistryError, match=f"should be in {old}/mlruns") as caught:
        read_evaluations(run_id)
    assert f"`coos models relocate {old} {new}`" in str(caught.value)


def test_a_store_is_told_that_it_was_moved(moved) -> None:
    old, new, run_id = moved
    assert relocate(old, new, dry_run=True) == relocate(old, new) > 1
    assert read_evaluations(run_id) == {}
    with run("texture", "coos-7", {}) as active:
        mlflow.log_dict({}, "evaluation.json")
    assert MlflowClient().get_run(active.info.run_id).info.artifact_uri.startswith(str(new))
    assert not old.exists()


def test_no_run_makes_the_old_folder_of_a_moved_store_again(moved) -> None:
    old, _, _ = moved
    with (
        pytest.raises(RunNotLoggedError, match=r"keeps its files in .*coos models relocate"),
        run("texture", "coos-7", {}),
    ):
        pass
    assert not old.exists()


def test_folders_that_are_not_those_of_the_store_are_refused(moved, tmp_path) -> None:
    old, new, _ = moved
    with pytest.raises(DataError, match="names no file in"):
        relocate(tmp_path / "other", new)
    with pytest.raises(DataError, match="holds none of the"):
        relocate(old, tmp_path / "other")


def test_a_server_knows_its_own_places(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with pytest.raises(RegistryError, match="is no SQLite file; a server knows its own places"):
        relocate(tmp_path, tmp_path)

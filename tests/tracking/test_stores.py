"""Tracking stores as users name, move and protect them."""

from __future__ import annotations

import shutil
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from coos_mlflow.errors import DataError, RegistryError, RunNotLoggedError
from coos_mlflow.tracking.artifacts import read_evaluations
from coos_mlflow.tracking.relocation import relocate
from coos_mlflow.tracking.runs import prepare_store, run
from coos_mlflow.tracking.store_uri import understood


@pytest.mark.parametrize(
    "text",
    [
        "store.db",
        " store.db ",
        "./store.db",
        "{here}/store.db",
        "sqlite:store.db",
        "sqlite://store.db",
        "sqlite:{here}/store.db",
        "  sqlite:///{here}/store.db\n",
    ],
)
def test_a_path_to_a_database_is_understood_as_its_sqlite_uri(tmp_path, monkeypatch, text) -> None:
    monkeypatch.chdir(tmp_path)
    assert understood(text.replace("{here}", str(tmp_path))) == f"sqlite:///{tmp_path}/store.db"


@pytest.mark.parametrize(
    "uri", ["http://registry:5000", "sqlite:///mlflow.db", "postgresql://a:b@c/d", "databricks"]
)
def test_a_uri_that_mlflow_knows_stays_as_it_is(uri) -> None:
    assert understood(f" {uri} ") == uri


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty; expected sqlite:///mlflow.db"),
        ("  ", "is empty"),
        ("mlruns", "is a folder, and MLflow keeps its runs in a database; expected sqlite:///"),
        ("C:\\store\\mlflow.db", "is a path of Windows"),
        ("registry", "is not understood; expected sqlite:///mlflow.db"),
    ],
)
def test_what_is_no_store_is_answered_with_the_right_form(
    tmp_path, monkeypatch, text, words
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlruns").mkdir()
    with pytest.raises(DataError, match=words):
        understood(text)


def test_two_slashes_before_a_whole_path_are_one_too_few(tmp_path, monkeypatch) -> None:
    """The shell makes ``sqlite://$PWD/mlflow.db`` a path below the current folder."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with pytest.raises(DataError, match=f"expected sqlite:///{tmp_path}/mlflow.db"):
        understood(f"sqlite://{tmp_path}/mlflow.db")
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("name", ["absent.db", "folder/absent.db", "empty.db"])
def test_looking_makes_no_database_and_no_folder(tmp_path, monkeypatch, name) -> None:
    (tmp_path / "empty.db").touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/{name}")
    with pytest.raises(RegistryError, match=f"{name}: no such store"):
        prepare_store(make=False)
    assert [path.name for path in tmp_path.iterdir()] == ["empty.db"]
    assert (tmp_path / "empty.db").stat().st_size == 0


def test_a_read_only_database_is_named_so_at_once(own_store, monkeypatch) -> None:
    prepare_store()
    file = own_store.removeprefix("sqlite:///")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///file:{file}?mode=ro&uri=true")
    prepare_store(make=False)
    with (
        pytest.raises(RunNotLoggedError, match="the tracking store is read-only: make its file"),
        run("score a", "coos-score", {}),
    ):
        pass


# Stores that were moved


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

"""One MLflow run: where it goes, and what every run of this package says of itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
from filelock import FileLock
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from coos_mlflow._utils.progress import say
from coos_mlflow._utils.signals import deferred_signals
from coos_mlflow._utils.versions import PACKAGE
from coos_mlflow.errors import (
    CoosError,
    DataError,
    RegistryError,
    RunNotLoggedError,
    whole_python,
    without_passwords,
)
from coos_mlflow.registry import project_run
from coos_mlflow.registry.relocation import moved_from, told
from coos_mlflow.registry.retry import is_read_only, with_retry
from coos_mlflow.registry.store_uri import sqlite_file, understood, uri_of

TRAINING_EXPERIMENT = "coos-7"
SCORING_EXPERIMENT = "coos-score"

_EXPERIMENT_ID, _EXPERIMENT_NAME = "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"


def store_name() -> str:
    """Return the tracking URI as it may be shown and kept: without user and password.

    A SQLite file is named by its whole path: a relative one means another one in every folder.
    """
    uri = mlflow.get_tracking_uri()
    file = sqlite_file(uri)
    return uri_of(file) if file else without_passwords(uri)


def prepare_store(*, make: bool = True) -> str:
    """Return the tracking URI, without a password, after making sure that its store can be used.

    A fresh SQLite file migrates itself when it is first opened, and two processes doing that at
    once break each other; so the first touch happens under a lock beside the file. A server has
    migrated its own database before it answers.

    Parameters
    ----------
    make : bool
        Whether a SQLite store that is not there is made.

    Raises
    ------
    DataError
        When the URI is none of a store.
    RegistryError
        When the store does not answer, or is not there.
    """
    uris = (mlflow.get_tracking_uri(), mlflow.get_registry_uri())
    for uri in uris:
        if understood(uri) != uri:
            raise DataError(f"The tracking store {uri!r} found, expected {understood(uri)}.")
    try:
        with whole_python():
            for uri in uris:
                _check_opens(uri, make)
        with _first_touch(uris[0]):
            mlflow.MlflowClient().search_experiments(max_results=1)
    except CoosError:
        raise
    except Exception as error:
        raise RegistryError(
            f"The tracking store {store_name()} does not answer ({first_line(error)}); "
            "check MLFLOW_TRACKING_URI or --tracking-uri."
        ) from error
    return store_name()


def _check_opens(uri: str, make: bool) -> None:
    """Open a SQLite store once: MLflow tries for a minute and a half, and fills an empty one."""
    if not uri.lower().startswith("sqlite"):
        return
    import sqlalchemy

    file = sqlite_file(uri)
    if file and make:
        file.parent.mkdir(parents=True, exist_ok=True)
    elif file and not file.is_file():
        raise RegistryError(
            f"{file}: no such store; name one by --tracking-uri or MLFLOW_TRACKING_URI, or make "
            "it: `coos train texture`."
        )
    engine = sqlalchemy.create_engine(uri)
    try:
        filled = sqlalchemy.inspect(engine).has_table("experiments")
    finally:
        engine.dispose()
    if not (make or filled):
        raise RegistryError(
            f"{file or uri}: no such store, nothing of MLflow is in it; name another "
            "by --tracking-uri or MLFLOW_TRACKING_URI, or fill it: `coos train texture`."
        )


def _first_touch(uri: str) -> AbstractContextManager[Any]:
    """Return the lock of a SQLite file, or nothing where there is none or it cannot be written."""
    file = sqlite_file(uri)
    if file is None:
        return nullcontext()
    lock = file.with_name(f"{file.name}.lock")
    # Where another user's lock lies there may be no right to it, but the file is made then.
    able = os.access(lock if lock.exists() else file.parent, os.W_OK)
    return FileLock(lock) if able else nullcontext()


def _use_experiment(default: str) -> None:
    """Make an experiment the one of the coming runs; of several processes that make it, one does.

    It is the one that MLFLOW_EXPERIMENT_NAME or MLFLOW_EXPERIMENT_ID asks for, else `default`. The
    artifacts of one in a SQLite file lie beside it: MLflow would put them, for good, below the
    folder that somebody happens to be in.
    """
    name = _asked_experiment(default)
    file, there = sqlite_file(mlflow.get_tracking_uri()), mlflow.get_experiment_by_name(name)
    if file and there is None:
        beside = str(file.absolute().parent / "mlruns" / name)
        with suppress(MlflowException):  # somebody else has just made it
            mlflow.create_experiment(name, artifact_location=beside)
    if there and (roots := moved_from(there.artifact_location)):
        # MLflow would make the old folder again, and the files would lie in two places.
        raise RunNotLoggedError(
            f"The experiment {name} keeps its files in {there.artifact_location}, which is not "
            f"there; they are in {roots[1]} now, {told(*roots)}."
        )
    # Where another made it at the same moment MLflow returns it, but goes on with the one that was
    # used before, so it is named once more.
    with _own_environment():
        found = mlflow.set_experiment(name)
        mlflow.set_experiment(experiment_id=found.experiment_id)


def _asked_experiment(default: str) -> str:
    """Return the experiment that the environment asks for, if runs can go there, or `default`."""
    for variable in (_EXPERIMENT_NAME, _EXPERIMENT_ID):
        asked, found = os.environ.get(variable, ""), None
        if not asked:
            continue
        client = mlflow.MlflowClient()
        if variable == _EXPERIMENT_NAME:
            found = client.get_experiment_by_name(asked)
            if found is None:  # it is made
                return asked
        else:
            with suppress(MlflowException):
                found = client.get_experiment(asked)
        if found and found.lifecycle_stage == "active":
            return str(found.name)
        why = "was deleted" if found else f"is not in {store_name()}"
        say(f"{variable} names the experiment {asked}, which {why}; runs go to {default}.")
        del os.environ[variable]  # said once, and MLflow would stumble over it
    return default


@contextmanager
def _own_environment() -> Iterator[None]:
    """Take back what `mlflow.set_experiment` sets, which would read as the wish of a user."""
    before = os.environ.get(_EXPERIMENT_ID)
    try:
        yield
    finally:
        os.environ.pop(_EXPERIMENT_ID, None)
        if before is not None:
            os.environ[_EXPERIMENT_ID] = before


@contextmanager
def run(
    name: str, experiment: str, tags: dict[str, Any], resume: str | None = None
) -> Iterator[Run]:
    """Open a run, the one that ``mlflow run`` has made for this command where there is one.

    It becomes a child of the run that is active, if any. An interrupted one ends as KILLED, as far
    as the store can still be told.

    Parameters
    ----------
    name : str
        The run's name.
    experiment : str
        Where to put it, unless the environment asks for another; ignored when MLflow made the run
        already or for a child.
    tags : dict
        Added to those that `provenance` gives.
    resume : str, optional
        The id of a run to go on with.

    Raises
    ------
    RunNotLoggedError
        When the store takes no run, or stops to take what is logged in it.
    """
    parent = mlflow.active_run()
    project_run.hide()
    try:
        made = None if parent or resume else project_run.claim(name)
        if made:
            resume = made.info.run_id
            with _own_environment():
                mlflow.set_experiment(experiment_id=made.info.experiment_id)
        elif parent is None:
            _use_experiment(experiment)
        active = mlflow.start_run(run_id=resume, run_name=name, nested=parent is not None)
    except MlflowException as error:
        raise _not_taken(name, error) from error
    try:
        mlflow.set_tags(provenance() | {k: str(v) for k, v in tags.items()})
        if resume and parent:
            mlflow.set_tag(MLFLOW_PARENT_RUN_ID, parent.info.run_id)
        yield active
        with_retry(lambda: _end(active, "FINISHED"))
    except (KeyboardInterrupt, SystemExit):
        with deferred_signals():  # users in a hurry press Ctrl-C twice
            _end_if_it_can_be_told(active, "KILLED")
        raise
    except MlflowException as error:
        _end_if_it_can_be_told(active, "FAILED")
        raise _not_taken(name, error) from error
    except Exception:
        _end_if_it_can_be_told(active, "FAILED")
        raise


def _not_taken(name: str, error: MlflowException) -> RunNotLoggedError:
    return RunNotLoggedError(
        f"The tracking store {store_name()} did not take the run {name!r} ({first_line(error)})."
    )


def _end(active: Run, status: str) -> None:
    """End a run.

    `mlflow.end_run` takes it for ended before the store has been told, so that a second call would
    end its parent.
    """
    now, run_id = mlflow.active_run(), active.info.run_id
    if now and now.info.run_id == run_id:
        mlflow.end_run(status)
    else:
        mlflow.MlflowClient().set_terminated(run_id, status)


def _end_if_it_can_be_told(active: Run, status: str) -> None:
    """End a run; that a store is gone must not hide what went wrong before."""
    with suppress(MlflowException, OSError):
        _end(active, status)


def provenance() -> dict[str, str]:
    """Return package version and git commit, as tags."""
    return {"coos_mlflow.version": version(PACKAGE), "coos_mlflow.git_commit": git_commit()}


def git_commit() -> str:
    """Return the commit of the package's checkout, "+" behind it where files differ, or "none"."""
    try:
        # An installed package may lie in somebody else's repository.
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        return _git("describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return "none"


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    return done.stdout.strip()


def log_new_params(params: dict[str, Any]) -> None:
    """Log the parameters that the run does not have yet.

    ``mlflow run`` has logged its -P values as raw strings, and MLflow refuses the same key with
    another spelling.
    """
    active = mlflow.active_run()
    known = mlflow.get_run(active.info.run_id).data.params if active else {}
    mlflow.log_params({k: v for k, v in params.items() if k not in known})


def first_line(error: Exception) -> str:
    """Return what an error says, as much as fits into a sentence; of ours, what MLflow said."""
    if isinstance(error, RunNotLoggedError) and isinstance(error.__cause__, MlflowException):
        error = error.__cause__
    if is_read_only(error):
        return (
            "the tracking store is read-only: make its file and its folder writable, or name "
            "another store"
        )
    said = without_passwords(str(error)).splitlines()
    # SQLAlchemy begins with when it noticed; what was wrong comes behind that.
    lines = [line for line in said if not line.startswith("(raised as a result of")]
    return (lines or [type(error).__name__])[0][:200]

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

from coos_mlflow.errors import RegistryError, RunNotLoggedError, without_passwords
from coos_mlflow.installed import PACKAGE
from coos_mlflow.interrupts import held
from coos_mlflow.tracking.patience import patiently

TRAINING_EXPERIMENT = "coos-7"
SCORING_EXPERIMENT = "coos-score"


def store_name() -> str:
    """Return the tracking URI as it may be shown and kept: without user and password.

    A relative path to a SQLite file is made absolute: it means another one in every folder.
    """
    uri = mlflow.get_tracking_uri()
    file = _sqlite_file(uri)
    if file and not file.is_absolute():
        from sqlalchemy.engine import make_url

        uri = str(make_url(uri).set(database=os.path.abspath(file)))  # noqa: PTH100 - without ..
    return without_passwords(uri)


def prepare_store(*, make: bool = True) -> str:
    """Return the tracking URI, without a password, after making sure that its store can be used.

    A fresh SQLite file migrates itself when it is first opened, and two processes doing that at
    once break each other; so the first touch happens under a lock beside the file. A server has
    migrated its own database before it answers.

    Parameters
    ----------
    make : bool
        Whether a SQLite file that is not there is made.

    Raises
    ------
    RegistryError
        When the store does not answer, or is not there.
    """
    file = _sqlite_file(mlflow.get_registry_uri())
    if not make and file and not file.exists():
        raise RegistryError(
            f"{file}: no such store; name one by --tracking-uri or MLFLOW_TRACKING_URI, or make "
            "it: `coos train texture`."
        )
    try:
        with _first_touch(mlflow.get_tracking_uri()):
            mlflow.MlflowClient().search_experiments(max_results=1)
    except Exception as error:
        raise RegistryError(
            f"The tracking store {store_name()} does not answer ({first_line(error)}); "
            "check MLFLOW_TRACKING_URI or --tracking-uri."
        ) from error
    return store_name()


def _first_touch(uri: str) -> AbstractContextManager[Any]:
    """Return the lock of a SQLite file, or nothing where there is none or it cannot be written."""
    file = _sqlite_file(uri)
    if file is None:
        return nullcontext()
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = file.with_name(f"{file.name}.lock")
    # Where another user's lock lies there may be no right to it, but the file is made then.
    able = os.access(lock if lock.exists() else file.parent, os.W_OK)
    return FileLock(lock) if able else nullcontext()


def _sqlite_file(uri: str) -> Path | None:
    """Return the file of a SQLite store; None for one in memory and for every other store."""
    if not uri.lower().startswith("sqlite"):
        return None
    from sqlalchemy.engine import make_url

    database = make_url(uri).database or ":memory:"
    return None if database.startswith((":memory:", "file:")) else Path(database)


def _use_experiment(name: str) -> None:
    """Make an experiment the one of the coming runs; of several processes that make it, one does.

    The artifacts of one in a SQLite file lie beside it: MLflow would put them, for good, below the
    folder that somebody happens to be in.
    """
    file = _sqlite_file(mlflow.get_tracking_uri())
    if file and mlflow.get_experiment_by_name(name) is None:
        beside = str(file.absolute().parent / "mlruns" / name)
        with suppress(MlflowException):  # somebody else has just made it
            mlflow.create_experiment(name, artifact_location=beside)
    # Where another made it at the same moment MLflow returns it, but goes on with the one that was
    # used before, so it is named once more.
    found = mlflow.set_experiment(name)
    mlflow.set_experiment(experiment_id=found.experiment_id)


@contextmanager
def run(
    name: str, experiment: str, tags: dict[str, Any], resume: str | None = None
) -> Iterator[Run]:
    """Open a run, the one that ``mlflow run`` has made where there is one.

    It becomes a child of the run that is active, if any. An interrupted one ends as KILLED, as far
    as the store can still be told.

    Parameters
    ----------
    name : str
        The run's name.
    experiment : str
        Where to put it; ignored when MLflow made the run already or for a child.
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
    try:
        if parent is None and "MLFLOW_RUN_ID" not in os.environ:
            _use_experiment(experiment)
        active = mlflow.start_run(run_id=resume, run_name=name, nested=parent is not None)
    except MlflowException as error:
        raise _not_taken(name, error) from error
    try:
        mlflow.set_tags(provenance() | {k: str(v) for k, v in tags.items()})
        if resume and parent:
            mlflow.set_tag(MLFLOW_PARENT_RUN_ID, parent.info.run_id)
        yield active
        patiently(lambda: _end(active, "FINISHED"))
    except (KeyboardInterrupt, SystemExit):
        with held():  # who is in a hurry often asks twice
            _end_if_it_can_be_told(active, "KILLED")
        raise
    except MlflowException as error:
        _end_if_it_can_be_told(active, "FAILED")
        raise _not_taken(name, error) from error
    except BaseException:
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
    lines = without_passwords(str(error)).splitlines()
    return (lines or [type(error).__name__])[0][:200]

"""Prepare the tracking store, open MLflow runs, and tag them with their provenance."""

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
from mlflow.entities import Experiment, Run
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
from coos_mlflow.plates.dataset import COOS7_NAME, Dataset
from coos_mlflow.registry import project_run
from coos_mlflow.registry.relocation import moved_from, told
from coos_mlflow.registry.retry import is_read_only, with_retry
from coos_mlflow.registry.store_uri import sqlite_file, understood, uri_of

TRAINING_EXPERIMENT = "coos-7"
"""Experiment of trainings on COOS-7 and on simulated cells; see `training_experiment`."""

SCORING_EXPERIMENT = "coos-score"

_EXPERIMENT_ID, _EXPERIMENT_NAME = "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"

_KIND, _MODEL_TRAINING = "mlflow.experimentKind", "custom_model_development"
"""Tag of an experiment whose page in MLflow opens on its runs.

MLflow 3.17 does not read it: there the page opens on runs once "Model training" is chosen at its
top left, or with ``?workflowType=machine_learning`` in its address. Servers of other versions do.
"""


def training_experiment(dataset: Dataset) -> str:
    """Return the experiment of trainings on a data set: its name, and ``coos-7`` for COOS-7."""
    return TRAINING_EXPERIMENT if dataset.name == COOS7_NAME else dataset.name


def store_name() -> str:
    """Return the tracking URI without user and password, to be shown or written to disk.

    A SQLite file is named by its absolute path, since a relative path depends on the folder.
    """
    uri = mlflow.get_tracking_uri()
    file = sqlite_file(uri)
    return uri_of(file) if file else without_passwords(uri)


def prepare_store(*, make: bool = True) -> str:
    """Check that the tracking store can be used, and return its URI without a password.

    MLflow migrates a new SQLite file when it is first opened, and two processes that migrate at
    once break each other. So the file is first opened under a lock beside it. A server migrates its
    database before it accepts requests.

    Parameters
    ----------
    make : bool
        Whether to create a SQLite store that does not exist.

    Raises
    ------
    DataError
        When the URI names no store.
    RegistryError
        When the store does not respond, or does not exist.
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
    """Refuse a SQLite store that cannot be opened, or that lacks MLflow's tables if not `make`.

    MLflow itself would retry for a minute and a half, and would create tables in an empty store.
    """
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
    """Return the lock of a SQLite file, or a null context if it has none or is read-only."""
    file = sqlite_file(uri)
    if file is None:
        return nullcontext()
    lock = file.with_name(f"{file.name}.lock")
    # Another user's lock may not be writable; that user has created the database already.
    able = os.access(lock if lock.exists() else file.parent, os.W_OK)
    return FileLock(lock) if able else nullcontext()


def _use_experiment(default: str) -> None:
    """Select the experiment of the coming runs, and create it if necessary.

    MLFLOW_EXPERIMENT_NAME or MLFLOW_EXPERIMENT_ID names it, else it is `default`. For a SQLite
    file its artifacts are put beside the file. MLflow would put them below the current folder, and
    keep that place for all later runs.
    """
    name = _asked_experiment(default)
    file, there = sqlite_file(mlflow.get_tracking_uri()), mlflow.get_experiment_by_name(name)
    if file and there is None:
        beside = str(file.absolute().parent / "mlruns" / name)
        with suppress(MlflowException):  # another process has just made it
            mlflow.create_experiment(name, artifact_location=beside)
    if there and (roots := moved_from(there.artifact_location)):
        # MLflow would create the old folder again, and split the files over two places.
        raise RunNotLoggedError(
            f"The experiment {name} keeps its files in {there.artifact_location}, which is not "
            f"there; they are in {roots[1]} now, {told(*roots)}."
        )
    # If another process creates the experiment at the same moment, MLflow returns it but keeps the
    # former one active. So it is set a second time, by its id.
    with _own_environment():
        selected = mlflow.set_experiment(name)
        _open_on_runs(mlflow.set_experiment(experiment_id=selected.experiment_id))


def _open_on_runs(experiment: Experiment) -> None:
    """Give an experiment the kind of model training, unless it has a kind already."""
    if _KIND in experiment.tags:
        return
    with suppress(MlflowException):  # a user may have the right to log runs, but not to tag
        mlflow.MlflowClient().set_experiment_tag(experiment.experiment_id, _KIND, _MODEL_TRAINING)


def _asked_experiment(default: str) -> str:
    """Return the experiment named in the environment if runs can be logged there, or `default`."""
    for variable in (_EXPERIMENT_NAME, _EXPERIMENT_ID):
        value, experiment = os.environ.get(variable, ""), None
        if not value:
            continue
        client = mlflow.MlflowClient()
        if variable == _EXPERIMENT_NAME:
            experiment = client.get_experiment_by_name(value)
            if experiment is None:  # the caller creates it
                return value
        else:
            with suppress(MlflowException):
                experiment = client.get_experiment(value)
        if experiment and experiment.lifecycle_stage == "active":
            return str(experiment.name)
        why = "was deleted" if experiment else f"is not in {store_name()}"
        say(f"{variable} names the experiment {value}, which {why}; runs go to {default}.")
        # Removed, so that the line is printed once and MLflow does not fail on the variable.
        del os.environ[variable]
    return default


@contextmanager
def _own_environment() -> Iterator[None]:
    """Restore MLFLOW_EXPERIMENT_ID, which `mlflow.set_experiment` sets.

    Left set, it would be taken for the user's choice of an experiment.
    """
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
    """Open a run, or the run that ``mlflow run`` created for this command.

    It becomes a child of the active run, if any. An interrupted run ends as KILLED if the store
    still responds.

    Parameters
    ----------
    name : str
        The run's name.
    experiment : str
        Its experiment, unless the environment names another. It is ignored for a child and for a
        run that ``mlflow run`` created.
    tags : dict
        Added to those of `provenance`.
    resume : str, optional
        The id of a run to continue.

    Raises
    ------
    RunNotLoggedError
        When the store does not accept the run, or something that is logged in it.
    """
    parent = mlflow.active_run()
    project_run.hide()
    try:
        claimed = None if parent or resume else project_run.claim(name)
        if claimed:
            resume = claimed.info.run_id
            with _own_environment():
                _open_on_runs(mlflow.set_experiment(experiment_id=claimed.info.experiment_id))
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
        with deferred_signals():  # a second Ctrl-C must not interrupt this
            _end_if_possible(active, "KILLED")
        raise
    except MlflowException as error:
        _end_if_possible(active, "FAILED")
        raise _not_taken(name, error) from error
    except Exception:
        _end_if_possible(active, "FAILED")
        raise


def _not_taken(name: str, error: MlflowException) -> RunNotLoggedError:
    return RunNotLoggedError(
        f"The tracking store {store_name()} did not take the run {name!r} ({first_line(error)})."
    )


def _end(active: Run, status: str) -> None:
    """End a run.

    `mlflow.end_run` drops the run from its stack before it updates the store. If that update fails,
    a second call would end the parent, so the run is then ended by its id.
    """
    now, run_id = mlflow.active_run(), active.info.run_id
    if now and now.info.run_id == run_id:
        mlflow.end_run(status)
    else:
        mlflow.MlflowClient().set_terminated(run_id, status)


def _end_if_possible(active: Run, status: str) -> None:
    """End a run; suppress errors of the store, which would hide the original error."""
    with suppress(MlflowException, OSError):
        _end(active, status)


def provenance() -> dict[str, str]:
    """Return package version and git commit, as tags."""
    return {"coos_mlflow.version": version(PACKAGE), "coos_mlflow.git_commit": git_commit()}


def git_commit() -> str:
    """Return the commit of the package's checkout, with "+" if files differ, or "none".

    Twelve characters of it, which a page of MLflow can show.
    """
    try:
        # An installed package may lie inside the repository of another project.
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        return _git("describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*")
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

    ``mlflow run`` has logged its -P values as raw strings. MLflow refuses to log the same key with
    a value spelled differently.
    """
    active = mlflow.active_run()
    known = mlflow.get_run(active.info.run_id).data.params if active else {}
    mlflow.log_params({k: v for k, v in params.items() if k not in known})


def first_line(error: Exception) -> str:
    """Return the first line of an error, at most 200 characters, to be quoted in a sentence.

    For a RunNotLoggedError it is the line of the MLflow error behind it.
    """
    if isinstance(error, RunNotLoggedError) and isinstance(error.__cause__, MlflowException):
        error = error.__cause__
    if is_read_only(error):
        return (
            "the tracking store is read-only: make its file and its folder writable, or name "
            "another store"
        )
    lines = without_passwords(str(error)).splitlines()
    # SQLAlchemy puts a line about the moment of the error before the error itself.
    lines = [line for line in lines if not line.startswith("(raised as a result of")]
    return (lines or [type(error).__name__])[0][:200]

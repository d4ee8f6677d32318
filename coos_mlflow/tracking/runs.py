"""One MLflow run: where it goes, and what every run of this package says of itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
from filelock import FileLock
from mlflow.entities import Run
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from coos_mlflow.cache import cache_home, make_cache_home
from coos_mlflow.errors import RegistryError
from coos_mlflow.installed import PACKAGE
from coos_mlflow.interrupts import held

TRAINING_EXPERIMENT = "coos-7"
SCORING_EXPERIMENT = "coos-score"


def prepare_store() -> str:
    """Return the tracking URI after making sure that its store can be used.

    A fresh SQLite file migrates itself when it is first opened, and two processes doing that at
    once break each other; so the first touch happens under a lock.

    Raises
    ------
    RegistryError
        When the store does not answer.
    """
    uri = mlflow.get_tracking_uri()
    make_cache_home()
    try:
        with FileLock(cache_home() / "tracking-store.lock"):
            mlflow.MlflowClient().search_experiments(max_results=1)
    except Exception as error:
        raise RegistryError(
            f"The tracking store {uri} does not answer ({_first_line(error)}); "
            "check MLFLOW_TRACKING_URI or --tracking-uri."
        ) from error
    return uri


@contextmanager
def run(
    name: str, experiment: str, tags: dict[str, Any], resume: str | None = None
) -> Iterator[Run]:
    """Open a run, the one that ``mlflow run`` has made where there is one.

    It becomes a child of the run that is active, if any. An interrupted one ends as KILLED.

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
    """
    parent = mlflow.active_run()
    if parent is None and "MLFLOW_RUN_ID" not in os.environ:
        mlflow.set_experiment(experiment)
    active = mlflow.start_run(run_id=resume, run_name=name, nested=parent is not None)
    try:
        mlflow.set_tags(provenance() | {k: str(v) for k, v in tags.items()})
        if resume and parent:
            mlflow.set_tag(MLFLOW_PARENT_RUN_ID, parent.info.run_id)
        yield active
    except (KeyboardInterrupt, SystemExit):
        with held():  # who is in a hurry often asks twice
            mlflow.end_run("KILLED")
        raise
    except BaseException:
        mlflow.end_run("FAILED")
        raise
    mlflow.end_run()


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


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]

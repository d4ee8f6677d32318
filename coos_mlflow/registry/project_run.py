"""Claim the run that ``mlflow run`` creates before it starts a command.

Open this to change the conditions under which a command logs in that run.
"""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

VARIABLE = "MLFLOW_RUN_ID"
"""Environment variable with the id of the run, set by ``mlflow run``."""

_PROCESS = "coos_mlflow.process"
"""Parameter of the run that names the process which claimed it.

A parameter works as a lock: MLflow refuses to change it, so a second process gets an error.
"""

_NOT_THERE = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}
"""MLflow's error codes for a run that does not exist, and for a malformed run id."""

_named: list[str] = []


def hide() -> None:
    """Remove the run's id from the environment, so that child processes do not use the run too."""
    if run_id := os.environ.pop(VARIABLE, ""):
        _named[:] = [run_id]


def leave(why: str) -> None:
    """Say that the named run is not used, and forget it; without a named run do nothing."""
    hide()
    if _named:
        from coos_mlflow._utils.progress import say  # here: every command begins with `hide`

        say(f"{VARIABLE} names the run {_named.pop()}, {why}; a new run begins.")


def claim(name: str) -> Run | None:
    """Return the run that ``mlflow run`` created for this command; only the first caller gets it.

    A run that has ended, or in which another command has logged, is left alone.

    Parameters
    ----------
    name : str
        Name of the run to begin, such as ``score plate`` or ``texture``; it tells the command.

    Raises
    ------
    MlflowException
        When the store does not respond.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    hide()
    if not _named:
        return None
    client = MlflowClient()
    try:
        found = client.get_run(_named[0])
    except MlflowException as error:
        if error.error_code not in _NOT_THERE:
            raise
        leave("which is not in this tracking store")
        return None
    why = _why_not(found, name, client)
    if why:
        leave(why)
        return None
    _named.clear()
    return found


def _why_not(found: Run, name: str, client: MlflowClient) -> str:
    """Claim a run for this command; return why that is impossible, or an empty text."""
    tags = found.data.tags
    if found.info.lifecycle_stage != "active":
        return "which was deleted"
    if found.info.status != "RUNNING":
        return f"which has ended ({found.info.status})"
    if tags.get("mlflow.source.type") != "PROJECT":
        return "which `mlflow run` did not start"
    entry = tags.get("mlflow.project.entryPoint", "")
    if not _may_be_of(entry, name):
        return f"which `mlflow run` started for its entry point {entry}"
    logged = found.data.metrics or found.inputs.dataset_inputs
    if logged or client.list_artifacts(found.info.run_id):
        return "which holds results already"
    return "" if _taken(found, client) else "in which another command logs"


def _may_be_of(entry: str, name: str) -> bool:
    """Tell whether an entry point may have started this command.

    Entry points of other projects, whose names are not ours, may start any command.
    """
    from coos_mlflow.representations import names

    return entry not in {"score", "table3", *names()} or name.startswith(entry)


def _taken(found: Run, client: MlflowClient) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        client.log_param(found.info.run_id, _PROCESS, f"{platform.node()} {os.getpid()}")
    except MlflowException as error:
        if error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        return False
    return True

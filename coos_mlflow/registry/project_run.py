"""The run that ``mlflow run`` makes before it starts a command, and which command may log in it."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

VARIABLE = "MLFLOW_RUN_ID"
"""What ``mlflow run`` sets for the command that it starts."""

_PROCESS = "coos_mlflow.process"
"""A parameter, since MLflow lets none change: of two processes that set it, one learns so."""

_NOT_THERE = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}
"""What MLflow says of a run that is not there, the latter of what is no run's id."""

_named: list[str] = []


def hide() -> None:
    """Take the run's id out of the environment, where every process started from here finds it."""
    if run_id := os.environ.pop(VARIABLE, ""):
        _named[:] = [run_id]


def leave(why: str) -> None:
    """Say that the run is not used, if one is named, and forget it."""
    hide()
    if _named:
        from coos_mlflow._utils.progress import say  # here: every command begins with `hide`

        say(f"{VARIABLE} names the run {_named.pop()}, {why}; a new run begins.")


def claim(name: str) -> Run | None:
    """Return the run that a project has made for this command, to the first who asks.

    Any other run that is named stays as it is: one that has ended, or holds what another command
    has logged.

    Parameters
    ----------
    name : str
        Of the run that is to begin, which says what command this is: ``score plate``, ``texture``.

    Raises
    ------
    MlflowException
        When the store does not answer.
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
    """Return why a run is not this command's; nothing where it is, which it then has taken."""
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
    """Tell whether an entry point may have started this command; of other projects any may."""
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

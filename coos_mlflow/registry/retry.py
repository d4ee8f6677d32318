"""Retry calls to a tracking store that other processes write to, or that is unavailable."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import mlflow
from mlflow.exceptions import MlflowException
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

T = TypeVar("T")

RETRY_SECONDS = 30.0
"""Seconds after which an error of the store is taken as final."""

_PAUSE = (0.05, 0.5)
"""Seconds between two attempts, drawn at random, so that two processes do not collide again."""

_PASSING = {"BAD_REQUEST", "INTERNAL_ERROR", "RESOURCE_DOES_NOT_EXIST", "TEMPORARILY_UNAVAILABLE"}
"""Error codes of MLflow 3.17 that may pass.

They stand for a broken constraint (two inserts at once, or a row that vanished), for a version
number that other processes took three times, and for a locked or restarting database.
"""

_SILENT = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"}
"""Error codes of MLflow's client for a server or database that does not respond."""

_READ_ONLY = ("readonly database", "read-only transaction")
"""Words of SQLite and PostgreSQL in the error for a read-only database."""

_away: set[str] = set()
"""Stores that this process has waited for in vain; it waits again only after they respond."""


def with_retry(call: Callable[[], T], seconds: float | None = None) -> T:
    """Return the result of `call`; try again after an error that may pass.

    Parameters
    ----------
    call : callable
        Must read the state of the store each time, so that it can be repeated.
    seconds : float, optional
        Time from the first attempt to the start of the last one. By default `RETRY_SECONDS`, or 0
        for a store that has just used that time up.

    Raises
    ------
    MlflowException
        The error of the last attempt. It is raised at once if a retry cannot help, such as without
        permission or in a read-only store.
    """
    store = mlflow.get_tracking_uri()
    if seconds is None:
        seconds = 0.0 if store in _away else RETRY_SECONDS
    retrying = Retrying(
        retry=retry_if_exception(_may_pass),
        stop=stop_after_delay(seconds),
        wait=wait_random(*_PAUSE),
        reraise=True,
    )
    try:
        result = retrying(call)
    except MlflowException as error:
        if _may_pass(error) and error.error_code in _SILENT:
            _away.add(store)
        raise
    _away.discard(store)
    return result


def _may_pass(error: BaseException) -> bool:
    passing = isinstance(error, MlflowException) and error.error_code in _PASSING
    return passing and not is_read_only(error)


def is_read_only(error: BaseException) -> bool:
    """Tell whether an error says that the store is read-only."""
    return any(words in str(error) for words in _READ_ONLY)

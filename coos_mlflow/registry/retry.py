"""Retries with a tracking store that others write to at the same moment, or that is away."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import mlflow
from mlflow.exceptions import MlflowException
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

T = TypeVar("T")

RETRY_SECONDS = 30.0
"""Seconds after which a store's refusal is taken for what it says."""

_PAUSE = (0.05, 0.5)
"""Seconds between two tries, drawn at random: who collides once would collide again in step."""

_PASSING = {"BAD_REQUEST", "INTERNAL_ERROR", "RESOURCE_DOES_NOT_EXIST", "TEMPORARILY_UNAVAILABLE"}
"""What MLflow 3.17 says of a broken constraint (of two inserts at once, of a row that vanished),
of a version number that others took three times, and of a locked or restarting database."""

_SILENT = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"}
"""What MLflow's client says of a server or database that does not answer."""

_READ_ONLY = ("readonly database", "read-only transaction")
"""What SQLite and PostgreSQL say where nothing may be written."""

_away: set[str] = set()
"""Stores that this process has waited for in vain: none is waited for twice, until it answers."""


def with_retry(call: Callable[[], T], seconds: float | None = None) -> T:
    """Return what `call` returns, trying again where others may have been faster.

    Parameters
    ----------
    call : callable
        Looks at the store anew each time, so that it may be done again.
    seconds : float, optional
        From the first try to the beginning of the last one. By default `RETRY_SECONDS`, or none
        with a store that has just used it up.

    Raises
    ------
    MlflowException
        What the last try raised; at once where trying again cannot help, as without permission or
        in a store that is read-only.
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
    """Tell whether a store refused something since it is only read."""
    return any(words in str(error) for words in _READ_ONLY)

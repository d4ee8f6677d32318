"""Waiting for a tracking store that others write to at the same moment."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

import mlflow
from mlflow.exceptions import MlflowException

T = TypeVar("T")

PATIENCE = 30.0
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


def patiently(act: Callable[[], T], patience: float | None = None) -> T:
    """Return what `act` returns, trying again where others may have been faster.

    Parameters
    ----------
    act : callable
        Looks at the store anew each time, so that it may be done again.
    patience : float, optional
        Seconds from the first try to the beginning of the last one. By default `PATIENCE`, or none
        with a store that has just used it up.

    Raises
    ------
    MlflowException
        What the last try raised; at once where trying again cannot help, as without permission or
        in a store that is read-only.
    """
    store = mlflow.get_tracking_uri()
    if patience is None:
        patience = 0.0 if store in _away else PATIENCE
    end = time.monotonic() + patience
    while True:
        try:
            done = act()
        except MlflowException as error:
            if error.error_code not in _PASSING or is_read_only(error):
                raise
            if time.monotonic() >= end:
                if error.error_code in _SILENT:
                    _away.add(store)
                raise
            time.sleep(random.uniform(*_PAUSE))
        else:
            _away.discard(store)
            return done


def is_read_only(error: BaseException) -> bool:
    """Tell whether a store refused something since it is only read."""
    return any(words in str(error) for words in _READ_ONLY)

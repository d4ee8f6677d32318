"""Waiting for a tracking store that others write to at the same moment."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from mlflow.exceptions import MlflowException

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds after which a store's refusal is taken for what it says."""

_PAUSE = (0.05, 0.5)
"""Seconds between two tries, drawn at random: who collides once would collide again in step."""

_PASSING = {"BAD_REQUEST", "INTERNAL_ERROR", "RESOURCE_DOES_NOT_EXIST", "TEMPORARILY_UNAVAILABLE"}
"""What MLflow 3.17 says of a broken constraint (of two inserts at once, of a row that vanished),
of a version number that others took three times, and of a locked or restarting database."""


def patiently(act: Callable[[], T], patience: float | None = None) -> T:
    """Return what `act` returns, trying again where others may have been faster.

    Parameters
    ----------
    act : callable
        Looks at the store anew each time, so that it may be done again.
    patience : float, optional
        `PATIENCE` by default: seconds from the first try to the beginning of the last one.

    Raises
    ------
    MlflowException
        What the last try raised; at once where trying again cannot help, as without permission.
    """
    end = time.monotonic() + (PATIENCE if patience is None else patience)
    while True:
        try:
            return act()
        except MlflowException as error:
            if error.error_code not in _PASSING or time.monotonic() >= end:
                raise
        time.sleep(random.uniform(*_PAUSE))

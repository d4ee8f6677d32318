"""Servers that come up when they can: a port for each, and patience with a busy machine."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

PATIENCE = 240
"""Seconds for whatever comes up within a few on a machine that has nothing else to do.

The tests' own limit (`timeout` in pyproject.toml) is above it, so that what failed is said.
"""


def wait_until(true: Callable[[], bool], said: Callable[[], str] = str) -> None:
    """Return once something is true.

    Raises
    ------
    AssertionError
        With what `said` gives, after `PATIENCE`.
    """
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, said()
        time.sleep(0.02)


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

"""Where the time of a piece of work goes: phases one after the other, stages side by side."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class StageTime:
    """Where a stage's seconds went.

    Parameters
    ----------
    title : str
    busy : float
        At work.
    starved : float
        Waiting for the stage before it.
    blocked : float
        Waiting for the stage behind it.
    """

    title: str
    busy: float = 0.0
    starved: float = 0.0
    blocked: float = 0.0

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Count the seconds of a block of code as busy, also where it fails."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.busy += time.perf_counter() - began


@dataclass
class Timings:
    """Seconds of each phase, and how the stages of one of them shared it.

    Parameters
    ----------
    phases : dict of float
        Seconds by title, in the order in which they began.
    stages : list of StageTime
    """

    phases: dict[str, float] = field(default_factory=dict)
    stages: list[StageTime] = field(default_factory=list)

    @contextmanager
    def phase(self, title: str) -> Iterator[None]:
        """Count the seconds of a block of code, also where it fails."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.phases[title] = self.phases.get(title, 0.0) + time.perf_counter() - began

    @property
    def seconds(self) -> float:
        """All phases together."""
        return sum(self.phases.values())


class Clock:
    """Speed of a training since the last restart, so that validations do not count.

    Parameters
    ----------
    batch : int
        Cells in an iteration.
    """

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._speed = 0.0
        self.restart(0)

    def restart(self, iteration: int) -> None:
        """Count from this iteration and this moment on."""
        self._from, self._began = iteration, time.perf_counter()

    def cells_per_second(self, iteration: int) -> float:
        """Return the speed up to an iteration; just after a restart, the one before it."""
        done = self._batch * (iteration - self._from)
        if done:
            self._speed = done / max(time.perf_counter() - self._began, 1e-9)
        return self._speed

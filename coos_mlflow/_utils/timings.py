"""Measure the time of phases, which follow one another, and of stages, which run in parallel."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


_END = object()


@dataclass
class Timings:
    """Seconds of each phase, and working seconds of the parallel stages within one of them.

    Parameters
    ----------
    phases : dict of float
        Seconds by title, in the order in which they began.
    stages : dict of float
        Working seconds by title, without the time spent waiting for another stage.
    """

    phases: dict[str, float] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=dict)

    def phase(self, title: str) -> AbstractContextManager[None]:
        """Add the duration of a code block to a phase, even if the block fails."""
        return _counted(self.phases, title)

    def stage(self, title: str) -> AbstractContextManager[None]:
        """Add the duration of a code block to a stage; each stage runs in its own thread."""
        return _counted(self.stages, title)

    def timed(self, title: str, items: Iterable[T]) -> Iterator[T]:
        """Yield items, and add the time that each takes to a stage."""
        iterator = iter(items)
        while True:
            with self.stage(title):
                item = next(iterator, _END)
            if item is _END:
                return
            yield item  # type: ignore[misc]

    @property
    def seconds(self) -> float:
        """Sum of all phases."""
        return sum(self.phases.values())


@contextmanager
def _counted(seconds: dict[str, float], title: str) -> Iterator[None]:
    began = time.perf_counter()
    try:
        yield
    finally:
        seconds[title] = seconds.get(title, 0.0) + time.perf_counter() - began


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
        """Return the speed since the restart; right after a restart, the speed before it."""
        done = self._batch * (iteration - self._from)
        if done:
            self._speed = done / max(time.perf_counter() - self._began, 1e-9)
        return self._speed

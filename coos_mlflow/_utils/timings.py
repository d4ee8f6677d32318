"""Where the time of a piece of work goes: phases one after the other, stages side by side."""

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
    """Seconds of each phase, and those that the stages of one of them worked.

    Parameters
    ----------
    phases : dict of float
        Seconds by title, in the order in which they began.
    stages : dict of float
        Seconds at work by title, without those spent waiting for another stage.
    """

    phases: dict[str, float] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=dict)

    def phase(self, title: str) -> AbstractContextManager[None]:
        """Count the seconds of a block of code as a phase's, also where it fails."""
        return _counted(self.phases, title)

    def stage(self, title: str) -> AbstractContextManager[None]:
        """Count the seconds of a block of code as a stage's; each stage has its own thread."""
        return _counted(self.stages, title)

    def timed(self, title: str, items: Iterable[T]) -> Iterator[T]:
        """Yield items, and count the seconds that each takes to come as a stage's."""
        iterator = iter(items)
        while True:
            with self.stage(title):
                item = next(iterator, _END)
            if item is _END:
                return
            yield item  # type: ignore[misc]

    @property
    def seconds(self) -> float:
        """All phases together."""
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
        """Return the speed up to an iteration; just after a restart, the one before it."""
        done = self._batch * (iteration - self._from)
        if done:
            self._speed = done / max(time.perf_counter() - self._began, 1e-9)
        return self._speed

"""Stages that work side by side in threads, each handing its results on through a short queue."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple

from coos_mlflow._utils.timings import StageTime

DEPTH = 2
"""Results that wait between two stages: enough that neither waits for the other's jitter."""

_PATIENCE = 0.1
"""Seconds after which a stage that waits looks whether it is still wanted."""

_END = object()


class Stage(NamedTuple):
    """A step of the work.

    Parameters
    ----------
    title : str
        What `StageTime` calls it.
    work : callable
        Takes what the stage before it returned; runs in the stage's own thread alone.
    """

    title: str
    work: Callable[[Any], Any]


@dataclass(frozen=True)
class _Failure:
    """An exception on its way to the consumer."""

    error: BaseException


class Pipeline:
    """A source and stages behind it; a context manager, to be iterated once.

    Results come in the order of the source. What a stage raises is raised where the results are
    taken. Leaving the context stops all stages and waits for them.

    Parameters
    ----------
    title : str
        What to call the source.
    source : iterable
        Iterated in a thread of its own.
    stages : sequence of Stage
    """

    def __init__(self, title: str, source: Iterable[Any], stages: Sequence[Stage]) -> None:
        self.times = [StageTime(title), *(StageTime(stage.title) for stage in stages)]
        self._stopped = threading.Event()
        self._queues: list[queue.Queue[Any]] = [queue.Queue(DEPTH) for _ in self.times]
        self._threads = [threading.Thread(target=self._feed, args=(source,), daemon=True)]
        for number, stage in enumerate(stages, start=1):
            run = threading.Thread(target=self._run, args=(number, stage.work), daemon=True)
            self._threads.append(run)

    def __enter__(self) -> Pipeline:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def __iter__(self) -> Iterator[Any]:
        while (item := self._queues[-1].get()) is not _END:
            if isinstance(item, _Failure):
                raise item.error
            yield item

    def _feed(self, source: Iterable[Any]) -> None:
        time_of = self.times[0]
        try:
            items = iter(source)
            while True:
                with time_of.at_work():
                    item = next(items, _END)
                if not self._hand_on(0, item) or item is _END:
                    return
        except BaseException as error:
            self._hand_on(0, _Failure(error))

    def _run(self, number: int, work: Callable[[Any], Any]) -> None:
        time_of = self.times[number]
        while (item := self._take(number)) is not None:
            result = item
            if item is not _END and not isinstance(item, _Failure):
                try:
                    with time_of.at_work():
                        result = work(item)
                except BaseException as error:
                    result = _Failure(error)
            if not self._hand_on(number, result) or result is _END:
                return

    def _take(self, number: int) -> Any:
        """Return what the stage before has handed on, None once nobody wants more."""
        began = time.perf_counter()
        try:
            while not self._stopped.is_set():
                try:
                    return self._queues[number - 1].get(timeout=_PATIENCE)
                except queue.Empty:
                    continue
            return None
        finally:
            self.times[number].starved += time.perf_counter() - began

    def _hand_on(self, number: int, item: Any) -> bool:
        """Tell whether the next stage has taken an item; not once nobody wants more."""
        began = time.perf_counter()
        try:
            while not self._stopped.is_set():
                try:
                    self._queues[number].put(item, timeout=_PATIENCE)
                    return True
                except queue.Full:
                    continue
            return False
        finally:
            self.times[number].blocked += time.perf_counter() - began

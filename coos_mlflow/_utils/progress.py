"""Show progress: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from coos_mlflow._utils.signals import raise_swallowed_signal


class Advance(Protocol):
    """A function to call with the units done since the last call, and an optional note."""

    def __call__(self, n: int, note: str = "", /) -> None:
        """Count `n` more units."""


SHOW_AFTER_SECONDS = 2.0
LINE_EVERY_SECONDS = 10.0

SPEED_OVER_SECONDS = 1800.0
"""Period from which plain lines estimate the time left; longer than one unit of slow work."""


@contextmanager
def progress(
    title: str, total: int | None = None, unit: str = "", console: Console | None = None
) -> Iterator[Advance]:
    """Show the progress of a piece of work on stderr, once it has lasted two seconds.

    Each call of ``advance`` also raises a pending signal (`raise_swallowed_signal`).

    Parameters
    ----------
    title : str
        Name of the work, such as ``"Reading"``.
    total : int or None
        Units of the whole work; None if unknown.
    unit : str
        Name of the units, such as ``"cells"``; ``"bytes"`` is shown as kB, MB, GB.
    console : rich.console.Console or None
        Console to print on; stderr by default.

    Yields
    ------
    callable
        ``advance(n)``: n more units are done; ``advance(n, note)`` shows a few words beside them.
    """
    console = console or Console(stderr=True)
    meter = _BarMeter if console.is_terminal else _LineMeter
    shown = meter(console, title, total, unit)

    def advance(n: int, note: str = "", /) -> None:
        raise_swallowed_signal()
        shown.advance(n, note)

    try:
        yield advance
    finally:
        shown.stop()


def say(text: str) -> None:
    """Print a line on stderr, where progress is shown."""
    Console(stderr=True, soft_wrap=True).print(text, markup=False, highlight=False)


class _BarMeter:
    """A rich progress bar that appears late, so that short work prints nothing."""

    def __init__(self, console: Console, title: str, total: int | None, unit: str) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            *_columns(total, unit),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task(title, total=total, note="")
        # A timer, since the first unit may take long: compiled loops, large blocks.
        self._late = threading.Timer(SHOW_AFTER_SECONDS, self._bar.start)
        self._late.daemon = True
        self._late.start()

    def advance(self, n: int = 1, note: str = "") -> None:
        self._bar.update(self._task, advance=n, note=note)

    def stop(self) -> None:
        self._late.cancel()
        self._late.join()
        if self._bar.live.is_started:
            self._bar.stop()


def _columns(total: int | None, unit: str) -> list[ProgressColumn]:
    if unit == "bytes":
        return [DownloadColumn(), TimeRemainingColumn()]
    if total is None:
        return [TimeElapsedColumn()]
    return [MofNCompleteColumn(), TextColumn(unit), _RateColumn(unit), TimeRemainingColumn()]


class _RateColumn(ProgressColumn):
    """Units a second, shown after the first second or two."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        return Text(_rate(task, self._unit))


def _rate(task: Task, unit: str) -> str:
    """Return the rate in words, or an empty text for less than one unit a second."""
    speed = task.speed or 0.0
    return f"{speed:,.0f} {unit}/s" if unit and speed >= 1 else ""


class _LineMeter:
    """One plain line every ten seconds, for logs and pipes."""

    def __init__(self, console: Console, title: str, total: int | None, unit: str) -> None:
        self._console, self._unit = console, unit
        # Never started, so it counts and estimates but draws nothing.
        bar = Progress(
            console=console,
            get_time=time.monotonic,
            speed_estimate_period=SPEED_OVER_SECONDS,
        )
        self._update = partial(bar.update, bar.add_task(title, total=total))
        self._task = bar.tasks[0]
        self._next_line = time.monotonic() + LINE_EVERY_SECONDS

    def advance(self, n: int = 1, note: str = "") -> None:
        self._update(advance=n)
        if time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_EVERY_SECONDS
            parts = (self._count(), self._rate(), self._left(), note)
            figures = ", ".join(part for part in parts if part)
            line = f"{self._task.description}: {figures}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _count(self) -> str:
        total = self._task.total
        of_total = "" if total is None else f" of {total:,}"
        return f"{self._task.completed:,}{of_total} {self._unit}".rstrip()

    def _rate(self) -> str:
        return "" if self._unit == "bytes" else _rate(self._task, self._unit)

    def _left(self) -> str:
        seconds = self._task.time_remaining
        return "" if seconds is None else f"{timedelta(seconds=seconds)} left"

    def stop(self) -> None:
        """Do nothing: printed lines stay."""

"""Signals that ask a process to end: not lost, and waiting until what must be whole is whole."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Ctrl-C, the polite end, and a terminal that was closed; Windows has no third."""

_raised: list[int] = []
"""Signals whose exceptions have not ended the process, or not yet; the first first."""


def end_by_exceptions() -> None:
    """Let signals raise `KeyboardInterrupt`, or `SystemExit` with 128 and their number.

    The default of most would end the process at once and leave half-written files behind. It does
    not come back before the process has ended: what is removed last is removed at exit.
    """
    for number in SIGNALS:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, _note_and_raise)


def end_if_asked() -> None:
    """Raise once more what was swallowed on its way up.

    Of some 600 scorings that were asked to end two went on: what the signal had raised between two
    of numpy's strings came to nobody, presumably cleared by code in C.

    For long work to call on its way, in whatever thread: only the main one raises.
    """
    if _raised and threading.current_thread() is threading.main_thread():
        _raise(_raised.pop(0))


def _note_and_raise(number: int, _: Any) -> None:
    _raised.append(number)
    _raise(number)


def _raise(number: int) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


class Waiting:
    """The signal that came while signals were held, if any.

    A second one of the same kind is somebody who cannot wait, and is obeyed at once; one of
    another kind is not: MLflow sends SIGTERM to its project a quarter of a second after Ctrl-C.

    Parameters
    ----------
    whatever_comes : bool
        Obey no second one either; then SIGKILL alone ends a write that a dead disk keeps waiting.
    """

    def __init__(self, *, whatever_comes: bool = False) -> None:
        self.asked: int | None = None
        self._whatever_comes = whatever_comes
        self._before: dict[int, Any] = {}

    def obey(self) -> None:
        """Let the signal that came do what it would have done."""
        self._release()  # before looking: what comes between would be noted for nobody
        asked, self.asked = self.asked, None
        if asked is not None:
            signal.raise_signal(asked)

    def _hold(self) -> None:
        for number in SIGNALS:
            # What is ignored, such as SIGINT in the background of a script, stays ignored.
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._before[number] = signal.signal(number, self._note)

    def _release(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, _: Any) -> None:
        if number == self.asked and not self._whatever_comes:
            self.obey()
        self.asked = self.asked or number


@contextmanager
def held(*, whatever_comes: bool = False) -> Iterator[Waiting]:
    """Keep signals waiting; only in the main thread, which alone may handle them."""
    waiting = Waiting(whatever_comes=whatever_comes)
    if threading.current_thread() is threading.main_thread():
        waiting._hold()
    try:
        yield waiting
    finally:
        waiting._release()

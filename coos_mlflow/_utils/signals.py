"""Turn SIGINT, SIGTERM and SIGHUP into exceptions; defer them while a file is written."""

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
"""Ctrl-C, the request to end, and a closed terminal. Windows has no SIGHUP."""

_raised: list[int] = []
"""Signals whose exceptions have not ended the process yet, in the order of their arrival."""


def raise_on_signals() -> None:
    """Let signals raise `KeyboardInterrupt`, or `SystemExit` with 128 and their number.

    The default handlers end the process at once and leave half-written files behind. The new ones
    stay until the process ends, since temporary files are removed at exit.
    """
    for number in SIGNALS:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, _note_and_raise)


def raise_swallowed_signal() -> None:
    """Raise again an exception of a signal that was swallowed.

    NumPy's C code can swallow an exception raised by a signal handler (seen in 2 of 600 runs).
    Long loops call this to raise it again. Only the main thread raises.
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


class DeferredSignal:
    """The first signal that arrived while signals were deferred, if any.

    A second signal of the same kind is raised at once: a user pressed Ctrl-C twice. A signal of
    another kind is not, since MLflow sends SIGTERM to its project a quarter of a second after
    Ctrl-C.

    Parameters
    ----------
    ignore_repeats : bool
        Defer repeated signals too. Then only SIGKILL ends a write to a dead disk.
    """

    def __init__(self, *, ignore_repeats: bool = False) -> None:
        self.asked: int | None = None
        self._ignore_repeats = ignore_repeats
        self._before: dict[int, Any] = {}

    def obey(self) -> None:
        """Raise the deferred signal, if any, with its original handler."""
        self._release()  # first, since a signal that arrives after the next line would be lost
        number, self.asked = self.asked, None
        if number is not None:
            signal.raise_signal(number)

    def _hold(self) -> None:
        for number in SIGNALS:
            # An ignored signal stays ignored, such as SIGINT of a background job.
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._before[number] = signal.signal(number, self._note)

    def _release(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, _: Any) -> None:
        if number == self.asked and not self._ignore_repeats:
            self.obey()
        self.asked = self.asked or number


@contextmanager
def deferred_signals(*, ignore_repeats: bool = False) -> Iterator[DeferredSignal]:
    """Defer signals during the block. It has no effect outside the main thread.

    The first deferred signal is not raised at the end of the block: call `DeferredSignal.obey`.
    """
    waiting = DeferredSignal(ignore_repeats=ignore_repeats)
    if threading.current_thread() is threading.main_thread():
        waiting._hold()
    try:
        yield waiting
    finally:
        waiting._release()

"""Whoever asks a command to end is heard, even where a library swallows what a signal raises."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from coos_mlflow._utils import signals
from coos_mlflow._utils.progress import progress
from coos_mlflow._utils.signals import (
    SIGNALS,
    deferred_signals,
    raise_on_signals,
    raise_swallowed_signal,
)

ENDS = dict.fromkeys(SIGNALS, SystemExit) | {signal.SIGINT: KeyboardInterrupt}


def ask(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def as_found() -> Iterator[None]:
    """Whatever a test does, the next one finds the handlers of this process."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    signals._raised.clear()


@pytest.mark.parametrize("number", SIGNALS)
def test_what_a_library_swallows_is_raised_by_the_next_step(number):
    raise_on_signals()
    done = []
    with pytest.raises(ENDS[number]) as ended, progress("Scoring", 5) as advance:
        for step in range(5):
            if step == 2:
                with suppress(ENDS[number]):
                    ask(number)
            advance(1)
            done.append(step)
    assert done == [0, 1]
    assert getattr(ended.value, "code", 128 + number) == 128 + number


@pytest.mark.parametrize("number", SIGNALS)
def test_it_is_raised_once_more_and_by_the_main_thread_alone(number):
    raise_on_signals()
    with pytest.raises(ENDS[number]):
        ask(number)
    other = threading.Thread(target=raise_swallowed_signal)
    other.start()
    other.join()
    with pytest.raises(ENDS[number]):
        raise_swallowed_signal()
    raise_swallowed_signal()


def test_of_two_the_first_is_raised_first():
    raise_on_signals()
    with pytest.raises(KeyboardInterrupt):
        ask(signal.SIGINT)
    with pytest.raises(SystemExit):  # as MLflow ends its projects
        ask(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        raise_swallowed_signal()


def test_what_was_held_is_obeyed_as_it_would_have_been():
    raise_on_signals()
    with deferred_signals() as waiting:
        ask(signal.SIGTERM)
        assert waiting.asked == signal.SIGTERM
        with pytest.raises(SystemExit) as ended:
            waiting.obey()
    assert ended.value.code == 143


def test_what_comes_while_it_is_obeyed_is_not_lost(monkeypatch):
    raise_on_signals()
    with deferred_signals() as waiting:
        release = waiting._release

        def late() -> None:
            ask(signal.SIGTERM)
            release()

        monkeypatch.setattr(waiting, "_release", late)
        with pytest.raises(SystemExit):
            waiting.obey()
        monkeypatch.undo()


def test_whatever_comes_waits_however_often_it_comes():
    raise_on_signals()
    with deferred_signals(ignore_repeats=True) as waiting:
        ask(signal.SIGINT)
        ask(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            waiting.obey()


def test_what_was_ignored_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    raise_on_signals()
    ask(signal.SIGHUP)
    raise_swallowed_signal()

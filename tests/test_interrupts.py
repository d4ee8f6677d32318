"""Whoever asks a command to end is heard, even where a library swallows what a signal raises."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress

import pytest

from coos_mlflow.interrupts import SIGNALS, end_if_asked, ended_by_exceptions, held
from coos_mlflow.progress import progress

ENDS = dict.fromkeys(SIGNALS, SystemExit) | {signal.SIGINT: KeyboardInterrupt}


def ask(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_what_a_library_swallows_is_raised_by_the_next_step(number):
    done = []
    with (
        pytest.raises(ENDS[number]) as ended,
        ended_by_exceptions(),
        progress("Scoring", 5) as advance,
    ):
        for step in range(5):
            if step == 2:
                with suppress(ENDS[number]):
                    ask(number)
            advance(1)
            done.append(step)
    assert done == [0, 1]
    assert getattr(ended.value, "code", 128 + number) == 128 + number


@pytest.mark.parametrize("number", SIGNALS)
def test_it_is_raised_once_and_by_the_main_thread_alone(number):
    with ended_by_exceptions():
        with pytest.raises(ENDS[number]):
            ask(number)
        other = threading.Thread(target=end_if_asked)
        other.start()
        other.join()
        with pytest.raises(ENDS[number]):
            end_if_asked()
    end_if_asked()


def test_a_command_leaves_the_handlers_that_it_found():
    before = {number: signal.getsignal(number) for number in SIGNALS}
    with ended_by_exceptions(), held() as waiting:
        ask(signal.SIGTERM)
        assert waiting.asked == signal.SIGTERM
        with pytest.raises(SystemExit):
            waiting.obey()
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


def test_what_was_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_by_exceptions():
            ask(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)

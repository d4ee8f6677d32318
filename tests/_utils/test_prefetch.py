"""Reading ahead in threads: order, errors, early ends, bounded memory, and where the time went."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest
from waiting import PATIENCE

from coos_mlflow._utils.prefetch import prefetch
from coos_mlflow._utils.timings import Timings


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "prefetch" in thread.name]


@pytest.mark.parametrize("n", [0, 1, 3, 50])
def test_items_come_in_order_and_the_thread_ends(n):
    assert list(prefetch(range(n))) == list(range(n))
    assert threads() == []


def test_none_is_an_item_like_any_other():
    assert list(prefetch([None, None])) == [None, None]


def failing(error: BaseException):
    yield from (1, 2)
    raise error


@pytest.mark.parametrize("error", [ValueError("no third"), KeyboardInterrupt("no third")])
def test_what_fails_is_raised_at_the_consumer_behind_the_items_before_it(error):
    taken = []
    with pytest.raises(type(error), match="no third"):
        for item in prefetch(n * n for n in prefetch(failing(error))):
            taken.append(item)
    assert taken == [1, 4]
    assert threads() == []


def test_a_consumer_that_stops_early_closes_the_source_and_no_more_is_read():
    read, closed = [], []

    def source():
        try:
            for n in range(10_000):
                read.append(n)
                yield n
        finally:
            closed.append(True)

    with closing(prefetch(source(), depth=2)) as items:
        assert next(items) == 0
        time.sleep(0.05)
        assert threads() != []
    assert threads() == [] and closed == [True]
    assert len(read) <= 3  # the item that was taken, and two ahead


def test_stopping_early_closes_every_one_of_a_chain():
    def doubled(items):
        with closing(items):
            for item in items:
                yield 2 * item

    read = []
    chain = prefetch(doubled(prefetch((read.append(n) or n for n in range(10_000)), 2)), 2)
    assert next(chain) == 0
    chain.close()
    assert threads() == []
    assert len(read) <= 6


def test_source_and_consumer_work_at_the_same_time():
    """While the consumer has an item, the source makes the one behind it."""
    meeting = threading.Barrier(2, timeout=PATIENCE)

    def source():
        yield 1
        for n in (2, 3, 4):
            meeting.wait()
            yield n

    taken = []
    for n in prefetch(source(), depth=1):
        taken.append(n)
        if n < 4:
            meeting.wait()
    assert taken == [1, 2, 3, 4]


def test_times_count_work_and_no_waiting():
    timings = Timings()
    for _ in prefetch(timings.timed("fast", range(5))):
        with timings.stage("slow"):
            time.sleep(0.05)
    assert list(timings.stages) == ["fast", "slow"]
    assert timings.stages["slow"] >= 0.25
    assert timings.stages["fast"] < 0.05

"""Stages in threads: order, errors, early ends, bounded memory, and where the time went."""

from __future__ import annotations

import threading
import time

import pytest
from waiting import PATIENCE

from coos_mlflow._utils.pipeline import DEPTH, Pipeline, Stage


def test_results_come_in_the_order_of_the_source():
    stages = [Stage("square", lambda n: n * n), Stage("text", str)]
    with Pipeline("count", range(50), stages) as pipeline:
        assert list(pipeline) == [str(n * n) for n in range(50)]


def test_a_source_without_items_ends():
    with Pipeline("none", [], [Stage("same", lambda n: n)]) as pipeline:
        assert list(pipeline) == []


def test_none_is_a_result_like_any_other():
    with Pipeline("none", [1, 2], [Stage("none", lambda n: None)]) as pipeline:
        assert list(pipeline) == [None, None]


@pytest.mark.parametrize("place", ["source", "stage"])
def test_what_fails_is_raised_where_results_are_taken_behind_those_before_it(place):
    def source():
        yield from (1, 2)
        if place == "source":
            raise ValueError("no third")
        yield 3

    def work(n: int) -> int:
        if n == 3:
            raise ValueError("no third")
        return n

    taken = []
    with (
        pytest.raises(ValueError, match="no third"),
        Pipeline("source", source(), [Stage("first", work), Stage("second", work)]) as pipeline,
    ):
        for result in pipeline:
            taken.append(result)
    assert taken == [1, 2]
    assert not any(thread.is_alive() for thread in pipeline._threads)


def test_leaving_early_ends_every_stage_and_reads_no_further():
    read = []

    def source():
        for n in range(10_000):
            read.append(n)
            yield n

    with Pipeline("source", source(), [Stage("same", lambda n: n)]) as pipeline:
        assert next(iter(pipeline)) == 0
        time.sleep(0.05)
    assert not any(thread.is_alive() for thread in pipeline._threads)
    # What waits in two queues, what a stage and the source hold, and the one that was taken.
    assert len(read) <= 2 * DEPTH + 3


def test_stages_work_at_the_same_time():
    """While the first stage works on a number, the second one works on that before it."""
    meeting = threading.Barrier(2, timeout=PATIENCE)

    def first(n: int) -> int:
        if n > 1:
            meeting.wait()
        return n

    def second(n: int) -> int:
        if n < 5:
            meeting.wait()
        return n

    with Pipeline("count", range(1, 6), [Stage("a", first), Stage("b", second)]) as pipeline:
        assert list(pipeline) == [1, 2, 3, 4, 5]


def test_times_tell_who_works_and_who_waits():
    with Pipeline("fast", range(5), [Stage("slow", lambda n: time.sleep(0.05))]) as pipeline:
        list(pipeline)
        fast, slow = pipeline.times
    assert (fast.title, slow.title) == ("fast", "slow")
    assert slow.busy >= 0.25 and slow.busy > fast.busy
    assert fast.blocked > slow.blocked

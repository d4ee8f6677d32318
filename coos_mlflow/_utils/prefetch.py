"""Read ahead in a thread, so that the steps of a pipeline run in parallel."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

DEPTH = 3
"""Items ahead of the consumer, including the one being read; enough to even out varying speeds."""

_END = object()


def prefetch(source: Iterable[T], depth: int = DEPTH) -> Generator[T]:
    """Iterate over `source` in a thread of its own, a few items ahead of the consumer.

    Where `source` is itself a generator over another `prefetch`, each works in its own thread.

    Parameters
    ----------
    source : iterable
        Its exceptions reach the consumer after the items before them.
    depth : int
        Number of items to read ahead.

    Yields
    ------
    object
        The items of `source`, in order. If the consumer stops early (`contextlib.closing`), it
        waits for the item being read, and no other is read.
    """
    items = iter(source)
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        ahead = deque(thread.submit(next, items, _END) for _ in range(depth))
        try:
            while (item := ahead.popleft().result()) is not _END:
                ahead.append(thread.submit(next, items, _END))
                yield item  # type: ignore[misc]
        finally:
            thread.shutdown(cancel_futures=True)
            if isinstance(items, Generator):
                items.close()

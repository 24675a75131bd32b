"""Work in threads, in order: frames decoded ahead of their use, masks encoded and read by all cores, and a sequence's
predictions written behind the computing of the next.

Threads do, because decoding and encoding release Python's lock. An error is raised where its item is asked for, never
lost; leaving early (an error, Ctrl-C) lets go of what has not begun, and waits for what has.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def cores() -> int:
    """How many threads decoding and encoding are given: the cores that this process may use, at most 16."""
    return min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def ahead(
    make: Callable[[Item], Made], items: Iterable[Item], *, threads: int, depth: int
) -> Generator[Made]:
    """`map(make, items)`, in order, with up to `depth` results made or in the making before they are asked for.

    Who may leave before the end closes it (`contextlib.closing`): an error's traceback would keep its threads alive.
    """
    if threads < 1 or depth < 1:
        raise ValueError(f"threads={threads} and depth={depth}: expected at least 1 of each")
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[Made]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def behind() -> Iterator[Callable[[Callable[[], object], ExitStack], None]]:
    """Work done in a thread of its own while the caller goes on: yields `give(work, held)`.

    One piece is under way at a time and none waits: `give` first waits for the one before, and raises its error. What
    `held` holds (a lock) goes over to the work, which lets go of it when it is done. Leaving waits for the last piece
    and raises its error, unless the caller is leaving by one of its own.
    """
    pool = ThreadPoolExecutor(1)
    under_way: deque[Future[None]] = deque()

    def give(work: Callable[[], object], held: ExitStack) -> None:
        while under_way:
            under_way.popleft().result()
        under_way.append(pool.submit(_holding, held.pop_all(), work))

    try:
        yield give
        while under_way:
            under_way.popleft().result()
    finally:
        pool.shutdown(wait=True)


def _holding(held: ExitStack, work: Callable[[], object]) -> None:
    with held:
        work()

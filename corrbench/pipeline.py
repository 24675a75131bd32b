"""Work in threads, in order: frames decoded ahead of their use, masks encoded and read by all cores.

Threads do, because decoding and encoding release Python's lock. An error is raised where its item is asked for, never
lost; leaving early (an error, Ctrl-C) lets go of what has not begun.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def cores() -> int:
    """How many threads decoding and encoding are given: the cores that this process may use, at most 16."""
    return min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def ahead(make: Callable[[Item], Made], items: Iterable[Item], *, threads: int, depth: int) -> Iterator[Made]:
    """`map(make, items)`, in order, with up to `depth` results made or in the making before they are asked for."""
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

"""Work made ahead: order, bounds, and errors that arrive."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from corrbench.pipeline import ahead


def test_ahead_keeps_the_order_and_makes_no_more_than_the_depth_ahead() -> None:
    begun: list[int] = []

    def make(i: int) -> int:
        begun.append(i)
        time.sleep(0.001 * (7 - i % 7))  # later ones are ready sooner
        return i * i

    taken = []
    for i, made in enumerate(ahead(make, range(20), threads=4, depth=3)):
        assert len(begun) <= i + 1 + 3
        taken.append(made)
    assert taken == [i * i for i in range(20)]


def test_ahead_overlaps_making_with_use() -> None:
    """Each making waits for the use of the item before: without a second thread ahead this would never end."""
    used = [threading.Event() for _ in range(4)]

    def make(i: int) -> int:
        assert i < 2 or used[i - 2].wait(10)
        return i

    for i in ahead(make, range(4), threads=1, depth=1):
        used[i].set()


def test_aheads_errors_arrive_at_their_place_and_stop_the_rest() -> None:
    begun = []

    def make(i: int) -> int:
        begun.append(i)
        if i == 2:
            raise ValueError("frame 2 is damaged")
        return i

    taken: list[int] = []

    def use() -> None:
        taken.extend(ahead(make, range(50), threads=1, depth=2))

    with pytest.raises(ValueError, match="frame 2 is damaged"):
        use()
    assert len(begun) <= 6
    before = threading.active_count()
    items: Iterator[int] = ahead(make, range(50), threads=1, depth=2)
    next(items)
    items.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"depth": 0}])
def test_ahead_refuses_no_threads_and_no_depth(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        next(ahead(str, range(3), **({"threads": 1, "depth": 1} | wrong)))

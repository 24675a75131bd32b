"""Work made ahead and work done behind: order, bounds, and errors that arrive."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from corrbench.pipeline import ahead, behind


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


def test_behind_works_in_order_beside_the_caller_and_at_most_one_piece_is_left() -> None:
    """Each piece waits for its caller, who has gone on: done by the caller itself this would never end."""
    done: list[int] = []
    gone_on = [threading.Event() for _ in range(5)]

    def work(i: int) -> None:
        assert gone_on[i].wait(10)
        time.sleep(0.002 * (5 - i))
        done.append(i)

    with behind() as give:
        for i in range(5):
            give(lambda i=i: work(i), ExitStack())  # type: ignore[misc]
            assert done == list(range(i))  # all but this one
            gone_on[i].set()
    assert done == list(range(5))


def test_behinds_error_arrives_with_the_next_piece_which_is_not_begun() -> None:
    let_go: list[str] = []
    begun: list[str] = []
    before = threading.active_count()

    def damaged() -> None:
        raise OSError(28, "No space left on device")

    def use() -> None:
        with behind() as give:
            for name, work in (("first", damaged), ("second", lambda: begun.append("second"))):
                with ExitStack() as held:
                    held.callback(let_go.append, name)
                    give(work, held)

    with pytest.raises(OSError, match="No space left on device"):
        use()
    assert begun == []
    assert let_go == ["first", "second"]  # locks of both
    assert threading.active_count() == before


def test_behinds_last_error_arrives_on_leaving() -> None:
    def damaged() -> None:
        raise PermissionError("not yours")

    def use() -> None:
        with behind() as give:
            give(damaged, ExitStack())

    with pytest.raises(PermissionError, match="not yours"):
        use()


def test_leaving_behind_by_an_error_finishes_what_is_under_way_and_leaves_no_thread() -> None:
    done: list[str] = []
    before = threading.active_count()

    def slow() -> None:
        time.sleep(0.1)
        done.append("written")

    def use() -> None:
        with behind() as give, ExitStack() as held:
            held.callback(done.append, "let go")
            give(slow, held)
            assert done == []
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        use()
    assert done == ["written", "let go"]
    assert threading.active_count() == before

"""The aims of propagation on a CPU: each form against the released one in the same run, and its memory.

`pytest benchmarks/test_propagation.py -s` prints the ratios; real features with $CORRBENCH_DATA. Wants a quiet machine.
"""

from __future__ import annotations

import os

import propagation
import pytest
import workload as w

from corrbench.propagation import native


@pytest.mark.parametrize("name", [*propagation.MADE_UP, *propagation.REAL[:2]])
@pytest.mark.parametrize("threads", [1, 2])
def test_ratios(name: str, threads: int) -> None:
    if threads > (os.cpu_count() or 1):
        pytest.skip("this machine has one core")
    if name in propagation.REAL and not os.environ.get("CORRBENCH_DATA"):
        pytest.skip("$CORRBENCH_DATA is not set")
    found = propagation.measure(propagation.features(name), threads, rounds=3)
    print("\n" + propagation.line(name, found))
    for form, aim in propagation.AIMS.items():
        if form in found:
            assert found[form]["ratio"] >= aim


@pytest.mark.parametrize("form", ["tiled", "native"])
def test_memory(form: str) -> None:
    if form == "native" and not native.available():
        pytest.skip("no C++ compiler on this machine")
    assert propagation.memory(form) * 2**20 < 300e6


@pytest.mark.parametrize("method", ["tiled", "native"])
def test_clip(benchmark, method: str) -> None:  # type: ignore[no-untyped-def]
    """A whole clip with its labels; seconds a frame with a full context are in the extra information."""
    if method == "native" and not native.available():
        pytest.skip("no C++ compiler on this machine")
    work = w.workload(frames=w.CLIP)
    benchmark.pedantic(w.by_clip(work, method), rounds=2)
    benchmark.extra_info["seconds_a_frame"] = benchmark.stats.stats.min / work.frames

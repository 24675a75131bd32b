"""Windowed reconstruction against its dense form: time of a forward and backward pass, and peak memory.

    pytest benchmarks/test_losses.py --benchmark-only            (times)
    python benchmarks/test_losses.py                              (times in turn, memory in fresh processes, one table)

64 x 64 queries with radius 12 are the finer level of STT at 256 x 256 pixels, 32 x 32 with radius 6 the coarser one.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "training"))
import dense

from corrbench.training.losses import carry_channel, local_distillation
from corrbench.training.losses.distillation import uncertain, uncertainty

SIZES = {"64x64 r12 C128": (64, 12, 128), "32x32 r6 C256": (32, 6, 256)}
PAIRS = 2


def inputs(side: int, channels: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    query, key = (
        torch.randn(PAIRS, channels, side, side, generator=generator).requires_grad_() for _ in "qk"
    )
    return query, key, torch.randn(PAIRS, 1, side, side, generator=generator)


def step(form: str, size: str) -> Callable[[], None]:
    """One forward and backward pass of the reconstruction, as a function."""
    side, radius, channels = SIZES[size]
    query, key, value = inputs(side, channels)
    carry = {"dense": dense.carry, "windowed": carry_channel}[form]

    def run() -> None:
        query.grad = key.grad = None
        carry(query, key, value, radius).square().sum().backward()

    return run


def local_step(form: str) -> Callable[[], None]:
    """One forward and backward pass of the local distillation between the two levels."""
    fine, coarse = (inputs(side, channels)[:2] for side, _, channels in SIZES.values())
    fine = tuple(f.detach() for f in fine)

    def run() -> None:
        for maps in coarse:
            maps.grad = None
        if form == "windowed":
            local_distillation(*fine, *coarse, 12, 6).backward()
            return
        with torch.no_grad():
            mask = uncertain(uncertainty(*coarse, 6))
        dense.local_distillation(fine, coarse, (12, 6), mask).backward()

    return run


@pytest.mark.parametrize("size", list(SIZES))
@pytest.mark.parametrize("form", ["dense", "windowed"])
def test_reconstruction(benchmark: Callable[..., None], form: str, size: str) -> None:
    benchmark.group = f"reconstruction, forward and backward, {PAIRS} pairs, {size}"  # type: ignore[attr-defined]
    benchmark(step(form, size))


@pytest.mark.parametrize("form", ["dense", "windowed"])
def test_local_distillation(benchmark: Callable[..., None], form: str) -> None:
    benchmark.group = f"local distillation, forward and backward, {PAIRS} pairs"  # type: ignore[attr-defined]
    benchmark(local_step(form))


def peak_mib(form: str, size: str) -> float:
    """Peak resident memory of a fresh process above what it had before the step, MiB."""
    words = [sys.executable, __file__, "--memory", form, size]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def _status(name: str) -> int:
    """KiB of an entry of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def main() -> None:
    """Interleaved times (the least of several) and memory of both forms, with their ratios."""
    if sys.argv[1:2] == ["--memory"]:
        run = local_step(sys.argv[2]) if sys.argv[3] == "local" else step(sys.argv[2], sys.argv[3])
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far (Linux)
        before = _status("VmRSS")
        run()
        print((_status("VmHWM") - before) / 1024)
        return
    print(f"{torch.get_num_threads()} threads, {PAIRS} pairs, forward and backward")
    for size in [*SIZES, "local"]:
        runs = {f: local_step(f) if size == "local" else step(f, size) for f in ("dense", "windowed")}
        best = dict.fromkeys(runs, float("inf"))
        for _ in range(7):
            for form, run in runs.items():
                start = time.perf_counter()
                run()
                best[form] = min(best[form], time.perf_counter() - start)
        memory = {form: peak_mib(form, size) for form in runs}
        ratio = best["dense"] / best["windowed"]
        print(
            f"{size:16} dense {best['dense']:.3f} s {memory['dense']:6.0f} MiB   windowed {best['windowed']:.3f} s "
            f"{memory['windowed']:6.0f} MiB   {ratio:.1f}x faster"
        )


if __name__ == "__main__":
    main()

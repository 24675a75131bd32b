"""Propagation of one DAVIS frame (60x107x256, 21 context frames, radius 12, k 10): released form, definition, fast paths.

`pytest benchmarks/test_propagation.py --benchmark-only -s` prints the interleaved ratios. The released form and the
definition run on a share of the queries (all cost the same) and are scaled up.
"""

from __future__ import annotations

import pytest
import torch
import workload as w

SHARE = 512  # queries of the dense forms that are timed, of 6,420


@pytest.fixture(scope="module")
def work() -> w.Workload:
    return w.workload(frames=24)


def test_forms_agree(work: w.Workload) -> None:
    """What is timed is the same computation: labels equal to 1e-5 wherever the released form was run."""
    dense = w.by_released(work, most=SHARE)()
    tiled = w.by_tiles(work)()
    assert (dense[:, :SHARE] - tiled[:, :SHARE]).abs().max() <= 1e-5


@pytest.mark.parametrize("form", ["released", "reference", "tiled", "native"])
def test_one_frame(benchmark, work: w.Workload, form: str) -> None:  # type: ignore[no-untyped-def]
    if form == "native" and not w.native_here():
        pytest.skip("the native path does not run on this machine")
    cells = work.label[0].numel()
    run, share = {
        "released": lambda: (w.by_released(work, most=SHARE), SHARE / cells),
        "reference": lambda: (w.by_reference(work, SHARE), SHARE / cells),
        "tiled": lambda: (w.by_tiles(work), 1.0),
        "native": lambda: (w.by_clip(work, "native"), work.frames),
    }[form]()
    benchmark.group = "one frame, 60x107x256, 21 context frames"
    benchmark.pedantic(run, rounds=1 if form == "native" else 3, warmup_rounds=form != "native")
    benchmark.extra_info["seconds_a_frame"] = benchmark.stats.stats.min / share


def test_ratios(benchmark, work: w.Workload, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    cells = work.label[0].numel()
    forms = {"released": w.by_released(work, most=SHARE), "tiled": w.by_tiles(work)}
    share = {"released": SHARE / cells, "tiled": 1.0}
    if w.native_here():
        forms["native"], share["native"] = w.by_clip(work, "native"), work.frames  # type: ignore[assignment]
    seconds = benchmark.pedantic(w.interleave, (forms, 3), rounds=1, warmup_rounds=0)
    scaled = {name: [s / share[name] for s in own] for name, own in seconds.items()}
    found = w.ratios(scaled, "released")
    benchmark.extra_info["ratios"] = found
    with capsys.disabled():
        for name, ratio in found.items():
            print(f"\n{name:10} {min(scaled[name]):8.3f} s a frame {ratio:7.1f} x", end="")
        print(f"   ({torch.get_num_threads()} threads)")
    assert found["tiled"] > 1

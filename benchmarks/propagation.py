"""One DAVIS frame under STT's protocol by every form that a CPU has: seconds, how many times faster than released, memory.

    CORRBENCH_DATA=data python benchmarks/propagation.py --rounds 3 --save       # writes results/propagation_cpu.json
    python -m pytest benchmarks/test_propagation.py -s                           # asserts the aims

60x107 cells, 256 channels (MobileNetV2: 96), 21 context frames, square 12, 10 neighbours, 4 classes. The forms agree before
they are timed, interleaved in one process, features to labels:

    released   the dense form of released code, all queries, 32 at a time
    tiled      torch, tiles of queries; packs all 22 frames for this one
    fp32       native; packs one frame and has the others, as in a clip
    pruned     the same with certified bytes

Ratios are medians over the rounds, of the wall clock; those by seconds of all threads on a core are in the record as well,
for a machine that does other work. Features: `gauss` (nothing to prune), `smooth`, or a method of methods/ on frames of a
DAVIS video ($CORRBENCH_DATA, --sequence).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))

import torch
import workload as w
from heading import heading
from torch import Tensor

from corrbench.propagation import native, reference

AIMS = {"tiled": 10.0, "fp32": 35.0, "pruned": 60.0}  # times the released form
RESULT = Path(__file__).parent / "results" / "propagation_cpu.json"
METHODS = Path(__file__).parents[1] / "methods"
REAL = ("random_resnet18", "stt", "mobilenetv2")  # untrained; trained, 256 channels; trained, 96
SEQUENCE = "dance-twirl"
MEMORY_CLIP = 40  # frames


def gauss() -> Tensor:
    """Independent numbers: nothing can be pruned."""
    return w.workload(frames=w.CONTEXT + 2).features


def smooth() -> Tensor:
    """Stand-in for a network's features: positive, smooth in space and time, few strong directions."""
    frames, generator = w.CONTEXT + 2, torch.Generator().manual_seed(0)
    few = torch.randn(frames, 24, 16, 28, generator=generator).cumsum(0) / 3
    up = torch.nn.functional.interpolate(few, size=w.GRID, mode="bilinear", align_corners=False)
    mix = torch.randn(w.CHANNELS, 24, generator=generator)
    noise = torch.randn(frames, w.CHANNELS, *w.GRID, generator=generator)
    return (torch.einsum("cd,tdhw->tchw", mix, up) + noise).relu()


MADE_UP: dict[str, Callable[[], Tensor]] = {"gauss": gauss, "smooth": smooth}


def features(name: str, sequence: str = SEQUENCE) -> Tensor:
    """Features of the last frame and its context (22, C, 60, 107): made up, or of a method on a DAVIS video."""
    if name in MADE_UP:
        return MADE_UP[name]()
    data = os.environ.get("CORRBENCH_DATA")
    if not data:
        raise ValueError(f"features {name!r} need $CORRBENCH_DATA, the folder that holds DAVIS")
    folder = Path(data) / "DAVIS" / "JPEGImages" / "480p" / sequence
    return w.features_of(str(METHODS / f"{name}.py"), folder, w.CONTEXT + 2)


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock, and seconds of all threads on a core."""

    wall: float
    core: float


def timed(work: Callable[[], object]) -> Cost:
    wall, core = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - wall, time.process_time() - core)


def by_native(work: w.Workload, pruned: bool, threads: int) -> Callable[[], Tensor]:
    """The native search of the last frame and its labels, packing included for that frame only."""
    library = native.compiled.current()
    assert library is not None
    packed = native.Packed(library, work.features, True, pruned, threads, len(work.features))
    packed.hold(set(range(len(work.features))))
    index = torch.empty(w.GRID[0] * w.GRID[1], work.k, dtype=torch.int32)
    similarity = torch.empty(w.GRID[0] * w.GRID[1], work.k)
    labels = w.label_rows(work)

    def run() -> Tensor:
        packed.pack(work.target)
        slots = work.context.of(work.target)
        native.run(library, [native.Job(packed, work.target, slots, work.window, index, similarity)], threads)
        return reference.weigh(reference.softmax(similarity / w.TEMPERATURE), labels[index.long()]).T

    return run


def measure(features_TChw: Tensor, threads: int, rounds: int) -> dict[str, Any]:
    """Seconds of every form round by round, and medians of its ratios to the released one."""
    torch.set_num_threads(threads)
    work = w.workload(features_TChw)
    forms: dict[str, Callable[[], Tensor]] = {"released": w.by_released(work), "tiled": w.by_tiles(work)}
    if native.available():
        forms |= {"fp32": by_native(work, False, threads), "pruned": by_native(work, True, threads)}
    labels = {name: run() for name, run in forms.items()}  # also warms up
    for name, own in labels.items():
        apart = (
            ((own - labels["released"]).abs().amax(0) > 1e-4).float().mean()
        )  # where tenth and eleventh key tie
        assert apart < 1e-3, f"{name} is not the same computation: labels differ in {apart:.1%} of the cells"
    costs: dict[str, list[Cost]] = {name: [] for name in forms}
    for _ in range(rounds):
        for name, run in forms.items():
            costs[name].append(timed(run))
    result: dict[str, Any] = {"threads": threads, "channels": features_TChw.shape[1]}
    for name, own in costs.items():
        pairs = list(zip(costs["released"], own, strict=True))
        result[name] = {
            "seconds": [round(cost.wall, 4) for cost in own],
            "core_seconds": [round(cost.core, 4) for cost in own],
            "ratio": round(statistics.median(r.wall / n.wall for r, n in pairs), 1),
            "core_ratio": round(statistics.median(r.core / n.core for r, n in pairs), 1),
        }
    return result


def line(name: str, row: dict[str, Any]) -> str:
    """A measurement as a row of a Markdown table: features, channels, threads, released, and every other form."""
    said = [name, str(row["channels"]), str(row["threads"])]
    for form in ("released", *AIMS):
        if form in row:
            ratio = "" if form == "released" else f", {row[form]['ratio']:.1f}x"
            said.append(f"{statistics.median(row[form]['seconds']):.3g} s{ratio}")
    return "| " + " | ".join(said) + " |"


def gemm_peak(threads: int) -> float:
    """Best float32 GFLOP/s of a 2048 x 2048 product."""
    torch.set_num_threads(threads)
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    return max(2 * 2048**3 / timed(lambda: a @ b).wall / 1e9 for _ in range(8))


def memory(form: str) -> float:
    """MiB that one run of a form needs in a fresh process besides its features: one frame, native a clip of 40."""
    out = subprocess.run(
        [sys.executable, __file__, "--memory", form], check=True, capture_output=True, text=True
    )
    return float(out.stdout.strip().splitlines()[-1])


def memory_here(form: str) -> float:
    torch.set_num_threads(2)
    work = w.workload(frames=w.CONTEXT + 2 if form != "native" else MEMORY_CLIP)
    if form == "native":
        run: Callable[[], object] = lambda: native.search(work.features, work.window, work.context, work.k)  # noqa: E731
    else:
        run = (
            w.by_tiles(work) if form == "tiled" else w.by_released(work, most=64)
        )  # all queries cost the same
    return w.peak_memory(run)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--features", nargs="*", help="gauss, smooth, or methods; default: what can be had here"
    )
    parser.add_argument("--sequence", default=SEQUENCE, help="DAVIS video of a method's frames")
    parser.add_argument("--save", action="store_true", help=f"write results/{RESULT.name}")
    parser.add_argument("--memory", choices=["released", "tiled", "native"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory:
        print(memory_here(given.memory))
        return
    record: dict[str, Any] = {
        "what": "one DAVIS frame, stt protocol, 60x107 cells, 21 context frames: all forms, interleaved",
        **heading(__file__),
        "instructions": native.compiled.target(),
        "gemm_gflops": {threads: round(gemm_peak(threads)) for threads in given.threads},
        "aims": AIMS,
        "sequence": given.sequence,
        "rows": [],
    }
    there = [*MADE_UP, *(REAL if os.environ.get("CORRBENCH_DATA") else ())]
    for name in given.features or there:
        maps = features(name, given.sequence)
        for threads in given.threads:
            row = {"features": name} | measure(maps, threads, given.rounds)
            record["rows"].append(row)
            print(line(name, row), flush=True)
    forms = ["released", "tiled"] + (["native"] if native.available() else [])
    record["peak_memory_mib"] = {form: round(memory(form)) for form in forms}
    print("MiB besides features:", record["peak_memory_mib"])
    if given.save:
        RESULT.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

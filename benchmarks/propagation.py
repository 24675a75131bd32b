"""Seconds and peak memory of propagating one DAVIS frame, on one thread and two; writes results/propagation_cpu.json.

    python benchmarks/propagation.py [--method methods/mobilenetv2.py --frames DAVIS/JPEGImages/480p/dance-twirl]

Forms: `released` is the dense form of released code, on `--queries` of the 6,420 and scaled (all cost the same); `tiled one
frame` packs all context frames for it alone; `tiled clip` and `native clip` are whole clips of 24 frames, divided by the
number of full-context frames that they amount to. Ratios are medians over interleaved rounds, of processor seconds on one
thread (other work on the machine does not count) and of the wall clock on two. Memory: growth of a fresh process at its
highest point over what it held before (features, mask).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import torch
import workload as w

RESULT = Path(__file__).parent / "results" / "propagation_cpu.json"


def measure(features: torch.Tensor | None, rounds: int, queries: int, numbers: list[int]) -> dict:
    """Seconds a frame of every form and its ratio to the released one, by number of threads."""
    clip = w.workload(features, frames=w.CLIP)
    work = w.workload(clip.features[: w.CONTEXT + 2])
    made: dict = {
        "released": w.by_released(work, most=queries),
        "tiled one frame": w.by_tiles(work),
        "tiled clip": w.by_clip(clip, "tiled"),
    }
    share = {"released": queries / work.label[0].numel(), "tiled one frame": 1.0, "tiled clip": clip.frames}
    if w.native_here():
        made["native clip"], share["native clip"] = w.by_clip(clip, "native"), clip.frames
    result: dict = {"features": list(clip.features.shape), "threads": {}}
    for threads in numbers:
        clock = time.process_time if threads == 1 else time.perf_counter
        torch.set_num_threads(threads)
        seconds = w.interleave(made, rounds, clock)
        scaled = {name: [s / share[name] for s in own] for name, own in seconds.items()}
        found = w.ratios(scaled, "released")
        result["threads"][threads] = {"clock": clock.__name__} | {
            name: {"seconds": [round(s, 4) for s in own], "ratio": round(found[name], 1)}
            for name, own in scaled.items()
        }
        print(threads, "threads", json.dumps(result["threads"][threads]), flush=True)
    return result


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )


def gemm_peak(threads: int) -> float:
    """Best float32 GFLOP/s of a 2048 x 2048 product, by processor seconds on one thread, the wall clock on more."""
    clock = time.process_time if threads == 1 else time.perf_counter
    torch.set_num_threads(threads)
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    best = 0.0
    for _ in range(8):
        start = clock()
        a @ b
        best = max(best, 2 * 2048**3 / (clock() - start) / 1e9)
    return best


def memory(form: str) -> float:
    """MiB that one run of a form needs in a fresh process, besides features and mask."""
    out = subprocess.run(
        [sys.executable, __file__, "--memory", form], check=True, capture_output=True, text=True
    )
    return float(out.stdout.strip().splitlines()[-1])


def memory_here(form: str) -> float:
    torch.set_num_threads(1)
    work = w.workload(frames=w.CONTEXT + 2)
    run = {
        "released": lambda: w.by_released(work, most=64),  # later blocks reuse the memory of the first
        "tiled one frame": lambda: w.by_tiles(work),
        "native clip": lambda: w.by_clip(work, "native"),
    }[form]()
    return w.peak_memory(run)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--method", help="method file whose features are measured besides random ones")
    parser.add_argument("--frames", type=Path, help="folder of .jpg frames for --method")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--queries", type=int, default=1024, help="queries of the dense form (multiple of 32)"
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory:
        print(memory_here(given.memory))
        return
    record: dict = {
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "load_at_start": os.getloadavg()[0]},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "gemm_gflops": {threads: round(gemm_peak(threads)) for threads in given.threads},
    }
    names = ["released", "tiled one frame"] + (["native clip"] if w.native_here() else [])
    record["peak_memory_mib"] = {name: round(memory(name)) for name in names}
    _write(record)
    record["random"] = measure(None, given.rounds, given.queries, given.threads)
    _write(record)
    if given.method:
        real = w.features_of(given.method, given.frames, w.CLIP)
        record["real"] = {"method": Path(given.method).name, "sequence": given.frames.name} | measure(
            real, given.rounds, given.queries, given.threads
        )
        _write(record)


def _write(record: dict) -> None:
    """Save what has been measured so far: on a busy machine the rest may take long."""
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

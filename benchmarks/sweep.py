"""What a sweep of twenty settings costs, in single runs.

    python benchmarks/sweep.py

One sequence of the rendered benchmark at half size, random ResNet-18 at stride 8, STT's protocol with radius 6: five top-k
times four temperatures. Single runs and sweeps take turns, each from an empty cache into an empty folder. Writes
results/sweep_cpu.json: seconds on the clock and of the processor, ratios of the turns, how often each stage was computed.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from corrbench import api, methods, provenance, sweeping
from corrbench.datasets.synthetic import ensure
from corrbench.store import Store

ROOT = Path(__file__).parent.parent
RESULT = Path(__file__).parent / "results" / "sweep_cpu.json"
METHOD, TASK = str(ROOT / "methods" / "random_resnet18.py"), str(ROOT / "tasks" / "davis.py")
OVER = {"topk": [1, 5, 10, 15, 20], "temperature": [0.03, 0.07, 0.2, 1.0]}
SEQUENCES, TURNS = 1, 2
SMALL = ["protocol.resize=short 240", "protocol.radius=6"]


def counting(counts: Counter[str]) -> None:
    """Count the calls of each stage from now on."""

    def count(owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            counts[name] += 1
            return function(*args, **kwargs)

        setattr(owner, name, counted)

    count(methods.LabelPropagation, "features")
    for name in ("neighbours", "propagate", "carry"):
        count(methods, name)


def main() -> None:
    torch.set_num_threads(1)  # then the seconds of the processor are work, not threads that wait
    data = ensure("vos")
    names = api.plan(METHOD, TASK, data=data).dataset.names()[:SEQUENCES]
    given: dict[str, Any] = {
        "data": data, "device": "cpu", "overrides": [*SMALL, f"task.dataset.sequences={list(names)}"],
    }  # fmt: skip
    counts: Counter[str] = Counter()
    counting(counts)
    turns, calls, stages, store = [], {}, {}, None
    for _ in range(TURNS):
        with tempfile.TemporaryDirectory() as folder:
            start, busy = time.perf_counter(), time.process_time()
            record = api.run(METHOD, TASK, out=Path(folder) / "one", **given)
            one, one_busy = time.perf_counter() - start, time.process_time() - busy
            stages["run"] = record.cost["stages"]
            counts.clear()
            store = Store(Path(folder) / "cache")
            start, busy = time.perf_counter(), time.process_time()
            todo = sweeping.plans([METHOD], TASK, sweeping.settings(OVER), out=Path(folder) / "many", **given)
            planned = time.perf_counter() - start
            records = sweeping.execute(todo, store)
            many, many_busy = time.perf_counter() - start, time.process_time() - busy
            calls = dict(counts)
            stages["sweep"] = {
                name: round(sum(r.cost["stages"][name] for r in records), 2) for name in record.cost["stages"]
            }
            held = sum(path.stat().st_size for path in store.folder.iterdir())
            turn = {"run_s": one, "sweep_s": many, "planning_s": planned, "run_processor_s": one_busy,
                    "sweep_processor_s": many_busy}  # fmt: skip
            turns.append({name: round(seconds, 2) for name, seconds in turn.items()})
            print(turns[-1], f"{many / one:.2f} runs", flush=True)
    ratios = {
        kind: [turn[f"sweep_{kind}"] / turn[f"run_{kind}"] for turn in turns] for kind in ("s", "processor_s")
    }
    found = {
        "what": f"{len(records)} settings (top-k x temperature) against one, {SEQUENCES} rendered sequence at short 240",
        "frames": record.cost["frames"],
        "settings": len(records),
        "turns": turns,
        "sweep_in_runs": {kind: round(statistics.median(each), 2) for kind, each in ratios.items()},
        "sweep_in_runs_each": {kind: [round(ratio, 2) for ratio in each] for kind, each in ratios.items()},
        "calls_of_the_sweep": calls,
        "stages_s": stages,
        "cache_mib": round(held / 2**20, 1),
        "cache": store.counts if store else {},
        "threads": torch.get_num_threads(),
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "machine": provenance.machine(),
        "versions": provenance.versions(),
        "signature": record.signature,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

"""Time and memory of propagation against grid, window, context, channels, sequence length and classes.

    python benchmarks/scaling.py

Writes results/scaling_cpu.json and results/scaling_cpu.svg. One quantity varies at a time around a base of 42x75 cells,
radius 8, 7 context frames, 64 channels, 3 classes. Seconds are of one target frame with a full
context, except against sequence length. A slope is the exponent of a power law, fitted to the upper half of the points.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib
import numpy as np
import torch
import workload as w

from corrbench.labels import decode_mask
from corrbench.propagation import Context, Window, native, neighbours, propagate

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Point:
    h: int = 42
    w: int = 75
    radius: int = 8
    context: int = 7
    channels: int = 64
    frames: int = 0  # 0: four targets with a full context, and what leads up to them
    classes: int = 3

    @property
    def clip(self) -> int:
        return self.frames or self.context + 5


AXES: dict[str, tuple[str, list[Point]]] = {
    "grid": ("cells", [Point(h=h, w=round(h * 107 / 60)) for h in (15, 22, 30, 42, 60, 85)]),
    "window": ("keys a window", [Point(h=60, w=107, radius=r, context=3) for r in (2, 4, 6, 8, 12, 18, 25)]),
    "context": ("context frames", [Point(context=n) for n in (1, 3, 7, 10, 15, 20, 25)]),
    "channels": ("channels", [Point(channels=n) for n in (16, 32, 64, 128, 256, 512)]),
    "length": ("frames of the clip", [Point(frames=n) for n in (5, 10, 20, 40)]),
    "classes": ("classes", [Point(h=60, w=107, classes=n) for n in (2, 3, 5, 8, 12, 20)]),
}


def value(axis: str, p: Point) -> int:
    return {
        "grid": p.h * p.w, "window": (2 * p.radius + 1) ** 2, "context": p.context + 1, "channels": p.channels,
        "length": p.clip, "classes": p.classes,
    }[axis]  # fmt: skip


def measure(axis: str, p: Point, method: str) -> dict[str, float]:
    """Processor seconds (best of two; other work on the machine does not count) and MiB of one point."""
    features = torch.randn(p.clip, p.channels, p.h, p.w, generator=torch.Generator().manual_seed(0))
    window, context = Window("square", p.radius), Context(p.context, "unique")
    full = sum(len(set(context.of(t))) for t in range(1, p.clip)) / (1 + p.context)

    def search() -> object:
        return neighbours(features, window, context, w.K, method=method)

    if axis != "classes":
        run, share = search, 1.0 if axis == "length" else full
    else:
        found = neighbours(features, window, context, w.K, method=method)
        ids = torch.arange(p.h * p.w).reshape(p.h, p.w) % p.classes
        label = (ids == torch.arange(p.classes)[:, None, None]).float()

        def run() -> object:
            soft = propagate(found, label, w.TEMPERATURE)
            return decode_mask(soft, (480, 854), "bilinear", True)

        share = p.clip - 1.0
    seconds = []
    for _ in range(2):
        start = time.process_time()
        run()
        seconds.append((time.process_time() - start) / share)
    return {"seconds": round(min(seconds), 5), "mib": round(w.peak_memory(run), 1)}


def slope(x: list[float], y: list[float]) -> float:
    half = len(x) // 2
    return float(np.polyfit(np.log(x[half:]), np.log(np.maximum(y[half:], 1e-9)), 1)[0])


def plot(record: dict, path: Path) -> None:
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "scaling"
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FormatStrFormatter

    figure, panels = plt.subplots(2, len(AXES), figsize=(3.1 * len(AXES), 5.6), layout="constrained")
    for column, (axis, (title, _)) in enumerate(AXES.items()):
        for row, (field, unit) in enumerate([("seconds", "s"), ("mib", "MiB")]):
            panel = panels[row][column]
            for method, own in record["axes"][axis].items():
                text = f"{method}, slope {own['slope'][field]:.2f}"
                panel.loglog(own["x"], np.maximum(own[field], 1e-4), marker="o", markersize=4, label=text)
            shown = own["x"][:: 2 if len(own["x"]) > 5 else 1]
            panel.set_xticks(shown, [str(x) for x in shown], fontsize=7)
            panel.set_xticks([], minor=True)
            panel.yaxis.set_major_formatter(FormatStrFormatter("%g"))
            panel.yaxis.set_minor_formatter(FormatStrFormatter("%g"))
            panel.tick_params(axis="y", which="both", labelsize=7)
            panel.set_xlabel(title)
            panel.set_ylabel(unit)
            panel.grid(True, which="both", linewidth=0.3)
            panel.legend(fontsize=7)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    torch.set_num_threads(1)
    methods = ["tiled"] + (["native"] if native.available() else [])
    record: dict = {"threads": 1, "torch": torch.__version__, "base": replace(Point()).__dict__, "axes": {}}
    for axis, (_, points) in AXES.items():
        record["axes"][axis] = {}
        for method in methods if axis != "classes" else ["tiled"]:
            x = [value(axis, p) for p in points]
            found = [measure(axis, p, method) for p in points]
            own: dict = {"x": x} | {f: [m[f] for m in found] for f in ("seconds", "mib")}
            own["slope"] = {f: round(slope(x, own[f]), 2) for f in ("seconds", "mib")}
            label = "labels and masks" if axis == "classes" else method
            record["axes"][axis][label] = own
            print(axis, label, own, flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "scaling_cpu.json").write_text(json.dumps(record, indent=1) + "\n")
    plot(record, RESULTS / "scaling_cpu.svg")


if __name__ == "__main__":
    main()

"""The GPU path on the GPU at hand: correctness against float64 first, then speed, then whole runs.

    python benchmarks/gpu.py                        every section, about 8 minutes on one H200
    python benchmarks/gpu.py --only peak correct    some of them; results of the others stay
    TRITON_INTERPRET=1 python benchmarks/gpu.py --toy --out /tmp/toy     everything at toy size without a GPU

Writes gpu_h200.json (after every section, so a run that is cut short loses nothing) and gpu_h200.svg. `peak`, `correct`,
`neighbours`, `forms` and `tune` need torch, triton and numpy alone; `whole`, `agree` and `precision` run the package and
need what it depends on. FLOPs are of the exact window, 2 * pairs * channels; a share is of this GPU's own measured fp16
matrix product on random data. `frames` counts target frames by their distinct context frames, against a full context.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))
if "--toy" in sys.argv:
    os.environ.setdefault("TRITON_INTERPRET", "1")

import released
import torch
import torch.nn.functional as F
from gpu_runs import agree, precision, whole
from torch import Tensor

from corrbench.propagation import Context, Window, cpu, gpu, propagate
from corrbench.propagation.types import as_vectors


@dataclass(frozen=True)
class Case:
    """A clip on a grid, and the search in it."""

    name: str
    h: int
    w: int
    channels: int
    radius: int
    frames: int
    context: int = 20
    k: int = 10

    @property
    def full(self) -> float:
        """How many frames with a full context the clip amounts to."""
        pairs = sum(len(set(Context(self.context, "unique").of(t))) for t in range(1, self.frames))
        return pairs / (1 + self.context)

    @property
    def flops(self) -> float:
        """FLOPs of the exact window of one frame with a full context, keys beyond the border left out."""
        y = sum(min(self.h, i + self.radius + 1) - max(0, i - self.radius) for i in range(self.h))
        x = sum(min(self.w, i + self.radius + 1) - max(0, i - self.radius) for i in range(self.w))
        return 2.0 * y * x * self.channels * (1 + self.context)


CASES = (
    Case("stride 8, C=256", 60, 107, 256, 12, 90),
    Case("stride 4, C=256", 120, 214, 256, 35, 42),
    Case("stride 4, C=1024", 120, 214, 1024, 35, 30),
)
TOY = (Case("toy", 8, 12, 32, 2, 5, 2, 4),)


def made(case: Case, device: str, kind: str = "random") -> Tensor:
    """Features (T, C, h, w): `random`, or `smooth` ones that drift, with flat regions, as a backbone's of a video are."""
    generator = torch.Generator(device).manual_seed(0)
    if kind == "random":
        return torch.randn(case.frames, case.channels, case.h, case.w, device=device, generator=generator)
    coarse = torch.randn(
        1, case.channels, case.h // 4 + 2, case.w // 4 + 2, device=device, generator=generator
    ).relu()
    wide = F.interpolate(
        coarse, size=(case.h + 8, case.w + case.frames + 8), mode="bilinear", align_corners=False
    )[0]
    wide[:, : case.h // 4] = wide[:, :1, :1]  # a flat sky
    clip = torch.stack([wide[:, : case.h, t : t + case.w] for t in range(case.frames)])
    return clip + 0.02 * torch.randn(clip.shape, device=device, generator=generator)


def seconds(run: Callable[[], object], device: str, rounds: int) -> float:
    """Median seconds of a warm call; CUDA events on a GPU."""
    run()
    taken = []
    for _ in range(rounds):
        if device == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run()
            end.record()
            torch.cuda.synchronize()
            taken.append(start.elapsed_time(end) / 1e3)
        else:
            begun = time.perf_counter()
            run()
            taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def peak(device: str, toy: bool) -> dict[str, Any]:
    """fp16, bf16 and float32 matrix products on random data in TFLOP/s, and a copy in TB/s (read and written)."""
    size, large = (64, 2**16) if toy else (8192, 2**30)
    found: dict[str, Any] = {}
    for name, kind in (("fp16", torch.float16), ("bf16", torch.bfloat16), ("fp32", torch.float32)):
        a, b = torch.randn(2, size, size, device=device).to(kind)
        found[f"{name} TFLOP/s"] = 2 * size**3 / seconds(lambda a=a, b=b: a @ b, device, 10) / 1e12
    source = torch.randn(large, device=device)
    target = torch.empty_like(source)
    found["copy TB/s"] = 8 * large / seconds(lambda: target.copy_(source), device, 10) / 1e12
    return found


def correct(device: str, toy: bool) -> dict[str, Any]:
    """Sampled queries of the last frame against float64: similarity error, keys that differ, queries redone."""
    found: dict[str, Any] = {}
    for case in TOY if toy else CASES[:2]:
        for kind in ("random", "smooth"):
            for normalise in (True, False):
                features = made(case, device, kind)
                window, context = Window("square", case.radius), Context(case.context, "twice")
                near = gpu.neighbours(features, window, context, case.k, normalise=normalise)
                t = case.frames - 1
                query = torch.randperm(case.h * case.w, generator=torch.Generator().manual_seed(1))[:400].to(
                    device
                )
                vectors = features.double().flatten(2).transpose(1, 2)
                vectors = F.normalize(vectors, dim=2) if normalise else vectors
                y, x = query // case.w, query % case.w
                cell = torch.arange(case.h * case.w, device=device)
                seen = ((cell // case.w - y[:, None]).abs() <= case.radius) & (
                    (cell % case.w - x[:, None]).abs() <= case.radius
                )
                sims = [
                    (vectors[t, query] @ vectors[f].T).masked_fill(~seen, -math.inf) for f in context.of(t)
                ]
                value, index = torch.cat(sims, dim=1).topk(case.k, dim=1)
                got, where = near.similarity[t - 1, query].double(), near.index[t - 1, query].long()
                error = float(((got - value).abs() / value.abs().amax().clamp_min(1)).max())
                keys = (where.sort(dim=1).values != index.sort(dim=1).values).float().mean()
                again = gpu.neighbours(features, window, context, case.k, normalise=normalise)
                ours = {
                    "max relative error": error,
                    "keys that differ": float(keys),
                    "redone": (near.redone or 0) / near.index[..., 0].numel(),
                    "same bits twice": torch.equal(near.index, again.index)
                    and torch.equal(near.similarity, again.similarity),
                }
                found[f"{case.name}, {kind}, {'cosine' if normalise else 'dot'}"] = ours
                if not error < 2e-6:
                    raise AssertionError(f"{case.name}, {kind}: similarity is off by {error} against float64")
                del vectors, sims
    return found


def neighbours(device: str, toy: bool, best: float | None) -> dict[str, Any]:
    """Frames/s of the search on a resident clip, its share of the fp16 peak, time by kernel, and of `propagate`."""
    found: dict[str, Any] = {}
    for case in TOY if toy else CASES:
        for kind in ("random", "smooth"):
            features = made(case, device, kind)
            window, context = Window("square", case.radius), Context(case.context, "unique")

            run = partial(gpu.neighbours, features, window, context, case.k)
            taken = seconds(run, device, 1 if toy else 5) / case.full
            near = run()
            label = torch.rand(4, case.h, case.w, device=device)
            carried = seconds(
                lambda near=near, label=label: propagate(near, label, 0.07), device, 1 if toy else 3
            )
            found[f"{case.name}, {kind}"] = asdict(case) | {
                "ms a frame": 1e3 * taken,
                "frames/s": 1 / taken,
                "GFLOP a frame": case.flops / 1e9,
                "TFLOP/s": case.flops / taken / 1e12,
                "share of fp16 peak": None if best is None else case.flops / taken / 1e12 / best,
                "redone": near.redone,
                "propagate ms a frame": 1e3 * carried / (case.frames - 1),
                "kernels ms a frame": {} if toy else kernels(run, case.full),
                "peak GiB": 0.0 if device == "cpu" else torch.cuda.max_memory_allocated() / 2**30,
            }
            del features, near, run
    return found


def kernels(run: Callable[[], object], frames: float) -> dict[str, float]:
    """Milliseconds a frame of the ten kernels that take longest, by torch's profiler."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        run()
        torch.cuda.synchronize()
    times = sorted(((e.self_device_time_total, e.key) for e in seen.key_averages()), reverse=True)
    return {key[:60]: micro / 1e3 / frames for micro, key in times[:10]}


def forms(device: str, toy: bool) -> dict[str, Any]:
    """One frame with a full context by other forms on the same GPU: released (query step 32), dense, tiled."""
    return {case.name: forms_of(case, device, 1 if toy else 3) for case in (TOY if toy else CASES[:2])}


def forms_of(case: Case, device: str, rounds: int) -> dict[str, float]:
    """Milliseconds a frame. On a stride-4 grid the dense form would need 55 GB: left out, and the released one in part."""
    features = made(case, device)[: case.context + 2]
    t, cells = len(features) - 1, case.h * case.w
    window, context = Window("square", case.radius), Context(case.context, "unique")
    slots = list(context.of(t))
    mask = released.square_mask(case.h, case.w, case.radius).to(device)
    keys = features[slots].transpose(0, 1).contiguous()
    labels = torch.rand(4, len(slots), case.h, case.w, device=device)
    vectors = as_vectors(features, True)
    most = cells if cells < 10_000 else 1024

    def by_released() -> object:
        return released.propagate_frame(
            features[t], keys, labels, mask, temperature=0.07, topk=case.k, most=most
        )

    def by_tiles() -> object:
        return cpu.search(vectors.unflatten(1, (case.h, case.w)), range(t, t + 1), window, context, case.k)

    def dense() -> object:
        affinity = vectors[t] @ vectors[slots].flatten(0, 1).T
        return affinity.masked_fill_(~mask.T.repeat(1, len(slots)), -math.inf).topk(case.k, dim=1)

    found = {"released (step 32), ms a frame": 1e3 * seconds(by_released, device, rounds) * cells / most}
    if most == cells:
        found["dense, ms a frame"] = 1e3 * seconds(dense, device, rounds)
    return found | {"tiled, ms a frame": 1e3 * seconds(by_tiles, device, 1)}


def tune(device: str, toy: bool) -> list[dict[str, Any]]:
    """The search under other launches; those that the GPU has no room for say so."""
    found: list[dict[str, Any]] = []
    launches = [gpu.Launch((8, 16), 64, 8, 2)] if toy else [
        gpu.Launch(tile, keys, warps, stages)
        for tile in ((8, 8), (8, 16))
        for keys in (64, 128)
        for warps in (4, 8)
        for stages in (1, 2, 3)
    ]  # fmt: skip
    for case in TOY if toy else CASES[:2]:
        features = made(case, device)
        for launch in launches:
            found.append({"case": case.name} | asdict(launch))
            try:
                taken = seconds(
                    lambda launch=launch, features=features, case=case: gpu.neighbours(
                        features, Window("square", case.radius), Context(case.context, "unique"), case.k, launch=launch
                    ),
                    device, 1 if toy else 3,
                )  # fmt: skip
                found[-1]["frames/s"] = case.full / taken
            except Exception as error:  # Triton has several for "out of resources"
                found[-1]["error"] = str(error).splitlines()[0][:200]
    return found


def plot(result: dict[str, Any], path: Path) -> None:
    """Frames/s of the search by case, beside the other forms; and the stages of a whole run."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    bars = {name: row["frames/s"] for name, row in result.get("neighbours", {}).items() if "frames/s" in row}
    for case, row in result.get("forms", {}).items():
        bars |= {f"{case}, {form.split(',')[0]}": 1e3 / ms for form, ms in row.items()}
    left.barh(list(bars), list(bars.values()))
    left.set(xscale="log", xlabel="frames/s, one GPU")
    stages = result.get("whole", {}).get("stages", {})
    right.barh(list(stages), list(stages.values()))
    right.set(xlabel=f"seconds for {result.get('whole', {}).get('frames', 0)} frames")
    figure.savefig(path)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only",
        nargs="*",
        metavar="SECTION",
        help="peak correct neighbours forms whole agree precision tune",
    )
    parser.add_argument("--toy", action="store_true", help="toy sizes on the CPU, to try the script itself")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() and not given.toy else "cpu"
    if device == "cpu" and not given.toy:
        sys.exit("torch sees no GPU here; --toy tries the script without one")
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / ("gpu_toy.json" if given.toy else "gpu_h200.json")
    result: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    result["machine"] = {
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "multiprocessors": torch.cuda.get_device_properties(0).multi_processor_count
        if device == "cuda"
        else None,
        "cores": len(os.sched_getaffinity(0)),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
        },
    }
    sections: dict[str, Callable[[], Any]] = {
        "peak": lambda: peak(device, given.toy),
        "correct": lambda: correct(device, given.toy),
        "neighbours": lambda: neighbours(device, given.toy, result.get("peak", {}).get("fp16 TFLOP/s")),
        "forms": lambda: forms(device, given.toy),
        "whole": lambda: whole(device, given.toy, given.out),
        "agree": lambda: agree(device, given.toy, given.out),
        "precision": lambda: precision(device, given.toy, given.out),
        "tune": lambda: tune(device, given.toy),
    }
    unknown = set(given.only or ()) - sections.keys()
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(sections)}")
    failed = []
    for name in given.only or sections:
        begun = time.perf_counter()
        try:
            result[name] = sections[name]()
        except Exception as error:  # the sections after it are still worth their time
            traceback.print_exc()
            result[name] = {"error": f"{type(error).__name__}: {error}"[:500]}
            failed.append(name)
        result.setdefault("seconds", {})[name] = round(time.perf_counter() - begun, 1)
        file.write_text(json.dumps(result, indent=1) + "\n")
        print(name, json.dumps(result[name], indent=1), flush=True)
        if device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        if name == "correct" and name in failed:
            sys.exit("wrong results: nothing is timed")
    plot(result, file.with_suffix(".svg"))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()

"""The native search against the dense form of the released codes: ratios, interleaved in one process.

One DAVIS frame at stride 8 under STT's protocol: 60x107 grid, 256 channels, 21 context frames, square 12, 10 neighbours.

    python -m pytest benchmarks/test_native.py -s     # also real frames with $CORRBENCH_DATA; asserts the aims
    python benchmarks/test_native.py --threads 1 2 --rounds 5 --save      # writes results/native_cpu.json

Features: `gauss`, `smooth`; or the name of a method in methods/, on frames of a DAVIS video ($CORRBENCH_DATA, --sequence).
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

import pytest
import torch
from torch import Tensor

from corrbench import provenance
from corrbench.propagation import Context, Window, native
from corrbench.propagation.types import as_vectors

GRID, CHANNELS, CONTEXT, RADIUS, K, TEMPERATURE = (60, 107), 256, 20, 12, 10, 0.07
STEP = 32  # queries at a time in the released code
AIMS = {"fp32": 35.0, "pruned": 60.0}  # times the dense form
RESULT = Path(__file__).parent / "results" / "native_cpu.json"
METHODS = Path(__file__).parents[1] / "methods"


def dense(vectors_TnC: Tensor, label_TLn: Tensor, seen_nn: Tensor) -> tuple[Tensor, Tensor]:
    """Labels (L, n) of the last frame as STT and VFS compute them: whole affinity of 32 queries, mask, top-k, softmax.

    `vectors` are normalised; all frames but the last are context. Also the best similarities, (n, k).
    """
    cells, classes = vectors_TnC.shape[1], label_TLn.shape[1]
    slots = len(vectors_TnC) - 1
    keys = vectors_TnC[:-1].flatten(0, 1)
    labels = label_TLn.transpose(0, 1).flatten(1)
    out, best = torch.empty(classes, cells), torch.empty(cells, K)
    for start in range(0, cells, STEP):
        affinity = keys @ vectors_TnC[-1, start : start + STEP].T / TEMPERATURE  # (slots * n, 32)
        hidden = ~seen_nn[:, start : start + STEP]
        affinity.masked_fill_(hidden.expand(slots, -1, -1).reshape(affinity.shape), -torch.inf)
        top, index = affinity.topk(K, dim=0)
        near = labels.index_select(1, index.flatten()).view(classes, *index.shape)
        out[:, start : start + STEP] = (near * torch.softmax(top, dim=0)).sum(dim=1)
        best[start : start + STEP] = top.T * TEMPERATURE
    return out, best


def smooth_features(frames: int) -> Tensor:
    """Stand-in for a network's features: positive, smooth in space and time, few strong directions."""
    generator = torch.Generator().manual_seed(0)
    few = torch.randn(frames, 24, 16, 28, generator=generator).cumsum(0) / 3
    up = torch.nn.functional.interpolate(few, size=GRID, mode="bilinear", align_corners=False)
    mix = torch.randn(CHANNELS, 24, generator=generator)
    noise = torch.randn(frames, CHANNELS, *GRID, generator=generator)
    return (torch.einsum("cd,tdhw->tchw", mix, up) + noise).relu()


def gauss_features(frames: int) -> Tensor:
    """Independent numbers: nothing can be pruned."""
    return torch.randn(frames, CHANNELS, *GRID, generator=torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock, and seconds of all threads on a core: on a busy machine the second says more."""

    wall: float
    core: float


def timed(work: Callable[[], object]) -> Cost:
    wall, core = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - wall, time.process_time() - core)


def measure(features_TChw: Tensor, threads: int, rounds: int) -> dict[str, Any]:
    """Seconds of the dense form and of both native forms for the last frame, round by round, and medians of their ratios.

    A native figure is the search of one frame whose context is packed, plus the packing of one frame: what a frame of a
    long sequence costs. The dense form has its features normalised beforehand. Ratios are of the wall clock; those by the
    seconds of all threads on a core are there for a machine that does other work as well.
    """
    library = native.compiled.current()
    assert library is not None
    torch.set_num_threads(threads)
    window, context = Window("square", RADIUS), Context(CONTEXT, "twice")
    t = len(features_TChw) - 1
    assert t == CONTEXT + 1, "the last frame must have a full context, and no frame more"
    vectors = as_vectors(features_TChw, True)
    labels = torch.rand(t, 3, GRID[0] * GRID[1], generator=torch.Generator().manual_seed(1))
    seen = window.dense(*GRID)
    packed = {
        form: native.Packed(library, features_TChw, True, form == "pruned", threads, t + 1)
        for form in ("fp32", "pruned")
    }
    for frames in packed.values():
        frames.hold(set(range(t + 1)))
    index = torch.empty(GRID[0] * GRID[1], K, dtype=torch.int32)
    similarity = torch.empty(GRID[0] * GRID[1], K)

    def one_frame(form: str) -> None:
        packed[form].pack(t)
        native.run(library, [native.Job(packed[form], t, context.of(t), window, index, similarity)], threads)

    costs: dict[str, list[Cost]] = {"dense": [], "fp32": [], "pruned": []}
    for _ in range(rounds):
        costs["dense"].append(timed(lambda: dense(vectors, labels, seen)))
        for form in packed:
            costs[form].append(timed(lambda form=form: one_frame(form)))  # type: ignore[misc]
    _, best = dense(vectors, labels, seen)
    assert (similarity - best).abs().max() < 1e-5, "not the same neighbours"
    result: dict[str, Any] = {"threads": threads, "channels": features_TChw.shape[1]}
    for name, own in costs.items():
        result[name] = {
            "seconds": [round(cost.wall, 4) for cost in own],
            "core_seconds": [round(cost.core, 4) for cost in own],
        }
    for form in packed:
        pairs = list(zip(costs["dense"], costs[form], strict=True))
        by_wall, by_core = ([d.wall / n.wall for d, n in pairs], [d.core / n.core for d, n in pairs])
        result[form]["ratios"] = [round(ratio, 1) for ratio in by_wall]
        result[form]["ratio"] = round(statistics.median(by_wall), 1)
        result[form]["core_ratio"] = round(statistics.median(by_core), 1)
    return result


def line(name: str, row: dict[str, Any]) -> str:
    """A measurement in words."""
    said = [f"{name}, {row['channels']} channels, {row['threads']} thread{'s' * (row['threads'] > 1)}:"]
    said.append(f"dense {statistics.median(row['dense']['seconds']):.2f} s")
    for form in AIMS:
        own = row[form]
        seconds = statistics.median(own["seconds"])
        said.append(f"{form} {seconds:.3f} s, {own['ratio']:.1f}x ({own['core_ratio']:.1f}x by core seconds)")
    return " ".join(said)


def peak_mb(features: str) -> float:
    """Memory above the features and the results during a search of 40 frames, in MB, in a process of its own."""
    program = (
        "import resource, torch, sys; sys.path.insert(0, 'benchmarks'); import test_native as b;"
        "from corrbench.propagation import native, Window, Context;"
        "torch.set_num_threads(2);"
        f"x = b.{features}_features(40);"
        "native.neighbours(x[:3, :, :20, :20].contiguous(), Window(), Context(), 10);"
        "here = lambda: int(open('/proc/self/statm').read().split()[1]) * 4096 / 1e6;"
        "open('/proc/self/clear_refs', 'w').write('5');"
        "before = here();"
        "found = native.neighbours(x, Window('square', 12), Context(20), 10);"
        "peak = [int(l.split()[1]) / 1e3 * 1.024 for l in open('/proc/self/status') if l.startswith('VmHWM')][0];"
        "print(peak - before - found.index.nbytes / 1e6 - found.similarity.nbytes / 1e6)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return float(done.stdout)


FEATURES = {"gauss": gauss_features, "smooth": smooth_features}
REAL = ("random_resnet18", "stt", "mobilenetv2")  # 256 channels, untrained and trained; 96, trained
SEQUENCE = "dance-twirl"


def features(name: str, sequence: str = SEQUENCE) -> Tensor:
    """The features of a name: made up, or of a method file on the first frames of a DAVIS video."""
    if name in FEATURES:
        return FEATURES[name](CONTEXT + 2)
    data = os.environ.get("CORRBENCH_DATA")
    if not data:
        raise ValueError(f"features {name!r} need $CORRBENCH_DATA, the folder that holds DAVIS")
    from workload import features_of

    folder = Path(data) / "DAVIS" / "JPEGImages" / "480p" / sequence
    return features_of(str(METHODS / f"{name}.py"), folder, CONTEXT + 2)


@pytest.mark.skipif(not native.available(), reason="no C++ compiler on this machine")
@pytest.mark.parametrize("name", [*FEATURES, *REAL[:2]])
@pytest.mark.parametrize("threads", [1, 2])
def test_ratio(name: str, threads: int) -> None:
    if threads > (os.cpu_count() or 1):
        pytest.skip("this machine has one core")
    if name not in FEATURES and not os.environ.get("CORRBENCH_DATA"):
        pytest.skip("$CORRBENCH_DATA is not set")
    found = measure(features(name), threads, rounds=3)
    print("\n" + line(name, found))
    for form, aim in AIMS.items():
        assert found[form]["ratio"] >= aim


@pytest.mark.skipif(not native.available(), reason="no C++ compiler on this machine")
def test_memory() -> None:
    peak = peak_mb("smooth")
    print(f"\npeak above features and results: {peak:.0f} MB")
    assert peak < 300


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--features", nargs="*", help="gauss, smooth, or methods; default: what can be had here"
    )
    parser.add_argument("--sequence", default=SEQUENCE, help="DAVIS video of a method's frames")
    parser.add_argument("--save", action="store_true", help=f"write results/{RESULT.name}")
    given = parser.parse_args()
    there = [*FEATURES, *(REAL if os.environ.get("CORRBENCH_DATA") else ())]
    record: dict[str, Any] = {
        "what": "one DAVIS frame, stt protocol, 60x107 cells, 21 context frames: dense and native forms, interleaved",
        "command": " ".join(["python benchmarks/test_native.py", *sys.argv[1:]]),
        "machine": provenance.machine() | {"load": round(os.getloadavg()[0], 2)},
        "versions": provenance.versions(),
        "instructions": native.compiled.target(),
        "aims": AIMS,
        "sequence": given.sequence,
        "rows": [],
    }
    for name in given.features or there:
        maps = features(name, given.sequence)
        for threads in given.threads:
            row = {"features": name} | measure(maps, threads, given.rounds)
            record["rows"].append(row)
            print(line(name, row), flush=True)
    record["peak_mb"] = round(peak_mb("smooth"))
    print(f"peak above features and results: {record['peak_mb']} MB")
    if given.save:
        RESULT.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

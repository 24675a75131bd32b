"""Milliseconds a frame of J and F, masks in memory, against the form of the official code, interleaved in one process.

    python benchmarks/metrics.py [--official FOLDER] [--frames 20] [--rounds 5] [--out FILE]

`--official`: a clone of github.com/davisvideochallenge/davis2017-evaluation, whose own functions are then timed too (they
need OpenCV). Each round calls every form once; the least of the rounds counts, and the processor's time is given beside
the clock's, which other work on the machine stretches. With `$CORRBENCH_DATA`, real DAVIS masks and the results of
three published methods are timed as well.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import davis_per_frame
import numpy as np
import torch
from PIL import Image

from corrbench import provenance
from corrbench.metrics import davis, native

HERE = Path(__file__).parent
PUBLISHED = HERE.parent / "tests" / "golden" / "davis_published"
Scores = tuple[np.ndarray, np.ndarray]
Form = Callable[[np.ndarray, np.ndarray, int], Scores]


def by_path(path: str) -> Form:
    def scores(truth: np.ndarray, found: np.ndarray, objects: int) -> Scores:
        os.environ["CORRBENCH_NATIVE"] = path
        return davis.jaccard_and_boundary(truth, found, objects)

    return scores


def on_gpu(truth: np.ndarray, found: np.ndarray, objects: int) -> Scores:
    """With the copy to the device, which a GPU pipeline does not need."""
    return davis.jaccard_and_boundary(truth, found, objects, device="cuda")


def official(folder: Path) -> Form:
    """The clone's two metric functions, an object at a time as its evaluation calls them."""
    sys.path.insert(0, str(folder))
    import cv2
    from davis2017.metrics import db_eval_boundary, db_eval_iou

    cv2.setNumThreads(1)

    def scores(truth: np.ndarray, found: np.ndarray, objects: int) -> Scores:
        pairs = [(truth == number, found == number) for number in range(1, objects + 1)]
        with np.errstate(invalid="ignore"):
            return (
                np.stack([db_eval_iou(*pair) for pair in pairs]),
                np.stack([db_eval_boundary(*pair) for pair in pairs]),
            )

    return scores


def published(root: Path, method: str) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    for sequence, planes in np.load(PUBLISHED / f"{method}.npz").items():
        files = sorted((root / "DAVIS" / "Annotations" / "480p" / sequence).glob("*.png"))
        truth = np.stack([np.asarray(Image.open(file)) for file in files])
        bits = np.unpackbits(planes, axis=-1)[..., : truth.shape[2]]
        found = np.einsum("pthw,p->thw", bits, 1 << np.arange(len(bits), dtype=np.uint8), dtype=np.uint8)
        truth = davis.single_object(truth) if method.endswith("2016") else truth
        yield truth, found, davis.count_objects(truth[0])


def time_forms(
    forms: dict[str, Form], masks: tuple[np.ndarray, np.ndarray, int], rounds: int
) -> dict[str, list[float]]:
    """Form -> least seconds by the clock and by the processor; all must give the same scores."""
    least = {name: [np.inf, np.inf] for name in forms}
    first: Scores | None = None
    for _ in range(rounds):
        for name, form in forms.items():
            wall, processor = time.perf_counter(), time.process_time()
            scores = form(*masks)
            spent = time.perf_counter() - wall, time.process_time() - processor
            least[name] = [min(*pair) for pair in zip(least[name], spent, strict=True)]
            first = first or scores
            if not all(np.array_equal(a, b) for a, b in zip(first, scores, strict=True)):
                raise ValueError(f"{name} gives other scores than {next(iter(forms))}: the timing is void")
    return least


def row(case: str, frames: int, least: dict[str, list[float]], base: str) -> dict[str, object]:
    return {
        "case": case,
        "frames": frames,
        "ms_a_frame": {name: round(1e3 * wall / frames, 4) for name, (wall, _) in least.items()},
        "processor_ms_a_frame": {name: round(1e3 * spent / frames, 4) for name, (_, spent) in least.items()},
        "ratio": {name: round(least[base][0] / wall, 1) for name, (wall, _) in least.items()},
        "processor_ratio": {name: round(least[base][1] / spent, 1) for name, (_, spent) in least.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", type=Path)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "metrics_cpu.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    base = "per frame"
    forms: dict[str, Form] = {base: davis_per_frame.jaccard_and_boundary, "numpy": by_path("off")}
    os.environ["CORRBENCH_NATIVE"] = "native"
    if native.available():
        forms["compiled"] = by_path("native")
    if torch.cuda.is_available():
        forms["gpu"] = on_gpu
    if given.official:
        base = "davis2017-evaluation"
        forms[base] = official(given.official)
    cases = []
    for objects in (1, 2, 5):
        masks = (*davis_per_frame.made_up_masks(objects, given.frames), objects)
        cases.append(
            row(f"made up, {objects} objects", given.frames, time_forms(forms, masks, given.rounds), base)
        )
        print(json.dumps(cases[-1]))
    if os.environ.get("CORRBENCH_DATA"):
        for method in ("osvos-2017", "stm-2016", "siammask-2016"):
            total: dict[str, list[float]] = {name: [0.0, 0.0] for name in forms}
            frames = 0
            for masks in published(Path(os.environ["CORRBENCH_DATA"]), method):
                frames += len(masks[0])
                for name, spent in time_forms(forms, masks, max(1, given.rounds // 2)).items():
                    total[name] = [a + b for a, b in zip(total[name], spent, strict=True)]
            cases.append(row(f"DAVIS, ten val sequences, {method}", frames, total, base))
            print(json.dumps(cases[-1]))
    result = {
        "what": "J and F, 480 x 854, index masks in memory, one thread; ratios against " + base,
        "machine": provenance.machine(),
        "versions": provenance.versions(),
        "rounds": given.rounds,
        "cases": cases,
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""How much of the writing of predictions is hidden behind the computing of the next sequence.

    python benchmarks/writing.py [--rounds 9] [--save]

Sequences of made-up 480p masks are written as a run writes them, in turn with what stands for computing and behind it
(`pipeline.behind`), interleaved round by round in one process. Computing is waiting, as the CPU does for a GPU: on a CPU
that computes with every core there is nothing to hide behind. The share hidden is (in turn - behind) / (in turn -
computing alone), of all sequences but the last, behind which nothing is computed. --save writes results/writing_cpu.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from heading import heading

from corrbench import pipeline, predictions

RESULT = Path(__file__).parent / "results" / "writing_cpu.json"
SIZE = (480, 854)


def masks(frames: int) -> np.ndarray:
    """Two discs with ragged borders that drift over the background: uint8 (frames, 480, 854)."""
    made = np.zeros((frames, *SIZE), np.uint8)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    for t in range(frames):
        for i, (cy, cx, radius) in enumerate(((150, 250, 90), (320, 600, 130))):
            angle = np.arctan2(y - cy, x - cx - 3 * t)
            ragged = radius + 6 * np.sin(17 * angle) + 3 * np.sin(41 * angle)
            made[t][(y - cy) ** 2 + (x - cx - 3 * t) ** 2 < ragged**2] = i + 1
    return made


def seconds_of(
    compute: Callable[[], None], write: Callable[[Path], object], sequences: int, how: str
) -> float:
    """Seconds of `sequences` sequences, computed and written `in turn`, or each written `behind` the next."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        if how == "behind":
            with pipeline.behind() as give:
                for i in range(sequences):
                    compute()
                    give(partial(write, Path(folder) / str(i)), ExitStack())
        else:
            for i in range(sequences):
                compute()
                write(Path(folder) / str(i))
        return time.perf_counter() - begun


def measure(rounds: int, sequences: int, frames: int, each: float) -> dict[str, Any]:
    """Median seconds by how it is written, and the share of the writing that is hidden."""
    made, names = masks(frames), [f"{t:05d}" for t in range(frames)]

    def write(folder: Path) -> None:
        predictions.write_masks(folder, made, names)

    compute = partial(time.sleep, each)
    times: dict[str, list[float]] = {"in turn": [], "behind": [], "computing": []}
    for _ in range(rounds):
        for how in ("in turn", "behind"):
            times[how].append(seconds_of(compute, write, sequences, how))
        times["computing"].append(seconds_of(compute, lambda folder: None, sequences, "in turn"))
    hidden = [
        (turn - behind) / ((turn - computing) * (sequences - 1) / sequences)
        for turn, behind, computing in zip(*times.values(), strict=True)
    ]
    return {
        "seconds": {how: round(median(t), 4) for how, t in times.items()},
        "share hidden": round(median(hidden), 3),
        "share hidden, lowest and highest round": [round(min(hidden), 3), round(max(hidden), 3)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--compute", type=float, default=0.2, help="seconds of computing a sequence")
    parser.add_argument("--save", action="store_true", help=f"write results/{RESULT.name}")
    given = parser.parse_args()
    record: dict[str, Any] = {
        **heading(__file__),
        "sequences": given.sequences,
        "frames a sequence": given.frames,
        "size": list(SIZE),
        "computing a sequence, seconds": given.compute,
        "rounds": given.rounds,
        **measure(given.rounds, given.sequences, given.frames, given.compute),
    }
    print(json.dumps(record, indent=1))
    if given.save:
        RESULT.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

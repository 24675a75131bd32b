"""J&F on training sequences, for choosing settings: a first label carried on, compared with masks drawn by hand.

    export CORRBENCH_DATA=/data
    python scripts/tuning_frames.py scripts/stt_trials_whitening.py --schedule small
    python scripts/tuning_frames.py methods/mobilenetv2.py methods/lab.py --own-size

What is chosen must not be chosen on the videos of a table, and the synthetic benchmark has other motion and other pictures
than real video. So two or three frames each of the 27 training sequences (DAVIS-train-256 below the data folder; every
other frame is used, of short ones every frame) have a mask in `tuning_masks/`, drawn by hand for this purpose. With a
schedule the ablations of a method file are evaluated too, and stages that are missing are trained. The sequences have been
trained on: the numbers compare settings and are no result.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from corrbench import api, config, provenance
from corrbench.ablation import FULL, changes_of
from corrbench.datasets.roots import find_root
from corrbench.datasets.sequence import Sequence
from corrbench.methods import Clock
from corrbench.metrics import davis
from corrbench.training import cache

TASK = Path(__file__).parents[1] / "tasks" / "synthetic.py"  # any: it says how masks are carried
MASKS = Path(__file__).parent / "tuning_masks"
FOLDER = "DAVIS-train-256"
WHOLE = 40  # frames up to the last mask; of more every other one is used, which halves the time


def main() -> int:
    words = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    words.add_argument("methods", nargs="+", help="method files")
    words.add_argument("--schedule", help="weights trained under it, with each of the file's ablations")
    words.add_argument("--only", metavar="ABLATION", help="of them this one, without the method itself")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--data", type=Path)
    words.add_argument(
        "--own-size", action="store_true", help="frames as they are, 256 pixels high, with half the radius"
    )
    words.add_argument(
        "--held-out",
        action="store_true",
        help="leave out sequences whose folders a variant's last stage names as its videos",
    )
    words.add_argument(
        "--save", type=Path, help="add the rows to this JSON file, by method, variant and size"
    )
    given = words.parse_args()
    rows = []
    for method in given.methods:
        variants = [FULL]
        if given.only:
            variants = [given.only]
        elif given.schedule:
            variants += list(config.load(Path(method), "method").data.get("ablations", {}))
        for variant in variants:
            row = {"method": Path(method).stem, "variant": variant} | evaluate(
                method,
                variant,
                given.schedule,
                given.seed,
                given.data,
                own_size=given.own_size,
                held_out=given.held_out,
            )
            rows.append(row)
            print(f"{row['method']}, {variant}: J&F {row['J&F-Mean']:.2f}", flush=True)
            if given.save:
                save(given.save, rows)
    return 0


def evaluate(
    method: str,
    variant: str,
    schedule: str | None,
    seed: int,
    data: Path | None,
    *,
    own_size: bool = False,
    held_out: bool = False,
) -> dict[str, Any]:
    """J&F in percent of one variant of a method: the mean over sequences of the mean over their labelled frames."""
    file = config.load(Path(method), "method").data
    changes = changes_of(file, variant)
    settings: dict[str, Any] = {"schedule": schedule, "seed": seed, "data": data, "changes": changes}
    planned = api.plan(method, TASK, **settings)
    if planned.to_train:
        api.train(planned)
        planned = api.plan(method, TASK, **settings)
    protocol = planned.protocol
    if own_size:
        protocol = protocol.replace(resize="native", radius=protocol.radius / 2)
    planned.method.prepare(planned.numerics, planned.weights)
    seen: set[str] = set()
    if held_out and schedule:
        last = cache.plan(file, schedule=schedule, changes=changes, seed=seed, root=data, estimate=False)[-1]
        seen = {Path(folder).name for folder in last.settings["dataset"].get("folders", [])}
    scores = {}
    for sequence in sequences(data):
        if sequence.name in seen:
            continue
        prediction = planned.method.predict(sequence, planned.task, protocol, Clock())
        labelled = [t for t, label in enumerate(sequence.labels) if label is not None]
        truth = np.stack([np.asarray(sequence.labels[t]) for t in labelled])
        j, f = davis.jaccard_and_boundary(truth, prediction[labelled], 1)
        scores[sequence.name] = [round(float(x), 2) for x in 50 * (j[0, 1:] + f[0, 1:])]
    return {
        "J&F-Mean": round(float(np.mean([np.mean(s) for s in scores.values()])), 2),
        "protocol": protocol.name + (", own size" if own_size else ""),
        "weights_sha256": planned.weights.sha256,
        "sequences": scores,
    }


def sequences(data: Path | None) -> Iterator[Sequence]:
    """The labelled sequences up to the last label."""
    folders = sorted(p for p in MASKS.iterdir() if p.is_dir())
    root = find_root(FOLDER, data, required=[p.name for p in folders])
    for folder in folders:
        masks = {int(p.stem): p for p in folder.glob("*.png")}
        numbers = range(0, max(masks) + 1, 1 if max(masks) < WHOLE else 2)
        labels = [
            (np.asarray(Image.open(masks[n])) > 0).astype(np.uint8) if n in masks else None for n in numbers
        ]
        frames = tuple(root / folder.name / f"{n:05d}.jpg" for n in numbers)
        yield Sequence(folder.name, frames, labels[0].shape, tuple(labels), ("1",))  # type: ignore[union-attr]


def save(path: Path, rows: list[dict[str, Any]]) -> None:
    """Put `rows` in place of those of the same method, variant and protocol."""
    known = json.loads(path.read_text())["rows"] if path.is_file() else []
    fresh = {_key(r) for r in rows}
    kept = [r for r in known if _key(r) not in fresh]
    about = {
        "what": "J&F on labelled frames of training sequences, for choosing settings; no result",
        "command": "python scripts/tuning_frames.py METHOD [--schedule NAME]",
        "machine": provenance.machine(),
        "rows": kept + rows,
    }
    path.write_text(json.dumps(about, indent=1) + "\n")


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["method"], row["variant"], row["protocol"]


if __name__ == "__main__":
    sys.exit(main())

"""Seconds by stage of DAVIS videos under STT's protocol, on the CPU: as computed here, and in released code's form.

    CORRBENCH_DATA=data python benchmarks/davis_stages.py [--method methods/stt.py] [--threads 2] [--save]

"After" times the package's own functions on every frame, one stage after the other: decoding, features, neighbours, labels
(carried along them), masks (enlarged, argmax), PNG, scoring. "Before" times released code's form of the same stages on a
few frames of each sequence and is extrapolated: decoding, features, masks, PNG and scoring by the number of frames, the
search by the number of pairs of target and context frame. There, carrying labels is part of the search. --compile times the
features through torch.compile as well, compiling included. --save writes results/davis_stages_cpu.json. A figure of one
machine: read the shares, and the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import davis_per_frame
import numpy as np
import released
import torch
import torch.nn.functional as F
from heading import heading
from PIL import Image

from corrbench import api, predictions
from corrbench.backbones.colour import to_input
from corrbench.datasets.davis import DAVIS
from corrbench.datasets.sequence import Sequence
from corrbench.methods import LabelPropagation
from corrbench.pipeline import ahead, cores
from corrbench.propagation import Context, Window, native, neighbours, propagate
from corrbench.protocol import Protocol, preset
from corrbench.tasks.segmentation import VideoObjectSegmentation

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "davis_stages_cpu.json"
STAGES = ("decoding", "features", "neighbours", "labels", "masks", "png", "scoring")
Seconds = dict[str, float]


def timed(seconds: Seconds, stage: str, work: Callable[..., Any], *given: Any) -> Any:
    """What `work(*given)` returns; its seconds are added to `stage`."""
    start = time.perf_counter()
    done = work(*given)
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start
    return done


def after(method: LabelPropagation, protocol: Protocol, sequence: Sequence) -> tuple[Seconds, dict[str, Any]]:
    """Seconds by stage of a whole sequence by the package's functions, and what `before` needs of it."""
    seconds: Seconds = {}
    task = VideoObjectSegmentation(dataset=None)  # type: ignore[arg-type]
    frames = timed(
        seconds,
        "decoding",
        lambda: np.stack(
            list(ahead(sequence.frame, range(len(sequence)), threads=cores(), depth=2 * cores()))
        ),
    )
    decoded = replace(sequence, frames=frames)
    size = method.input_size(sequence, protocol)
    maps = timed(seconds, "features", lambda: method.features(decoded, size))
    window = Window(protocol.mask, protocol.radius, protocol.strict, protocol.first_masked)
    context = Context(protocol.context, protocol.early)
    found = timed(seconds, "neighbours", lambda: neighbours(maps, window, context, protocol.topk or 1))
    first = timed(
        seconds, "labels", lambda: task.encode(sequence, protocol, size, (maps.shape[2], maps.shape[3]))
    )
    soft = timed(
        seconds, "labels", lambda: propagate(found, first, protocol.temperature, stored=protocol.stored)
    )
    masks = timed(seconds, "masks", lambda: task.decode(soft, sequence, protocol, size))
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder) / sequence.name
        timed(seconds, "png", lambda: predictions.write_masks(where, masks, sequence.frame_names))
    timed(seconds, "scoring", lambda: task.score(sequence, masks))
    return seconds, {"frames": frames, "maps": maps, "soft": soft, "masks": masks, "size": size}


def before(
    method: LabelPropagation, protocol: Protocol, sequence: Sequence, made: dict[str, Any], some: int
) -> Seconds:
    """Seconds by stage of a whole sequence in released code's form, extrapolated from `some` frames."""
    seconds: Seconds = {}
    maps, soft, masks, size = made["maps"], made["soft"], made["masks"], made["size"]
    context, total = Context(protocol.context, protocol.early), len(sequence)
    chosen = sorted({int(t) for t in np.linspace(min(protocol.context + 1, total - 1), total - 1, some)})
    hidden = Window(protocol.mask, protocol.radius, protocol.strict, protocol.first_masked).dense(
        *maps.shape[2:]
    )
    objects = int(masks[0].max())
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:

        def features(image: np.ndarray) -> torch.Tensor:
            assert method.backbone is not None
            return method.backbone(to_input(image[None], method.colour, size=size))

        def search(t: int) -> torch.Tensor:
            slots = list(context.of(t))
            keys, known = maps[slots].transpose(0, 1), soft[slots].transpose(0, 1)
            return released.propagate_frame(
                maps[t], keys, known, hidden, temperature=protocol.temperature, topk=protocol.topk or 1
            )

        def write(mask: np.ndarray) -> None:
            Image.fromarray(mask, "P").save(Path(folder) / "mask.png")

        def score(t: int) -> None:
            truth = np.asarray(sequence.label(t))
            davis_per_frame.jaccard_and_boundary(truth[None], masks[t : t + 1], objects)

        for t in chosen:
            timed(seconds, "features", features, timed(seconds, "decoding", _decoded, sequence, t))
            timed(seconds, "neighbours", search, t)
            timed(seconds, "png", write, timed(seconds, "masks", _enlarged, soft[t], sequence.size))
            timed(seconds, "scoring", score, t)
    searched = sum(len(context.of(t)) for t in chosen)
    pairs = sum(len(context.of(t)) for t in range(1, total))
    shares = {stage: total / len(chosen) for stage in seconds} | {"neighbours": pairs / searched}
    return {stage: value * shares[stage] for stage, value in seconds.items()}


def _decoded(sequence: Sequence, t: int) -> np.ndarray:
    return np.array(sequence.frame(t))


def _enlarged(soft_Chw: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    """The index mask of one frame, all classes enlarged at once."""
    return F.interpolate(soft_Chw[None], size=size, mode="bilinear")[0].argmax(0).byte().numpy()


def table(record: dict[str, Any]) -> str:
    """The stages as a Markdown table."""
    rows = ["| stage | released form (extrapolated) | here | times |", "|---|---:|---:|---:|"]
    for stage in (*STAGES, "total"):
        old, new = record["before"].get(stage), record["after"][stage]
        ratio = f"{old / new:.1f}" if old is not None and new else ""
        rows.append(f"| {stage} | {'' if old is None else f'{old:,.1f} s'} | {new:,.1f} s | {ratio} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--method", default=str(ROOT / "methods" / "stt.py"))
    parser.add_argument("--sequences", nargs="*", help="names; default: all that are there")
    parser.add_argument("--most", type=int, help="use the first so many frames of a sequence")
    parser.add_argument("--released-frames", type=int, default=3, help="frames a sequence in released form")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--compile", action="store_true", help="time compiled features as well")
    parser.add_argument("--save", action="store_true", help=f"write results/{RESULT.name}")
    given = parser.parse_args()
    data = os.environ.get("CORRBENCH_DATA")
    if not data:
        parser.error("CORRBENCH_DATA is not set: it names the folder that holds DAVIS")
    torch.set_num_threads(given.threads)
    method = _prepared(given.method)
    quick = _prepared(given.method, compiled=True) if given.compile else None
    compiled: Seconds = {}
    protocol = preset("stt")
    native.available()  # built before anything is timed
    dataset = DAVIS(root=data)
    record: dict[str, Any] = {
        **heading(__file__),
        "method": Path(given.method).stem,
        "threads": given.threads,
        "before_is": f"released form, {given.released_frames} frames a sequence, extrapolated by frames and pairs of frames",
        "sequences": {},
    }
    for name in given.sequences or dataset.names():
        sequence = dataset.load(name)
        if given.most:
            most = given.most
            sequence = replace(sequence, frames=sequence.frames[:most], labels=sequence.labels[:most])
        new, made = after(method, protocol, sequence)
        old = before(method, protocol, sequence, made, given.released_frames)
        record["sequences"][name] = {"frames": len(sequence), "before": old, "after": new}
        if quick is not None:
            decoded = replace(sequence, frames=made["frames"])
            timed(compiled, "features", quick.features, decoded, made["size"])
        print(
            name,
            len(sequence),
            "frames:",
            f"{sum(old.values()):.1f} s, {sum(new.values()):.1f} s",
            flush=True,
        )
    for side in ("before", "after"):
        stages: Seconds = {}
        for row in record["sequences"].values():
            for stage, value in row[side].items():
                stages[stage] = stages.get(stage, 0.0) + value
        record[side] = {**stages, "total": sum(stages.values())}
    print(table(record))
    if quick is not None:
        record["compiled"] = compiled["features"]
        print(f"features compiled, compiling included: {record['compiled']:.1f} s")
    if given.save:
        RESULT.write_text(json.dumps(record, indent=1) + "\n")


def _prepared(file: str, compiled: bool = False) -> LabelPropagation:
    """The method of `file` with the weights that a run would take, and the network that these are of."""
    planned = api.plan(file, ROOT / "tasks" / "synthetic.py", device="cpu", compile=compiled)  # any task
    planned.method.prepare(planned.numerics, planned.weights)
    return planned.method


if __name__ == "__main__":
    main()

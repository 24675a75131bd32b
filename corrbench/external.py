"""Score predictions that somebody else's code wrote, as strictly as our own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from corrbench import __version__, config, plugins, record, runner, summary
from corrbench.plan import build_task, data_label, slug, split_overrides


@dataclass(frozen=True)
class Scores:
    """Numbers of one folder of predictions: whole (percent), and metric -> one value a sequence."""

    name: str
    data: str
    kind: str
    summary: dict[str, float]
    sequences: tuple[str, ...]
    by_sequence: dict[str, np.ndarray]
    rows: list[dict[str, Any]]
    folder: Path | None

    def as_dict(self) -> dict[str, Any]:
        per = {k: [None if np.isnan(x) else float(x) for x in v] for k, v in self.by_sequence.items()}
        return {
            "name": self.name,
            "data": self.data,
            "summary": self.summary,
            "sequences": list(self.sequences),
            "by_sequence": per,
        }


def score(
    predictions: str | Path,
    task: str | Path,
    *,
    data: str | Path | None = None,
    overrides: Sequence[str] = (),
    name: str | None = None,
    out: str | Path | None = None,
) -> Scores:
    """Score the folder `predictions` (`<sequence>/<frame>.png`, or joint tables) on a task's data set.

    Every sequence of the data set has to be there, every frame, every size and id right: nothing is scored on part of
    the data. `ValueError` names the first file that is wrong. With `out`, a record is written there too.
    """
    folder = Path(predictions)
    if not folder.is_dir():
        raise ValueError(
            f"{folder}: there is no such folder; give the folder that holds one folder a sequence"
        )
    plugins.load_all()
    file = config.load(plugins.find("tasks", str(task)), "task")
    task_data = config.override(file.data, split_overrides(overrides)["task"])
    built, _ = build_task(task_data["task"], Path(data) if data is not None else None, sample=False)
    dataset = built.dataset
    # The cheap check of all folders comes first: a missing sequence is said at once, not after minutes of scoring.
    absent = [n for n in dataset.names() if not built.find_prediction(folder, n)]
    if absent:
        raise ValueError(
            f"{folder}: {len(absent)} of {len(dataset.names())} sequences are missing ({', '.join(absent[:5])}"
            f"{', ...' if len(absent) > 5 else ''}); expected one folder a sequence of {dataset.name}"
        )
    rows: list[dict[str, Any]] = []
    frames: list[dict[str, Any]] = []
    for sequence_name in dataset.names():
        sequence = dataset.load(sequence_name)
        prediction = built.read(built.find_prediction(folder, sequence_name), sequence)
        sequence_rows, sequence_frames = built.score(sequence, prediction)
        rows += sequence_rows
        frames += sequence_frames
    columns = runner.columns(rows)
    numbers = {k: float(v) for k, v in summary.summarise(built.kind, columns).items() if not np.isnan(v)}
    names, per = summary.per_sequence(built.kind, columns)
    label = name or folder.resolve().name
    written = None
    if out is not None:
        written = Path(out) / file.name / f"{slug(label)}-external-{dataset.digest()[:12]}"
        record.write(
            written, _describe(label, file, built, numbers), {"scores.csv": rows, "frames.csv": frames}
        )
    return Scores(label, data_label(dataset), built.kind, numbers, names, per, rows, written)


def _describe(label: str, file: config.PluginFile, task: Any, numbers: dict[str, float]) -> dict[str, Any]:
    """`record.json` of predictions whose making is not known: it says so wherever a run would say how."""
    dataset = task.dataset
    signature = "|".join(
        [
            f"{data_label(dataset)}@{dataset.digest()[:8]}",
            f"{file.name}.{task.kind}.v{task.version}",
            f"{label}@external",
            "protocol:unknown",
            f"corrbench:{__version__}",
        ]
    )
    return {
        "key": config.digest({"external": label, "data": dataset.digest(), "numbers": numbers}),
        "signature": signature,
        "method": {"name": label, "title": f"{label} (predictions from elsewhere)", "digest": "external"},
        "task": {"name": file.name, "title": file.title, "kind": task.kind, "version": task.version},
        "protocol": {"name": "external", "version": 0, "signature": "unknown", "settings": {}},
        "dataset": runner.describe_dataset(dataset),
        "numerics": {},
        "summary": numbers,
        "cost": {"seconds": 0.0, "stages": {}, "frames": 0, "frames_per_second": 0.0, "peak_memory_mib": 0.0},
    }

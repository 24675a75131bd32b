"""Which sequences are shown, and where their frames and predictions come from."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from corrbench import scores as sc
from corrbench.record import Record
from corrbench.reporting.model import Film
from corrbench.reporting.run import Run

Source = Callable[
    [Record], Any
]  # the data set that a record was scored on, or a ValueError that says why not
CHOICES = ("all", "synthetic", "none")


def films(runs: Sequence[Run], overlays: str, source: Source) -> tuple[tuple[Film, ...], tuple[str, ...]]:
    """The best and the worst sequence of each run, and a line for each run that cannot be shown, saying why.

    `overlays`: `all`; `synthetic`, only rendered data, so that the report can be passed on freely; `none`.
    """
    if overlays not in CHOICES:
        raise ValueError(f"overlays={overlays!r}: expected {', '.join(CHOICES)}")
    made, notes = [], []
    for run in runs:
        if overlays == "none":
            continue
        if overlays == "synthetic" and not run.record.dataset["synthetic"]:
            notes.append(
                f"{run.record.dataset['name']} is not free data: this report holds none of its pixels."
            )
            continue
        try:
            dataset = source(run.record)
            for name, words in picked(run):
                made.append(_film(run, dataset.load(name), name, words))
        except (ValueError, OSError) as error:
            notes.append(f"No overlay of {run.label}: {error}")
    return tuple(made), tuple(dict.fromkeys(notes))


def picked(run: Run) -> list[tuple[str, str]]:
    """The best and the worst sequence by the headline number, with words that say so."""
    known = {
        name: value
        for name, value in zip(run.scores.names, run.by_sequence, strict=True)
        if not math.isnan(value)
    }
    if not known:
        return []
    best, worst = max(known, key=lambda n: known[n]), min(known, key=lambda n: known[n])
    chosen = {best: "best sequence"} | ({worst: "worst sequence"} if worst != best else {})
    return [(name, f"{words}, {run.scores.metric} {known[name]:.1f}") for name, words in chosen.items()]


def datasets(data: Path | None = None) -> Source:
    """Data sets as the records' own settings describe them, each built and checked once.

    `ValueError` where the frames are not here, or are others than those that were scored.
    """
    built: dict[str, Any] = {}

    def source(record: Record) -> Any:
        config = dict(record.data.get("resolved", {}).get("task", {}).get("dataset") or {})
        if not config:
            raise ValueError("its record does not say which data set was loaded")
        if data is not None and not record.dataset["synthetic"]:
            config["root"] = str(data)
        key = json.dumps([config, record.dataset["synthetic"]], sort_keys=True, default=str)
        if key not in built:
            built[key] = _build(config, record)
        found = built[key]
        if found.digest() != record.dataset["digest"]:
            raise ValueError(
                f"the {record.dataset['name']} here is not the one that was scored (other digest)"
            )
        return found

    return source


def _build(config: dict[str, Any], record: Record) -> Any:
    from corrbench.registry import DATASETS, build

    if record.dataset["synthetic"] and config.get("type") != "Synthetic":
        from corrbench.datasets import synthetic_config

        config = dict(synthetic_config(config))
    return build(DATASETS, config)


def _film(run: Run, sequence: Any, name: str, words: str) -> Film:
    from corrbench.reporting import overlays

    prediction = _prediction(run.record, sequence, name)
    strip, frames, size = overlays.strip(sequence, prediction)
    extent = sc.extent(run.record)
    return Film(
        slug=re.sub(r"[^A-Za-z0-9-]+", "-", f"film-{run.slug}-{name}"),
        caption=f"{run.label}: {name}, {words} ({extent})",
        alt=f"Frames of {name} with what {run.label} predicts drawn over them",
        stills=overlays.stills(sequence, prediction),
        strip=strip,
        frames=frames,
        size=size,
        signature=run.record.signature,
        link=run.link,
    )


def _prediction(record: Record, sequence: Any, name: str) -> np.ndarray:
    from corrbench import predictions

    folder = record.folder / "predictions" / name
    if not folder.is_dir():
        raise ValueError(f"its record keeps no predictions ({folder})")
    if record.kind == "pose":
        return predictions.read_joints(folder, len(sequence), sequence.objects)
    return predictions.read_masks(folder, sequence.frame_names, sequence.size, max_id=255)

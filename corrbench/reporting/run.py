"""A record prepared for a report: its tables read once, its numbers by sequence and by frame, its label
and link.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from corrbench import scores as sc
from corrbench import statistics as st
from corrbench.effects import protocol_labels
from corrbench.record import Record
from corrbench.summary import summarise

RESAMPLES = 2000
COLUMNS = {
    "vos": ("J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay"),
    "pose": (
        "PCK@0.1",
        "PCK@0.2",
        "PCK@0.1 (no frame 0)",
        "PCK@0.2 (no frame 0)",
        "PCK@0.1 (lost = miss)",
        "lost",
    ),
    "parts": ("mIoU", "mIoU (no frame 0)"),
}
FEW = {"vos": ("J&F-Mean", "J-Mean", "F-Mean"), "pose": ("PCK@0.1", "PCK@0.2"), "parts": ("mIoU",)}
HIT = 0.1  # a pose's per-frame curve is the share of joints within this


def alone(cost: Mapping[str, Any], name: str) -> float | None:
    """A cost of a run that made its own features; None for one of a sweep, which shared them with others."""
    return None if cost.get("shared") else cost.get(name)


@dataclass(frozen=True)
class Run:
    """A record with what a report shows of it."""

    record: Record
    scores: sc.Scores
    by_sequence: np.ndarray  # (S,) of the headline number
    interval: tuple[float, float] | None
    protocol: str
    label: str
    link: str
    backbone: str

    @property
    def slug(self) -> str:
        return re.sub(r"[^A-Za-z0-9]+", "-", f"{self.record.method['name']}-{self.record.key[:8]}")

    @property
    def value(self) -> float:
        """The headline number on all sequences."""
        return self.record.summary[self.scores.metric]

    def table(self) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
        """Numbers of single sequences: sequence names, and the task's columns (S,)."""
        all_values = summarise(self.record.kind, self.scores.table, np.eye(len(self.scores.names)))
        return self.scores.names, {
            k: np.asarray(all_values[k]) for k in COLUMNS[self.record.kind] if k in all_values
        }


def few(run: Run) -> tuple[str, ...]:
    """The task's main numbers, the one that the field quotes first at the front."""
    head = run.scores.metric
    return (head, *(metric for metric in FEW[run.record.kind] if metric != head))


def make(records: Sequence[Record], links: Sequence[str]) -> list[Run]:
    """Runs of records, in their order; `links` lead from the report to each record."""
    protocols = protocol_labels(records)
    weights: dict[int, np.ndarray] = {}
    runs = []
    for record, protocol, link in zip(records, protocols, links, strict=True):
        scores = sc.of(record)
        size = len(scores.names)
        ends = None
        if size > 1:
            weights.setdefault(size, st.resamples(size, RESAMPLES))
            estimates = scores(weights[size])
            known = estimates[~np.isnan(estimates)]
            ends = st.percentile(known) if len(known) else None
        runs.append(
            Run(
                record,
                scores,
                scores.by_sequence(),
                ends,
                protocol,
                record.method["name"],
                link,
                sc.backbone(record),
            )
        )
    return runs


def by_task(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs by task and data: one page each. The name carries the data where one task was run on several."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.record.task["name"], run.record.dataset["digest"]), []).append(run)
    several = {name for name, _ in groups if sum(other == name for other, _ in groups) > 1}
    return {
        f"{task} · {sc.extent(found[0].record)}" if task in several else task: found
        for (task, _), found in groups.items()
    }


def by_conditions(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that differ in the method alone, best first; the largest group first."""
    groups: dict[tuple[object, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(sc.group_key(run.record), []).append(run)
    ordered = sorted(groups.values(), key=lambda group: -len({run.label for run in group}))
    return [sorted(group, key=lambda run: -_finite(run.value)) for group in ordered]


def one_a_method(runs: Sequence[Run]) -> list[Run]:
    """One run of each method: of the conditions that most methods share, and there of the lowest seed.

    Never the best of several seeds: that would favour the method that was run more often. In order of score.
    """
    found: dict[str, Run] = {}
    for group in by_conditions(runs):
        for run in sorted(group, key=lambda run: (run.record.data.get("seed") or 0, run.record.key)):
            found.setdefault(run.label, run)
    return sorted(found.values(), key=lambda run: -_finite(run.value))


def curves(run: Run) -> dict[str, np.ndarray]:
    """Per-frame values in percent by sequence: J&F, or the share of joints within 0.1; empty where there
    are none.
    """
    frames = run.record.frames()
    if frames is None:
        return {}
    if run.record.kind == "vos":
        values = 50 * (frames["J"] + frames["F"])
    else:
        values = np.where(np.isnan(frames["distance"]), np.nan, 100.0 * (frames["distance"] <= HIT))
    found = {}
    for name in dict.fromkeys(frames["sequence"].tolist()):
        mine = frames["sequence"] == name
        order = {frame: i for i, frame in enumerate(dict.fromkeys(frames["frame"][mine].tolist()))}
        place = np.array([order[frame] for frame in frames["frame"][mine].tolist()])
        known = ~np.isnan(values[mine])
        counts = np.bincount(place[known], minlength=place.max() + 1)
        sums = np.bincount(place[known], weights=values[mine][known], minlength=place.max() + 1)
        if counts.any():
            found[str(name)] = sums[counts > 0] / counts[counts > 0]
    return found


def _finite(value: float) -> float:
    return value if value == value else -np.inf

"""A page a task and data set: the scores with what lies behind them, speed, curves, joints or classes,
overlays.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from corrbench import published as pub
from corrbench import scores as sc
from corrbench.published import Published
from corrbench.reporting import joints, plots
from corrbench.reporting.leaderboard import conditions, interval_cell, measured
from corrbench.reporting.model import (
    Cell,
    Column,
    Detail,
    Film,
    Group,
    Item,
    Page,
    Plot,
    Row,
    Section,
    Table,
    number,
    text,
)
from corrbench.reporting.run import COLUMNS, Run, alone, by_conditions, curves, one_a_method
from corrbench.reporting.tables_published import published_table

PANELS = 20  # at most so many sequences in one plot of curves
LINES = 7  # and so many methods


def page(
    title: str,
    runs: Sequence[Run],
    films: Sequence[Film],
    notes: Sequence[str],
    published: Sequence[Published],
) -> Page:
    """The page of one task on one data set."""
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    kind = runs[0].record.kind
    sections = [Section(f"{slug}-scores", "Scores", (scores_table(slug, runs),), (_about(runs[0]),))]
    beside = _published(runs, published, slug)
    if beside is not None:
        sections.append(Section(f"{slug}-published", "Published numbers", (beside,)))
    items: list[Item] = []
    first = one_a_method(runs)
    if len(first) > 1:
        items.append(_speed(slug, first))
    drawn = _curves(slug, first)
    if drawn is not None:
        items.append(drawn)
    if items:
        sections.append(Section(f"{slug}-plots", "Speed, and quality over time", tuple(items)))
    if kind == "pose":
        sections.append(joints.joint_section(slug, first))
    if kind == "parts":
        sections.append(joints.class_section(slug, first))
    if films or notes:
        words = ("Filled: predicted; white line: annotated.",) if kind != "pose" else (
            "Dots: predicted joints (left orange, right blue); white rings: annotated, a line joins the two.",
        )  # fmt: skip
        sections.append(
            Section(
                f"{slug}-overlays", "Best and worst sequence of each method", tuple(films), (*words, *notes)
            )
        )
    return Page(slug, title, tuple(sections))


def scores_table(slug: str, runs: Sequence[Run]) -> Table:
    """All numbers of all records; every row opens to its sequences."""
    kind = runs[0].record.kind
    present = [m for m in COLUMNS[kind] if any(m in run.record.summary for run in runs)]
    columns = (
        Column("method"),
        Column("protocol"),
        *(Column(m, True, "lower is better" if not sc.higher_is_better(m) else "") for m in present),
        Column("95 % interval", True, f"of {runs[0].scores.metric}, bootstrap over sequences"),
        Column("frames/s", True),
        Column("seconds", True),
        Column("peak MiB", True),
    )
    groups = []
    for group in by_conditions(runs):
        best = {
            metric: _best([run.record.summary.get(metric, math.nan) for run in group], metric)
            for metric in present
        }
        rows = tuple(_row(run, present, best if len(group) > 1 else {}) for run in group)
        groups.append(Group(rows, *conditions(group[0])))
    note = "Bold: best of its group. " + "; ".join(f"{c.title}: {c.note}" for c in columns if c.note)
    return Table(
        f"{slug}-scores",
        f"{runs[0].record.task['name']}, {sc.extent(runs[0].record)}",
        columns,
        tuple(groups),
        note,
    )


def detail(run: Run) -> Detail:
    """What opens below a row: every sequence's numbers, and its curve over frames."""
    names, values = run.table()
    lines = curves(run)
    rows: list[tuple[str | float | None, ...]] = []
    found: list[tuple[float, ...] | None] = []
    for i, name in enumerate(names):
        numbers = (round(float(column[i]), 1) for column in values.values())
        rows.append((name, *(None if math.isnan(v) else v for v in numbers)))
        line = lines.get(name)
        found.append(None if line is None else tuple(round(float(v)) for v in line))
    return Detail(("sequence", *values), tuple(rows), tuple(found) if lines else ())


def _row(run: Run, metrics: Sequence[str], best: dict[str, float | None]) -> Row:
    cost, record = run.record.cost, run.record
    same: dict[str, Any] = {"signature": record.signature, "link": run.link}
    cells = (
        Cell(run.label, run.label, signature=record.method.get("title") or "", link=run.link),
        text(run.protocol),
        *(measured(run, m, strong=m in best and record.summary.get(m) == best[m]) for m in metrics),
        interval_cell(run),
        number(alone(cost, "frames_per_second"), 1, **same),
        number(alone(cost, "seconds"), 1, **same),
        number(cost.get("peak_memory_mib"), 0, **same),
    )
    tags = {"protocol": record.protocol["name"], "backbone": run.backbone}
    return Row(cells, detail(run), tags)


def _best(values: Sequence[float], metric: str) -> float | None:
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return None
    return max(known) if sc.higher_is_better(metric) else min(known)


def _about(run: Run) -> str:
    data = run.record.dataset
    words = f"Data: {sc.extent(run.record)}. Licence: {data.get('licence') or 'not stated'}."
    if data["synthetic"]:
        words += " Synthetic: rendered on this machine; its numbers say nothing about real video."
    elif data["sequences"] != data["official"]:
        words += " A part of the official list: not comparable with numbers on the whole."
    return words


def _published(runs: Sequence[Run], published: Sequence[Published], slug: str) -> Table | None:
    """Published numbers of the same data, or None where ours were measured on other data."""
    from corrbench.reproduction import same_dataset

    whole = [run.record for run in runs if sc.complete(run.record)]
    if not whole:
        return None
    names = {row.dataset for row in published if same_dataset(whole[0], row.dataset)}
    rows = [row for name in names for row in pub.on(published, name)]
    return published_table(rows, whole[0].dataset["name"], f"{slug}-published") if rows else None


def _speed(slug: str, runs: Sequence[Run]) -> Plot:
    metric = runs[0].scores.metric
    points = [
        (run.label, float(run.record.cost["frames_per_second"]), run.value)
        for run in runs
        if alone(run.record.cost, "frames_per_second") and not math.isnan(run.value)
    ]
    machines = dict.fromkeys(_machine(run) for run in runs)
    extent = sc.extent(runs[0].record)
    return Plot(
        f"{slug}-speed",
        f"{metric} against speed, {extent}. Measured on {'; '.join(machines)}.",
        "Scatter plot of score against frames per second, a point a method: "
        + ", ".join(f"{label} {score:.1f} at {speed:.1f} frames/s" for label, speed, score in points),
        plots.scatter(points, metric, f"{slug}-speed"),
    )


def _machine(run: Run) -> str:
    machine = run.record.data.get("machine") or {}
    if machine.get("gpu"):
        return str(machine["gpu"])
    cores = f", {machine['cores']} cores" if machine.get("cores") else ""
    return f"{machine.get('cpu') or 'a machine that the record does not name'}{cores}"


def _curves(slug: str, runs: Sequence[Run]) -> Plot | None:
    """Small multiples of the per-frame numbers of the best methods."""
    shown = list(runs)[:LINES]  # they come in order of score
    lines = {run.label: curves(run) for run in shown}
    sequences = [name for name in shown[0].scores.names if any(name in found for found in lines.values())]
    if not sequences:
        return None
    spread = {
        name: np.ptp([np.mean(found[name]) for found in lines.values() if name in found])
        for name in sequences
    }
    kept = sorted(sorted(sequences, key=lambda name: -spread[name])[:PANELS])
    panels = {
        name: {label: found[name].tolist() for label, found in lines.items() if name in found}
        for name in kept
    }
    what = "J&F" if runs[0].record.kind == "vos" else "joints within 0.1 (%)"
    words = f"{what} frame by frame, {sc.extent(runs[0].record)}"
    words += (
        f"; the {len(kept)} sequences of {len(sequences)} on which methods differ most"
        if len(kept) < len(sequences)
        else ""
    )
    words += f"; the {LINES} best of {len(runs)} methods" if len(shown) < len(runs) else ""
    return Plot(
        f"{slug}-curves",
        f"{words}.",
        f"Line plots of {what} over time, a panel a sequence, a line a method",
        plots.curves(panels, what, f"{slug}-curves"),
        wide=True,
    )

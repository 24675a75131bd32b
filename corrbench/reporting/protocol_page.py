"""Method or protocol? Methods x protocols, what explains the scores, and what each switch does."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from corrbench import scores as sc
from corrbench.effects import (
    Grid,
    Source,
    Stability,
    changed_presets,
    explain,
    grid,
    moving,
    presets_only,
    stability,
)
from corrbench.reporting import findings
from corrbench.reporting import plots_protocol as plots
from corrbench.reporting.model import (
    Cell,
    Column,
    Group,
    Item,
    Page,
    Plot,
    Row,
    Section,
    Table,
    interval,
    number,
    text,
)
from corrbench.reporting.run import Run, by_task
from corrbench.switches import Effect, main_effects, series

AGREEMENTS = 15  # pairs of protocols in a table


Lines = dict[str, list[tuple[float, float]]]
UNITS = {
    "context": "context frames", "radius": "radius of the mask, cells", "topk": "top-k", "temperature": "temperature",
}  # fmt: skip


def page(runs: Sequence[Run]) -> Page | None:
    """The page of all tasks that were run under several protocols; None where there is none."""
    sections = [section for name, found in by_task(runs).items() for section in _sections(name, found)]
    return Page("protocols", "Method or protocol?", tuple(sections)) if sections else None


def _sections(name: str, runs: Sequence[Run]) -> list[Section]:
    runs = [run for run in runs if not math.isnan(run.value)]
    if len({run.protocol for run in runs}) < 2 or len(runs[0].scores.names) < 2:
        return []
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + "-protocols"
    records = [run.record for run in runs]
    extent = sc.extent(records[0])
    sections = []
    try:
        found = grid(presets_only(records))
    except ValueError:
        found = None  # fewer than 2 x 2: there is nothing to decompose, the switches below may still vary
    if found is not None:
        links = {run.record.folder: run.link for run in runs}
        words = [
            f"{len(found.methods)} methods under {len(found.protocols)} protocols, {found.metric}, {extent}. "
            "Every column is a protocol of its own; its signature is on every number."
        ]
        if found.left_out:
            words.append(f"Left out, because not every method was run with it: {', '.join(found.left_out)}.")
        changed = changed_presets(found)
        if changed:
            words.append(f"Not as their released code has them: {'; '.join(changed)}.")
        items: list[Item] = [grid_table(found, links, slug, extent), *_pictures(found, slug, extent)]
        everything, found = found, moving(found)
        still = [f"`{name}`" for name in everything.methods if name not in found.methods]
        if still:
            words.append(
                f"Text and everything below the plots leave out {', '.join(still)}, which no protocol moves."
            )
        pairs = stability(found)
        single, table = explain(found)
        answer, *why = findings.of_grid(found, pairs, single, table)
        words = [answer, " ".join(words), *why]
        items += [best_table(found, slug, extent), stability_table(pairs, slug, extent)]
        items += [
            share_table(single, table, slug, extent),
            Plot(
                f"{slug}-shares",
                f"What explains {found.metric}, {extent}: shares of variance. Above: of the numbers of single sequences; "
                "below: of the table's numbers, with 95 % intervals over sequences.",
                "Bars: share of the sum of squares of each source",
                plots.shares(single, table, f"{slug}-shares"),
            ),
        ]
        sections.append(Section(slug, f"{name}: methods and protocols", tuple(items), tuple(words)))
    switched = main_effects(records)
    if switched:
        lines = series(records)
        sections.append(_switches(name, slug, switched, lines, sc.headline(records[0]), extent))
    return sections


def grid_table(found: Grid, links: dict[Path, str], slug: str, extent: str) -> Table:
    """Methods in rows, protocols in columns; the best of a column in bold."""
    values = found.values()[0]
    rows = []
    for i in np.argsort(-values.mean(axis=1)):
        cells = [
            number(
                float(values[i, j]), signature=found.records[i][j].signature, link=links.get(found.records[i][j].folder, ""),
                strong=bool(values[i, j] == values[:, j].max()),
            )
            for j in range(len(found.protocols))
        ]  # fmt: skip
        rows.append(Row((text(found.methods[i]), *cells, number(float(np.ptp(values[i]))))))
    columns = (
        Column("method"),
        *(Column(name, True) for name in found.protocols),
        Column("spread", True, "highest less lowest"),
    )
    note = "Bold: best of its protocol; spread: highest less lowest protocol of a method."
    return Table(
        f"{slug}-grid",
        f"{found.metric} by method and protocol, {extent}",
        columns,
        (Group(tuple(rows)),),
        note,
    )


def best_table(found: Grid, slug: str, extent: str) -> Table:
    """Every method's kindest and harshest protocol."""
    values = found.values()[0]
    rows = [
        Row(
            (
                text(found.methods[i]),
                text(found.protocols[int(values[i].argmax())]),
                number(float(values[i].max())),
                text(found.protocols[int(values[i].argmin())]),
                number(float(values[i].min())),
            )
        )
        for i in np.argsort(-values.max(axis=1))
    ]
    columns = (
        Column("method"),
        Column("kindest protocol"),
        Column("score", True),
        Column("harshest protocol"),
        Column("score ", True),
    )
    return Table(
        f"{slug}-best",
        f"Kindest and harshest protocol of each method, {found.metric}, {extent}",
        columns,
        (Group(tuple(rows)),),
    )


def stability_table(pairs: Sequence[Stability], slug: str, extent: str) -> Table:
    """Kendall's tau between protocols and the share of method pairs that change order, least agreement
    first.
    """
    rows = tuple(
        Row((text(p.a), text(p.b), number(p.tau, 2), Cell(f"{100 * p.changed:.0f} %", p.changed)))
        for p in sorted(pairs, key=lambda p: p.tau)[:AGREEMENTS]
    )
    columns = (
        Column("protocol"),
        Column("protocol "),
        Column("Kendall's tau-b", True, "1: the methods rank alike; 0: no relation; −1: reversed"),
        Column("pairs that change order", True),
    )
    note = f"The {AGREEMENTS} pairs of {len(pairs)} that agree least." if len(pairs) > AGREEMENTS else ""
    return Table(
        f"{slug}-order", f"Do protocols rank the methods alike? {extent}", columns, (Group(rows),), note
    )


def share_table(single: Sequence[Source], table: Sequence[Source], slug: str, extent: str) -> Table:
    """Both decompositions, one group each."""
    columns = (
        Column("source"),
        Column("degrees of freedom", True),
        Column("share, %", True),
        Column("95 % interval", True),
        Column(
            "sd, points",
            True,
            "square root of the variance component, all factors random; 0 where the estimate is negative",
        ),
    )
    groups = [
        Group(
            tuple(_share_row(s) for s in single),
            "numbers of single sequences (one a cell; the last source is also the residual)",
        ),
        Group(
            tuple(_share_row(s) for s in table),
            "numbers of the table (all sequences summed up; interval: bootstrap over sequences)",
        ),
    ]
    return Table(
        f"{slug}-variance",
        f"What explains the score, {extent}",
        columns,
        tuple(groups),
        f"sd: {columns[-1].note}",
    )


def _share_row(source: Source) -> Row:
    ends = source.interval
    return Row(
        (
            text(source.name),
            number(source.degrees, 0),
            number(100 * source.share),
            interval(100 * ends[0], 100 * ends[1]) if ends else Cell("–"),
            number(source.component**0.5),
        )
    )


def _pictures(found: Grid, slug: str, extent: str) -> list[Item]:
    wide = len(found.protocols) > 8
    return [
        Plot(
            f"{slug}-heat",
            f"{found.metric} by method and protocol, {extent}.",
            "Heat map of the table above, light is high",
            plots.heat_map(found, f"{slug}-heat"),
            wide,
        ),
        Plot(
            f"{slug}-ranks",
            f"Rank of each method under each protocol, {extent}; lines that cross change order.",
            "Rank of every method under every protocol, a line a method",
            plots.bump(found, f"{slug}-ranks"),
            wide,
        ),
    ]


def _switches(
    name: str, slug: str, found: Sequence[Effect], lines: Mapping[str, Lines], metric: str, extent: str
) -> Section:
    columns = (
        Column("switch"),
        Column("value"),
        Column("against"),
        Column("difference", True, "mean over pairs of records that differ in this switch alone"),
        Column("95 % interval", True, "paired bootstrap over sequences"),
        Column("pairs", True),
    )
    rows = tuple(
        Row(
            (
                text(e.switch),
                text(e.level),
                text(e.reference),
                number(e.difference, sign=True, strong=not e.interval[0] <= 0 <= e.interval[1]),
                interval(*e.interval, sign=True),
                number(e.cells, 0),
            )
        )
        for e in found
    )
    note = "; ".join(f"{column.title}: {column.note}" for column in columns if column.note)
    table = Table(
        f"{slug}-switches", f"One switch at a time, {metric}, {extent}", columns, (Group(rows),), note
    )
    plot = Plot(
        f"{slug}-effects",
        f"What each switch does to {metric}, in brackets against which value, mean over methods with 95 % intervals over "
        f"sequences, {extent}.",
        "Point and interval for each value of each switch; the table beside it has the numbers",
        plots.effects(found, metric, f"{slug}-effects"),
        wide=True,
    )
    drawn = [
        Plot(
            f"{slug}-{setting}",
            f"{metric} over {UNITS[setting]}, everything else fixed, {extent}.",
            f"A line a method: {metric} for each value of {setting}",
            plots.lines(points, UNITS[setting], metric, f"{slug}-{setting}"),
        )
        for setting, points in lines.items()
    ]
    words = findings.of_switches(found, metric)
    return Section(f"{slug}-switches", f"{name}: one switch at a time", (plot, *drawn, table), words)

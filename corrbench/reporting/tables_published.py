"""Published numbers, verdicts on them, and the literature's own contradictions, as tables of the data
model.
"""

from __future__ import annotations

from collections.abc import Sequence

from corrbench import published as pub
from corrbench.published import Published
from corrbench.reporting.model import Cell, Column, Group, Row, Table, interval, number, text
from corrbench.reproduction import Verdict


def published_table(rows: Sequence[Published], dataset: str, slug: str) -> Table:
    """Published numbers of one data set, a row per method and source, metrics in columns of their own."""
    metrics = list(dict.fromkeys(row.metric for row in rows))
    places: dict[tuple[str, ...], dict[str, Published]] = {}
    for row in rows:
        places.setdefault(row.place, {})[row.metric] = row
    columns = (
        Column("method (published)"),
        Column("variant"),
        Column("backbone"),
        Column("stride"),
        *(Column(f"{metric} (published)", True) for metric in metrics),
        Column("source"),
        Column("seen", note="direct: printed by its own authors; second-hand: as another paper reports it"),
    )
    made = []
    for found in places.values():
        first = next(iter(found.values()))
        cells = [text(first.method), text(first.variant), text(first.backbone), text(first.stride)]
        for metric in metrics:
            own = found.get(metric)
            cells.append(number(own.value if own else None, signature=_origin(own) if own else ""))
        cells += [text(first.source), text(first.seen)]
        made.append(Row(tuple(cells)))
    head = 4 + (metrics.index("J&F-Mean") if "J&F-Mean" in metrics else 0)
    made.sort(key=lambda row: -value if isinstance(value := row.cells[head].value, float) else 1.0)
    note = "Published numbers, copied from the sources named; none was measured here, and their protocols differ."
    return Table(slug, f"Published on {dataset}", columns, (Group(tuple(made)),), note)


def verdict_table(found: Sequence[Verdict], slug: str = "verdicts") -> Table:
    """Published against measured, a row per number."""
    columns = (
        Column("method"),
        Column("data"),
        Column("metric"),
        Column("published", True),
        Column("measured", True),
        Column("difference", True),
        Column("95 % interval", True, "ours, bootstrap over sequences"),
        Column(
            "tolerance",
            True,
            "rounding of the published number, and the spread of runs where there are several",
        ),
        Column("verdict"),
        Column("why"),
        Column("source"),
    )
    rows = tuple(
        Row(
            (
                text(
                    f"{v.published.method} {v.published.variant}, {v.published.backbone}, stride {v.published.stride}"
                ),
                text(v.published.dataset),
                text(v.published.metric),
                number(v.published.value, signature=_origin(v.published)),
                number(v.measured, signature=v.signature, link=v.link),
                number(v.difference, sign=True),
                interval(v.low, v.high) if v.low is not None and v.high is not None else Cell("–"),
                number(v.tolerance, 2),
                Cell(v.verdict, v.verdict, strong=v.verdict != "cannot tell"),
                text(v.why),
                text(f"{v.published.source} ({v.published.seen})"),
            )
        )
        for v in found
    )
    note = "; ".join(f"{column.title}: {column.note}" for column in columns if column.note)
    return Table(slug, "Published against measured", columns, (Group(rows),), note)


def contradiction_tables(rows: Sequence[Published], least: float = 1.0) -> list[Table]:
    """J&F that is not the mean of J and F; and one method with several published values."""
    tables = []
    flagged = [row for row in rows if row.flag]
    if flagged:
        names = ("method", "variant", "data", "J&F-Mean", "what is odd", "source")
        titled = tuple(Column(name, name == "J&F-Mean") for name in names)
        made = tuple(
            Row(
                (
                    text(r.method),
                    text(r.variant),
                    text(r.dataset),
                    number(r.value),
                    text(r.flag),
                    text(r.source),
                )
            )
            for r in flagged
        )
        tables.append(
            Table("flagged", "Published J&F that contradicts its own J and F", titled, (Group(made),))
        )
    differing = pub.contradictions(rows, least)
    if differing:
        columns = (
            Column("method"),
            Column("backbone"),
            Column("stride"),
            Column("data"),
            Column("metric"),
            Column("spread", True, "points between the lowest and the highest"),
            Column("published values"),
        )
        made = tuple(
            Row(
                (
                    text(c.method),
                    text(c.backbone),
                    text(c.stride),
                    text(c.dataset),
                    text(c.metric),
                    number(c.spread),
                    text("; ".join(f"{value:g} ({variant})" for value, variant, _ in c.values)),
                )
            )
            for c in differing
        )
        caption = f"One method, several published values, more than {least:g} point{'s' if least != 1 else ''} apart"
        note = "Variants, protocols, re-runs and slips look alike from outside; each value's variant stands by it."
        tables.append(Table("contradictions", caption, columns, (Group(made),), note))
    return tables


def _origin(row: Published) -> str:
    words = f"published: {row.source} ({pub.SEEN[row.seen]}); {row.variant}"
    return f"{words}; {row.flag}" if row.flag else words

"""Comparisons, gates and reproduction verdicts as tables of the data model."""

from __future__ import annotations

from corrbench.comparison import Comparison
from corrbench.gate import Gate
from corrbench.reporting.model import Cell, Column, Group, Row, Table, interval, number, p_value, text


def scores_table(found: Comparison, slug: str = "scores") -> Table:
    """The compared methods' own values with their intervals."""
    columns = (
        Column("method"),
        Column(found.metric, True),
        Column("95 % interval", True, "percentile bootstrap over sequences"),
    )
    order = sorted(range(len(found.labels)), key=lambda i: -found.values[i])
    rows = tuple(
        Row(
            (
                text(found.labels[i]),
                number(found.values[i], signature=found.signatures[i]),
                interval(*found.intervals[i]),
            )
        )
        for i in order
    )
    return Table(slug, f"{found.metric}, {found.extent}", columns, (Group(rows),))


def pairs_table(found: Comparison, slug: str = "pairs", conditions: tuple[str, str] = ("", "")) -> Table:
    """A row per pair: difference, interval, p-values, smallest detectable difference, sequences won."""
    columns = (
        Column("A"),
        Column("B"),
        Column("A − B", True, "points"),
        Column("95 % interval", True, "BCa, paired bootstrap over sequences"),
        Column("p", True, "paired permutation of the two methods' results, sequence by sequence"),
        Column("p (Holm)", True, "corrected for all pairs of this table"),
        Column("detectable", True, "smallest true difference this data would show with 80 % power"),
        Column("A higher on", True, "sequences on which A scores higher"),
        Column("difference"),
    )
    rows = tuple(
        Row(
            (
                text(pair.a),
                text(pair.b),
                number(pair.difference, sign=True, strong=pair.p_holm <= 0.05),
                interval(*pair.bca, sign=True),
                p_value(pair.p),
                p_value(pair.p_holm),
                number(pair.smallest),
                Cell(f"{row['a_higher_on']} of {len(found.names)}", row["a_higher_on"]),
                text("shown" if pair.p_holm <= 0.05 else "not shown"),
            )
        )
        for pair, row in zip(found.pairs, found.rows(), strict=True)
    )
    note = "; ".join((*found.notes, *(f"{column.title}: {column.note}" for column in columns if column.note)))
    caption = f"Paired differences in {found.metric}, {found.extent}"
    return Table(slug, caption, columns, (Group(rows, *conditions),), note)


def gate_table(gate: Gate) -> Table:
    """A row per record and its reference."""
    columns = (
        Column("method"),
        Column("task"),
        Column("protocol"),
        Column("metric"),
        Column("reference", True),
        Column("now", True),
        Column("change", True),
        Column("verdict"),
    )
    rows = tuple(
        Row(
            (
                text(line.method),
                text(line.task),
                text(line.protocol),
                text(line.metric),
                number(line.reference, 2),
                number(line.now, 2),
                number(line.change, 2, sign=True),
                text(line.verdict),
            )
        )
        for line in gate.lines
    )
    return Table("gate", f"Against the reference, limit {gate.fail_below:g} points", columns, (Group(rows),))

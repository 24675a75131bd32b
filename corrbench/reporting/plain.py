"""Tables of the data model as aligned text for a terminal, and as JSON."""

from __future__ import annotations

from typing import Any

from corrbench.reporting.model import Column, Row, Table


def table(found: Table) -> str:
    """Aligned columns, numbers to the right; groups under their titles; notes of columns at the end."""
    parts = [found.caption]
    for group in found.groups:
        if group.title:
            parts.append(group.title)
        parts.append(_aligned(found.columns, group.rows))
        if group.note:
            parts.append(group.note)
    if found.note:
        parts.append(found.note)
    return "\n".join(parts)


def as_data(found: Table) -> list[dict[str, Any]]:
    """A dict per row: values where there are any, else texts, under the columns' titles."""
    titles = [column.title for column in found.columns]
    return [
        {title: cell.text if cell.value is None else cell.value for title, cell in zip(titles, row.cells, strict=True)}
        for row in found.rows()
    ]  # fmt: skip


def _aligned(columns: tuple[Column, ...], rows: tuple[Row, ...]) -> str:
    lines = [[column.title for column in columns]] + [[cell.text for cell in row.cells] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join(
        "  ".join(
            text.rjust(width) if column.number else text.ljust(width)
            for text, width, column in zip(line, widths, columns, strict=True)
        ).rstrip()
        for line in lines
    )

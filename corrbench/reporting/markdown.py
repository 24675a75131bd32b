"""The report as Markdown: tables, and the plots as files beside it."""

from __future__ import annotations

from corrbench.reporting.model import Cell, Film, Group, Plot, Report, Section, Table


def report(found: Report, *, rows: int = 60) -> str:
    """`README.md`: every page a chapter. Tables longer than `rows` are cut, which is said; the HTML has
    them whole.

    Plots are linked as `plots/<slug>.svg`; films are in the HTML only.
    """
    parts = [f"# {found.title}"]
    parts += [f"> **{warning}**" for warning in found.warnings]
    parts.append(
        "Every number's signature, its record, per-sequence rows and overlays: [index.html](index.html)."
    )
    for page in found.pages:
        parts.append(f"## {page.title}")
        for section in page.sections:
            parts += _section(section, rows, len(page.sections) > 1)
    return "\n\n".join(parts) + "\n"


def table(found: Table, rows: int | None = None) -> str:
    """A caption and a pipe table for each group; conditions are said above each."""
    parts = [f"**{escape(found.caption)}**"]
    left = sum(len(group.rows) for group in found.groups) if rows is None else rows
    for group in found.groups:
        if left <= 0:
            break
        if group.title:
            parts.append(f"*{escape(group.title)}*")
        parts.append(_pipes(found, group, left))
        left -= len(group.rows)
        if group.note:
            parts.append(_small(group.note))
    cut = sum(len(group.rows) for group in found.groups) - (rows or 0)
    if rows is not None and cut > 0:
        parts.append(f"({cut} more rows in index.html)")
    if found.note:
        parts.append(_small(found.note))
    return "\n\n".join(parts)


def escape(words: str) -> str:
    """Text that Markdown would read as marks, taken literally."""
    for mark in "\\`*_|<>[]":
        words = words.replace(mark, f"\\{mark}")
    return words.replace("\n", "<br>")


def _section(section: Section, rows: int, titled: bool) -> list[str]:
    parts = [f"### {section.title}"] if titled else []
    parts += list(section.text)
    for item in section.items:
        if isinstance(item, Table):
            parts.append(table(item, rows))
        elif isinstance(item, Plot):
            parts.append(f"![{escape(item.alt)}](plots/{item.slug}.svg)\n\n{escape(item.caption)}")
        elif isinstance(item, Film):
            continue
    return parts


def _pipes(found: Table, group: Group, rows: int) -> str:
    lines = [
        "| " + " | ".join(escape(column.title) for column in found.columns) + " |",
        "| " + " | ".join("---:" if column.number else "---" for column in found.columns) + " |",
    ]
    for row in group.rows[:rows]:
        before = ["", *(cell.link for cell in row.cells)]
        lines.append(
            "| "
            + " | ".join(_cell(c, c.link != link) for c, link in zip(row.cells, before, strict=False))
            + " |"
        )
    return "\n".join(lines)


def _cell(cell: Cell, linked: bool) -> str:
    """A cell; a link that the cell before it has too is left out, it would only repeat itself along the
    row.
    """
    words = f"**{escape(cell.text)}**" if cell.strong else escape(cell.text)
    return f"[{words}]({cell.link})" if cell.link and linked else words


def _small(words: str) -> str:
    return f"<sub>{escape(words)}</sub>"

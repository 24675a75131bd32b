"""What a report says, before it is Markdown, HTML or LaTeX: pages of sections of tables, plots and films.

Nothing is shown that is not here, so the three forms cannot tell different stories. A number is a `Cell`: its
text, the value it sorts by, the signature under which it was measured and a link to its record. Rows stand in
groups; a group is one set of conditions (data, task, protocol, numerics), said in its title, so that two
signatures never share a column silently.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Cell:
    """One entry of a table. `value` is what it sorts by; `signature` and `link` belong to measured
    numbers.
    """

    text: str
    value: float | str | None = None
    signature: str = ""
    link: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Column:
    """A column's title; numbers are set to the right; `note` is explained on hover and below the table."""

    title: str
    number: bool = False
    note: str = ""


@dataclass(frozen=True)
class Detail:
    """Rows behind a row, shown when it is opened: plain values under titles, and a curve a row where
    there are.

    `curves` holds, for each row, per-frame values in percent (or None); the first column names the row.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | None, ...], ...]
    curves: tuple[tuple[float, ...] | None, ...] = ()


@dataclass(frozen=True)
class Row:
    """Cells, what can be opened below them, and the values that filters look at."""

    cells: tuple[Cell, ...]
    detail: Detail | None = None
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """Rows measured under one set of conditions: `title` says which in short, `note` in full."""

    rows: tuple[Row, ...]
    title: str = ""
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A captioned table; `filters` names the tags that may be filtered by."""

    slug: str
    caption: str
    columns: tuple[Column, ...]
    groups: tuple[Group, ...]
    note: str = ""
    filters: tuple[str, ...] = ()

    def rows(self) -> Iterator[Row]:
        for group in self.groups:
            yield from group.rows


@dataclass(frozen=True)
class Plot:
    """An SVG with a caption and a description for those who do not see it; `wide` ones take the full
    width.
    """

    slug: str
    caption: str
    alt: str
    svg: str
    wide: bool = False


@dataclass(frozen=True)
class Film:
    """Overlays of one sequence: stills (title, WebP) and a strip of frames, one below the other, as one
    WebP.
    """

    slug: str
    caption: str
    alt: str
    stills: tuple[tuple[str, bytes], ...]
    strip: bytes
    frames: int
    size: tuple[int, int]  # (h, w) of one frame of the strip
    signature: str = ""
    link: str = ""


Item = Table | Plot | Film


@dataclass(frozen=True)
class Section:
    """A titled part of a page: paragraphs, then tables, plots and films."""

    slug: str
    title: str
    items: tuple[Item, ...] = ()
    text: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """A page of the report; pages are files or tabs, as the form has it."""

    slug: str
    title: str
    sections: tuple[Section, ...]

    def tables(self) -> Iterator[Table]:
        for section in self.sections:
            for item in section.items:
                if isinstance(item, Table):
                    yield item


@dataclass(frozen=True)
class Report:
    """A title, warnings that hold for the whole report (synthetic data, changed code), and pages."""

    title: str
    pages: tuple[Page, ...]
    warnings: tuple[str, ...] = ()


def number(value: float | None, digits: int = 1, *, sign: bool = False, **cell: Any) -> Cell:
    """A cell for a number; an en dash where there is none."""
    if value is None or math.isnan(value):
        return Cell("–", None, **cell)
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.replace("-", "").replace("+", "")
    return Cell(text.replace("-", "−"), float(value), **cell)


def interval(low: float, high: float, digits: int = 1, *, sign: bool = False) -> Cell:
    """A cell for an interval, sorted by its width."""
    ends = [number(v, digits, sign=sign).text for v in (low, high)]
    return Cell(f"[{ends[0]}, {ends[1]}]", high - low)


def p_value(p: float) -> Cell:
    """A cell for a p-value: three digits, and `< 0.001` below."""
    return Cell("< 0.001" if p < 0.001 else f"{p:.3f}", p)


def text(value: object, **cell: Any) -> Cell:
    """A cell for words, sorted by themselves."""
    return Cell(str(value), str(value), **cell)

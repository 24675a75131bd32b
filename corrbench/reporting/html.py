"""The report as one HTML file: no network, no other file, light and dark, readable on a phone and without
a mouse.

Signatures and the rows behind rows are data in the page (each signature once), put in place by the script
when they are wanted, so that a hundred records open at once.
"""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

from corrbench.reporting.model import Cell, Detail, Film, Plot, Report, Row, Section, Table
from corrbench.reporting.svg import themed

HERE = Path(__file__).parent


class _Data:
    """What the script looks up: signatures by number, details by number."""

    def __init__(self) -> None:
        self.signatures: dict[str, int] = {}
        self.details: list[dict[str, Any]] = []

    def signature(self, words: str) -> int:
        return self.signatures.setdefault(words, len(self.signatures))

    def detail(self, found: Detail) -> int:
        rows = [
            [v if not isinstance(v, float) or math.isfinite(v) else None for v in row] for row in found.rows
        ]
        curves = ["" if line is None else _packed(line) for line in found.curves]
        self.details.append({"c": found.columns, "r": rows, "k": curves})
        return len(self.details) - 1


def report(found: Report) -> str:
    """`index.html`, self-contained."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    data = _Data()
    room = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    room.globals |= {
        "kind": _kind, "attributes": lambda cell: _attributes(cell, data), "row_attributes": lambda row: _row(row, data),
        "svg": themed, "signature": data.signature, "uri": uri, "number": _number, "items": _arranged,
    }  # fmt: skip
    room.filters["paragraph"] = _paragraph
    body = room.get_template("page.html.j2").render(
        report=found,
        style=(HERE / "style.css").read_text(encoding="utf-8"),
        script=(HERE / "script.js").read_text(encoding="utf-8"),
    )
    payload = {"s": list(data.signatures), "d": data.details}
    text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace(
        "</", "<\\/"
    )
    return body.replace("/*DATA*/", text, 1)


def uri(data: bytes) -> str:
    """A WebP picture as a data address."""
    return "data:image/webp;base64," + base64.b64encode(data).decode()


def _kind(item: object) -> str:
    return {Table: "table", Plot: "plot", Film: "film"}[type(item)]


def _arranged(section: Section) -> list[list[Any]]:
    """Neighbouring plots stand side by side where there is room: runs of narrow plots and films as one
    list each.
    """
    groups: list[list[Any]] = []
    for item in section.items:
        small = isinstance(item, Film) or (isinstance(item, Plot) and not item.wide)
        if (
            small
            and groups
            and isinstance(groups[-1][0], type(item))
            and not getattr(groups[-1][0], "wide", False)
        ):
            groups[-1].append(item)
        else:
            groups.append([item])
    return groups


def _attributes(cell: Cell, data: _Data) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if cell.value is not None and cell.value != cell.text:
        found["data-v"] = cell.value if isinstance(cell.value, str) else _number(cell.value)
    if cell.signature:
        found["data-s"] = data.signature(cell.signature)
    return found


def _row(row: Row, data: _Data) -> dict[str, Any]:
    found: dict[str, Any] = {f"data-t-{name}": value for name, value in row.tags.items()}
    if row.detail is not None:
        found["data-d"] = data.detail(row.detail)
    return found


def _number(value: float) -> str:
    return f"{value:.6g}"


def _packed(values: tuple[float, ...]) -> str:
    """Percentages as one printable character each: 0 to 90 as chr(35) to chr(125), backslash never."""
    return "".join(chr(35 + _level(v)) for v in values)


def _level(value: float) -> int:
    level = round(max(0.0, min(100.0, value)) * 0.9)
    return 58 if level == 57 else level  # 57 would be the backslash, which JSON doubles


def _paragraph(words: str) -> Any:
    """Text with `code` in backticks, everything else escaped."""
    from markupsafe import Markup, escape

    parts = words.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if i % 2 else escape(part) for i, part in enumerate(parts)
    )

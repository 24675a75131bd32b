"""Figures as SVG: one style, colours that the colour-blind tell apart, the same bytes for the same numbers.

Text and lines are drawn in marker colours that are replaced afterwards: by `currentColor` and CSS
variables for a page that is light or dark, by plain greys on white for a file of its own.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

# Okabe & Ito, "Color universal design" (2008), without yellow (no contrast on white) and black (none on dark)
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8C8C8C")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (4, 1.5, 1, 1.5)))
INK, LINE, PAPER = "#010203", "#040506", "#fdfcfb"  # text, grid and frame, ground: replaced in the SVG
WIDTH = 6.4  # inches; a page shows a figure no wider than this


_ORDER: ContextVar[tuple[str, ...]] = ContextVar("order of the methods", default=())


@contextmanager
def order(methods: Iterable[str]) -> Iterator[None]:
    """Inside, each of `methods` has the same colour, marker and dash in every figure: those of its place
    here.
    """
    before = _ORDER.set(tuple(dict.fromkeys(methods)))
    try:
        yield
    finally:
        _ORDER.reset(before)


def place(method: str, otherwise: int) -> int:
    """The method's place in the report's order; `otherwise` for a figure outside any report."""
    known = _ORDER.get()
    return known.index(method) if method in known else otherwise


def colour(index: int) -> str:
    """The colour of the index-th thing; they repeat after seven, with another marker or dash."""
    return PALETTE[index % len(PALETTE)]


def marker(index: int) -> str:
    """A marker shape, so that colour is never the only difference."""
    return MARKERS[(index + index // len(PALETTE)) % len(MARKERS)]


def dash(index: int) -> Any:
    """A line style, so that colour is never the only difference."""
    return DASHES[(index + index // len(PALETTE)) % len(DASHES)]


@contextmanager
def figure(width: float = WIDTH, height: float = 3.2, **subplots: Any) -> Iterator[tuple[Any, Any]]:
    """A matplotlib figure and its axes in the report's style; closed afterwards. No display is needed."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: Any = {
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 9,
        "axes.titlesize": 9.5,
        "axes.labelsize": 9,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": LINE,
        "axes.labelcolor": INK,
        "text.color": INK,
        "xtick.color": LINE,
        "ytick.color": LINE,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": LINE,
        "grid.linewidth": 0.4,
        "grid.alpha": 0.5,
        "legend.frameon": False,
        "lines.linewidth": 1.5,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
    }
    with matplotlib.rc_context(style):
        drawn = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(drawn)
        yield drawn, drawn.subplots(**subplots)


def render(drawn: Any, slug: str) -> str:
    """The figure as an SVG element with marker colours; ids carry `slug` so that many fit on one page."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": slug, "svg.fonttype": "none"}):
        drawn.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(
        r'<g id="(?:figure|axes|text|patch|line2d|matplotlib\.[\w.]*|\w+Collection|legend|xtick|ytick)_?\d*">',
        "<g>",
        text,
    )
    text = re.sub(r"<!--.*?-->\s*", "", text)
    text = re.sub(r"\n\s*", "\n", text)
    return re.sub(r"(\d+\.\d\d)\d+", r"\1", text)  # a hundredth of a point is finer than any screen


def themed(svg: str) -> str:
    """For a page: ink is the page's own text colour, lines and ground are CSS variables."""
    for mark, value in ((INK, "currentColor"), (LINE, "var(--axis)"), (PAPER, "var(--paper)")):
        svg = svg.replace(mark, value)
    return svg


def plain(svg: str) -> str:
    """For a file of its own: dark greys on white, with the XML declaration."""
    for mark, value in ((INK, "#222222"), (LINE, "#888888"), (PAPER, "#ffffff")):
        svg = svg.replace(mark, value)
    svg = re.sub(r"(<svg[^>]*>)", r'\1<rect width="100%" height="100%" fill="#ffffff"/>', svg, count=1)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + svg

"""Plots of methods x protocols: heat map, ranks, shares of variance, effects of the switches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from corrbench.effects import Grid, Source
from corrbench.reporting.svg import INK, WIDTH, colour, dash, figure, marker, place, render
from corrbench.switches import Effect

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def heat_map(found: Grid, slug: str) -> str:
    """The grid's numbers, methods in order of their mean, protocols too."""
    values = found.values()[0]
    rows, columns = np.argsort(-values.mean(axis=1)), np.argsort(-values.mean(axis=0))
    shown = values[np.ix_(rows, columns)]
    low, high = float(np.nanmin(shown)), float(np.nanmax(shown))
    longest = max(len(name) for name in found.methods)
    width = max(4.2, min(9.5, 0.09 * longest + 0.62 * len(columns) + 0.8))
    with figure(width=width, height=1.2 + 0.3 * len(rows)) as (drawn, axes):
        axes.imshow(shown, cmap="cividis", aspect="auto", vmin=low, vmax=high)
        for (row, column), value in np.ndenumerate(shown):
            dark = (value - low) < 0.55 * (high - low)
            axes.text(
                column,
                row,
                f"{value:.1f}",
                ha="center",
                va="center",
                fontsize=8,
                color="#ffffff" if dark else "#111111",
            )
        axes.set_xticks(
            range(len(columns)),
            [found.protocols[i] for i in columns],
            rotation=40,
            ha="right",
            rotation_mode="anchor",
            fontsize=8,
        )
        axes.set_yticks(range(len(rows)), [found.methods[i] for i in rows], fontsize=8.5)
        axes.grid(visible=False)
        for side in axes.spines.values():
            side.set_visible(False)
        return render(drawn, slug)


def bump(found: Grid, slug: str) -> str:
    """The rank of every method under every protocol, joined by a line: crossings are changes of order."""
    values = found.values()[0]
    columns = np.argsort(-values.mean(axis=0))
    ranks = np.argsort(np.argsort(-values[:, columns], axis=0, kind="stable"), axis=0, kind="stable") + 1
    side = 0.063 * max(map(len, found.methods)) + 0.2  # inches that names take on either side
    width = max(WIDTH, min(9.5, 1.2 + 0.5 * len(columns) + 2 * side))
    with figure(width=width, height=1.3 + 0.3 * len(found.methods)) as (drawn, axes):
        along = np.arange(len(columns))
        for number, row in enumerate(np.argsort(ranks[:, 0])):
            index = place(found.methods[row], number)
            axes.plot(
                along,
                ranks[row],
                color=colour(index),
                linestyle=dash(index),
                marker=marker(index),
                markersize=6,
                linewidth=2,
            )
            for at, offset, align in ((0, -10, "right"), (len(columns) - 1, 10, "left")):
                axes.annotate(
                    found.methods[row], (at, ranks[row, at]), xytext=(offset, 0), textcoords="offset points", ha=align,
                    va="center", fontsize=8,
                )  # fmt: skip
        axes.set_xticks(
            along,
            [found.protocols[i] for i in columns],
            rotation=40,
            ha="right",
            rotation_mode="anchor",
            fontsize=8,
        )
        axes.set_yticks(range(1, len(found.methods) + 1))
        axes.set_ylabel("rank")
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        room = max(1, len(columns) - 1) * side / max(1.0, width - 0.8 - 2 * side)
        axes.set_xlim(-room, len(columns) - 1 + room)
        return render(drawn, slug)


def shares(single: Sequence[Source], table: Sequence[Source], slug: str) -> str:
    """Shares of variance as bars: of single sequences' numbers, and of the table's with their intervals."""
    bars = [(f"{s.name}", s.share, None, 0) for s in single] + [
        (s.name, s.share, s.interval, 1) for s in table
    ]
    with figure(height=1.1 + 0.26 * len(bars)) as (drawn, axes):
        rows = [i + (0.7 if group else 0.0) for i, (_, _, _, group) in enumerate(bars)]
        for row, (_, share, ends, group) in zip(rows, bars, strict=True):
            axes.barh(row, 100 * share, height=0.7, color=colour(group * 2), zorder=2)
            if ends is not None:
                axes.plot([100 * ends[0], 100 * ends[1]], [row, row], color=INK, linewidth=1.2, zorder=3)
            right = max(share, ends[1] if ends else 0.0)
            axes.annotate(
                f"{100 * share:.1f}",
                (100 * right, row),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
        axes.set_yticks(rows, [name for name, _, _, _ in bars], fontsize=8)
        axes.invert_yaxis()
        axes.set_xlim(0, 108)
        axes.set_xlabel("share of the sum of squares, %")
        axes.grid(axis="y", visible=False)
        return render(drawn, slug)


def effects(found: Sequence[Effect], metric: str, slug: str) -> str:
    """A row a value of a switch: the mean paired difference to the reference value with its interval."""
    rows, labels, names = [], [], []
    place = 0.0
    for index, effect in enumerate(found):
        if index and effect.switch != found[index - 1].switch:
            place += 0.6
        rows.append(place)
        labels.append(f"{effect.level}  ({effect.against})")
        names.append(effect.switch)
        place += 1.0
    kinds = list(dict.fromkeys(names))
    with figure(width=7.4, height=0.9 + 0.25 * place) as (drawn, axes):
        axes.axvline(0, color=INK, linewidth=0.8)
        low, high = _room(found)
        for row, effect in zip(rows, found, strict=True):
            index = kinds.index(effect.switch)
            if (
                not low <= effect.difference <= high
            ):  # beyond the axis: its numbers at the edge, with an arrow
                _beyond(axes, row, effect, low if effect.difference < low else high, colour(index))
                continue
            ends = [min(max(end, low), high) for end in effect.interval]
            axes.plot(ends, [row, row], color=colour(index), linewidth=2.0, solid_capstyle="butt")
            axes.scatter(
                [effect.difference], [row], color=colour(index), marker=marker(index), s=32, zorder=3
            )
        axes.set_xlim(low, high)
        for kind in kinds:
            first = min(row for row, name in zip(rows, names, strict=True) if name == kind)
            axes.annotate(
                kind, (1.0, first), xycoords=("axes fraction", "data"), xytext=(6, 0), textcoords="offset points",
                va="center", fontsize=8, color=colour(kinds.index(kind)),
            )  # fmt: skip
        axes.set_yticks(rows, labels, fontsize=8)
        axes.set_ylim(place - 0.4, -0.6)
        axes.set_xlabel(f"difference in {metric}, points")
        axes.grid(axis="y", visible=False)
        return render(drawn, slug)


def _room(found: Sequence[Effect]) -> tuple[float, float]:
    """The axis: all intervals, but where one switch's reach more than twice as far as any other's, only the others'."""
    reach = {
        switch: max(abs(end) for e in found if e.switch == switch for end in e.interval)
        for switch in {e.switch for e in found}
    }
    ranked = sorted(reach, key=lambda switch: reach[switch])
    far = len(ranked) > 1 and reach[ranked[-1]] > 2 * reach[ranked[-2]] > 0
    ends = [end for e in found if not (far and e.switch == ranked[-1]) for end in e.interval]
    low, high = min(0.0, *ends), max(0.0, *ends)
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin


def _beyond(axes: Axes, row: float, effect: Effect, edge: float, ink: str) -> None:
    left = effect.difference < edge
    low, high = effect.interval
    words = f"{effect.difference:+.1f} [{low:+.1f}, {high:+.1f}]".replace("-", "−")
    axes.scatter([edge], [row], color=ink, marker="<" if left else ">", s=32, zorder=3, clip_on=False)
    axes.annotate(
        words, (edge, row), xytext=(8 if left else -8, 0), textcoords="offset points", ha="left" if left else "right",
        va="center", fontsize=8, color=ink,
    )  # fmt: skip


def lines(curves: Mapping[str, Sequence[tuple[float, float]]], axis: str, metric: str, slug: str) -> str:
    """Score over the values of one numeric switch, a line a method: (value, score) points."""
    with figure(height=3.0) as (drawn, axes):
        for number, (name, points) in enumerate(curves.items()):
            index = place(name, number)
            x, y = zip(*sorted(points), strict=True)
            axes.plot(
                x,
                y,
                color=colour(index),
                linestyle=dash(index),
                marker=marker(index),
                markersize=5,
                label=name,
            )
        values = [x for points in curves.values() for x, _ in points]
        if min(values) > 0 and max(values) / min(values) > 20:
            axes.set_xscale("log")
            axes.set_xticks(sorted(set(values)), [f"{v:g}" for v in sorted(set(values))])
            axes.set_xticks([], minor=True)
        elif all(math.isclose(v, round(v)) for v in values):
            axes.set_xticks(sorted(set(values)))
        axes.set_xlabel(axis)
        axes.set_ylabel(metric)
        drawn.legend(loc="outside upper left", ncols=min(5, len(curves)), fontsize=8.5)
        return render(drawn, slug)

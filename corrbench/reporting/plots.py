"""The plots of single tasks and of comparisons, each an SVG string in the report's style."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from corrbench.comparison import Comparison
from corrbench.reporting.svg import (
    INK,
    LINE,
    PAPER,
    colour,
    dash,
    figure,
    marker,
    place,
    plain,
    render,
    themed,
)

__all__ = ["bars", "confusion", "curves", "dumbbells", "plain", "scatter", "themed"]


def scatter(points: Sequence[tuple[str, float, float]], metric: str, slug: str) -> str:
    """Score against speed: (label, frames per second, score) a method; the speed axis is logarithmic."""
    with figure(height=3.4) as (drawn, axes):
        for number, (label, speed, score) in enumerate(points):
            index = place(label, number)
            axes.scatter(
                [speed], [score], color=colour(index), marker=marker(index), s=46, zorder=3, label=label
            )
        axes.set_xscale("log")
        _log_ticks(axes.xaxis)
        axes.set_xlabel("frames per second (features, neighbours, propagation, read-out)")
        axes.set_ylabel(metric)
        axes.margins(0.14, 0.16)
        _name_points(axes, points)
        return render(drawn, slug)


def curves(panels: Mapping[str, Mapping[str, Sequence[float]]], metric: str, slug: str) -> str:
    """Small multiples: a panel a sequence, a line a method; values in percent over the sequence's own
    length.
    """
    across = min(5, len(panels))
    down = math.ceil(len(panels) / across)
    with figure(
        width=0.6 + 2.15 * across,
        height=0.75 + 1.35 * down,
        nrows=down,
        ncols=across,
        sharey=True,
        squeeze=False,
    ) as (drawn, grid):
        methods = list(dict.fromkeys(name for lines in panels.values() for name in lines))
        for axes, (sequence, lines) in zip(grid.flat, panels.items(), strict=False):
            for name, values in lines.items():
                index = place(name, methods.index(name))
                along = np.linspace(0, 100, len(values))
                axes.plot(
                    along,
                    values,
                    color=colour(index),
                    linestyle=dash(index),
                    linewidth=1.2,
                    label=name,
                )
            axes.set_title(sequence, fontsize=8.5)
            axes.set_ylim(0, 100)
            axes.set_xticks([0, 50, 100])
            axes.set_yticks([0, 50, 100])
            axes.tick_params(labelsize=7.5)
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_visible(False)
        drawn.supylabel(metric, fontsize=8.5)
        drawn.supxlabel("% of the sequence", fontsize=8.5)
        handles = {line.get_label(): line for axes in grid.flat for line in axes.lines}
        drawn.legend(
            [handles[name] for name in methods], methods, loc="outside upper left", ncols=min(7, len(methods)), fontsize=8.5,
            handlelength=2.6,
        )  # fmt: skip
        return render(drawn, slug)


def bars(groups: Mapping[str, Mapping[str, float]], metric: str, slug: str) -> str:
    """A row of marks for each joint or class: `groups[method][name]`; names without a value are left out."""
    every = dict.fromkeys(name for values in groups.values() for name in values)
    names = [name for name in every if any(not math.isnan(v.get(name, math.nan)) for v in groups.values())]
    with figure(height=0.9 + 0.26 * len(names)) as (drawn, axes):
        for row, name in enumerate(names):
            found = [values[name] for values in groups.values() if not math.isnan(values.get(name, math.nan))]
            if len(found) > 1:
                axes.plot([min(found), max(found)], [row, row], color=LINE, linewidth=1.0, zorder=2)
        for number, (method, values) in enumerate(groups.items()):
            index = place(method, number)
            axes.scatter(
                [values.get(name, math.nan) for name in names], range(len(names)), color=colour(index), marker=marker(index),
                s=30, label=method, zorder=3,
            )  # fmt: skip
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.set_xlabel(metric)
        axes.grid(axis="y", visible=False)
        drawn.legend(loc="outside upper left", ncols=min(5, len(groups)), fontsize=8.5, handletextpad=0.2)
        return render(drawn, slug)


def confusion(matrix: np.ndarray, names: Sequence[str], title: str, slug: str) -> str:
    """Shares (percent) of predictions of a row's joint that lie nearest to a column's annotated joint."""
    side = 1.5 + 0.3 * len(names)
    with figure(width=side + 0.9, height=side + 0.3) as (drawn, axes):
        axes.imshow(matrix, cmap="cividis", vmin=0, vmax=100)
        for (row, column), value in np.ndenumerate(matrix):
            if value >= 1:
                ink = "#ffffff" if value < 55 else "#111111"
                axes.text(
                    column,
                    row,
                    f"{value:.0f}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color=ink,
                )
        axes.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.grid(visible=False)
        axes.set_xlabel("nearest annotated joint")
        axes.set_ylabel("predicted joint")
        axes.set_title(title)
        return render(drawn, slug)


def dumbbells(found: Comparison, pair: int = 0, slug: str = "dumbbells") -> str:
    """Both methods on every sequence, joined by a bar; sequences in order of the difference."""
    shown = found.pairs[pair]
    difference = shown.by_sequence[:, 0] - shown.by_sequence[:, 1]
    order = np.argsort(np.where(np.isnan(difference), -np.inf, difference), kind="stable")
    with figure(height=1.0 + 0.2 * len(order)) as (drawn, axes):
        for row, place in enumerate(order):
            a, b = shown.by_sequence[place]
            axes.plot(
                [a, b],
                [row, row],
                color=colour(0) if a >= b else colour(1),
                linewidth=2.2,
                alpha=0.45,
                zorder=2,
            )
        rows = range(len(order))
        axes.scatter(
            shown.by_sequence[order, 1],
            rows,
            color=colour(1),
            marker=marker(1),
            s=26,
            zorder=3,
            label=shown.b,
        )
        axes.scatter(
            shown.by_sequence[order, 0],
            rows,
            color=colour(0),
            marker=marker(0),
            s=30,
            zorder=4,
            label=shown.a,
        )
        axes.set_yticks(list(rows), [found.names[place] for place in order], fontsize=8)
        axes.set_ylim(-0.8, len(order) - 0.2)
        axes.set_xlabel(found.metric)
        axes.grid(axis="y", visible=False)
        handles, labels = axes.get_legend_handles_labels()
        drawn.legend(
            handles[::-1], labels[::-1], loc="outside upper left", ncols=2, fontsize=8.5, handletextpad=0.2
        )
        return render(drawn, slug)


def differences(found: Comparison, slug: str) -> str:
    """A row a pair: the difference with its 95 % interval, and zero."""
    pairs = found.pairs
    with figure(height=0.8 + 0.27 * len(pairs)) as (drawn, axes):
        axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
        for row, pair in enumerate(pairs):
            shown = pair.p_holm <= 0.05
            axes.plot(
                pair.bca, [row, row], color=colour(0) if shown else LINE, linewidth=2.0, solid_capstyle="butt"
            )
            axes.scatter(
                [pair.difference], [row], s=34, zorder=3, color=colour(0) if shown else PAPER,
                edgecolors=colour(0) if shown else INK, linewidths=1.0,
            )  # fmt: skip
        axes.set_yticks(range(len(pairs)), [f"{pair.a} − {pair.b}" for pair in pairs], fontsize=8)
        axes.set_ylim(len(pairs) - 0.4, -0.6)
        axes.set_xlabel(f"difference in {found.metric}, points")
        axes.grid(axis="y", visible=False)
        return render(drawn, slug)


def _log_ticks(axis: object) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))  # type: ignore[attr-defined]
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))  # type: ignore[attr-defined]
    axis.set_minor_formatter(NullFormatter())  # type: ignore[attr-defined]


def _name_points(axes: object, points: Sequence[tuple[str, float, float]]) -> None:
    """Names beside their points; where two would overlap, the lower one moves below its point."""
    speeds = np.log10([max(p[1], 1e-9) for p in points])
    values = np.array([p[2] for p in points])
    width, height = max(np.ptp(speeds), 0.1), max(np.ptp(values), 1.0)
    for index, (label, speed, score) in enumerate(points):
        near = [
            other
            for other in range(len(points))
            if other != index
            and abs(values[other] - values[index]) / height < 0.06
            and 0 <= speeds[other] - speeds[index] < 0.25 * width
        ]
        offset, align = ((-6, 0), "right") if near else ((6, 0), "left")
        axes.annotate(  # type: ignore[attr-defined]
            label,
            (speed, score),
            xytext=offset,
            textcoords="offset points",
            va="center",
            ha=align,
            fontsize=8,
        )

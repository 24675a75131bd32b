"""Plots of ablations: differences with intervals and seeds, and training curves as small multiples; SVG strings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from corrbench.ablation_table import Row
from corrbench.reporting.svg import INK, LINE, PAPER, colour, dash, figure, render

Curve = tuple[Sequence[float], Sequence[float]]  # updates, values


def differences(rows: Sequence[Row], full: Row, metric: str, slug: str) -> str:
    """A row a variant: its difference to the full method, 95 % over sequences, each seed a small ring; filled where shown.

    The grey band is what a change of seed alone makes for one seed, where it is known.
    """
    shown = [row for row in rows if row.difference is not None]
    base = dict(zip(full.seeds, full.values, strict=True))
    with figure(width=6.4, height=0.95 + 0.29 * max(len(shown), 1)) as (drawn, axes):
        axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
        margins = [
            row.seed_margin * math.sqrt(len(row.seeds)) for row in shown if row.seed_margin is not None
        ]
        if margins:
            axes.axvspan(-margins[0], margins[0], color=LINE, alpha=0.18, linewidth=0, zorder=0)
        for place, row in enumerate(shown):
            sure = bool(row.over_videos) and row.over_seeds is not False
            tone = colour(0 if (row.difference or 0) < 0 else 1)
            if row.low is not None and row.high is not None:
                axes.plot(
                    [row.low, row.high],
                    [place, place],
                    color=tone if sure else LINE,
                    linewidth=2.2,
                    solid_capstyle="butt",
                )
            seeds = [v - base[s] for s, v in zip(row.seeds, row.values, strict=True) if s in base]
            if len(seeds) > 1:
                axes.scatter(
                    seeds,
                    [place + 0.24] * len(seeds),
                    s=11,
                    facecolors="none",
                    edgecolors=INK,
                    linewidths=0.7,
                    zorder=2,
                )
            axes.scatter([row.difference], [place], s=36, zorder=3, color=tone if sure else PAPER,
                         edgecolors=tone if sure else INK, linewidths=1.0)  # fmt: skip
        axes.set_yticks(range(len(shown)), [row.name for row in shown], fontsize=8.5)
        axes.set_ylim(max(len(shown), 1) - 0.4, -0.6)
        axes.set_xlabel(f"{metric}: points from the full method ({full.value:.1f})")
        axes.grid(axis="y", visible=False)
        return render(drawn, slug)


def training(panels: Mapping[str, Mapping[str, Sequence[Curve]]], slug: str, across: int = 3) -> str:
    """A panel a stage of training, a colour and dash a loss, a line a seed; losses as weighted in the total, logarithmic."""
    across = min(across, len(panels))
    down = math.ceil(len(panels) / across)
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    with figure(
        width=0.7 + 2.5 * across, height=0.8 + 1.55 * down, nrows=down, ncols=across, squeeze=False
    ) as (drawn, grid):
        for axes, (title, losses) in zip(grid.flat, panels.items(), strict=False):
            positive = [v for curves in losses.values() for _, values in curves for v in values if v > 0]
            for name, curves in losses.items():
                index = names.index(name)
                for number, (at, values) in enumerate(curves):
                    axes.plot(
                        at, [v if v > 0 else math.nan for v in values], color=colour(index), linestyle=dash(index),
                        linewidth=1.1, alpha=0.85, label=name if number == 0 else None, marker="." if len(at) < 4 else None,
                    )  # fmt: skip
            if positive:
                axes.set_yscale("log")
                _decades(axes, min(positive), max(positive))
            axes.set_title(title, fontsize=8.5)
            axes.tick_params(labelsize=7.5)
            axes.locator_params(axis="x", nbins=4)
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_visible(False)
        drawn.supxlabel("updates", fontsize=8.5)
        drawn.supylabel("loss, as weighted in the total", fontsize=8.5)
        handles = {line.get_label(): line for axes in grid.flat for line in axes.lines}
        drawn.legend([handles[n] for n in names], names, loc="outside upper left", ncols=min(6, len(names)), fontsize=8.5,
                     handlelength=2.6)  # fmt: skip
        return render(drawn, slug)


def _decades(axes: object, low: float, high: float) -> None:
    """Plain numbers on a logarithmic axis: its decades, and steps between where there are fewer than two."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    few = math.log10(high / low) < 1.5
    axis = axes.yaxis  # type: ignore[attr-defined]
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=6))
    axis.set_major_formatter(
        FuncFormatter(lambda x, _: f"{x:g}" if x >= 0.01 else f"{x:.0e}".replace("e-0", "e-"))
    )
    axis.set_minor_formatter(NullFormatter())

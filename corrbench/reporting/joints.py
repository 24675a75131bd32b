"""Per-joint and per-class tables and plots, and which joints are taken for which."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from corrbench import scores as sc
from corrbench.reporting import plots
from corrbench.reporting.model import Column, Group, Item, Plot, Row, Section, Table, number, text
from corrbench.reporting.run import Run

BEST = 7  # methods in a plot


def joint_section(slug: str, runs: Sequence[Run]) -> Section:
    """PCK of every joint, and the confusion of joints of the best method."""
    metric = runs[0].scores.metric
    at = metric.partition("@")[2]
    values = {run.label: per_joint(run, at) for run in runs}
    items: list[Item] = [
        _table(
            f"{slug}-joints", f"{metric} of each joint, {sc.extent(runs[0].record)}", "joint", values, runs
        ),
        _bars(f"{slug}-joints", f"{metric} of each joint", values, runs),
    ]
    best = runs[0]  # they come in order of score
    found = confusion(best)
    if found is not None:
        matrix, names = found
        swapped = left_right(matrix, names)
        words = (
            f" Of the joints that have two sides, {swapped:.1f} % lie nearer to the other side's."
            if swapped >= 0
            else ""
        )
        items.append(
            Plot(
                f"{slug}-confusion",
                f"Which annotated joint a predicted one lies nearest to, in % of its row; {best.label}, "
                f"{sc.extent(best.record)}.{words}",
                "Matrix of predicted against nearest annotated joints; the diagonal is right",
                plots.confusion(matrix, names, best.label, f"{slug}-confusion"),
            )
        )
    return Section(f"{slug}-joints", "Joints", tuple(items))


def class_section(slug: str, runs: Sequence[Run]) -> Section:
    """IoU of every class over the whole set."""
    values = {run.label: per_class(run) for run in runs}
    return Section(
        f"{slug}-classes",
        "Classes",
        (
            _table(
                f"{slug}-classes", f"IoU of each class, {sc.extent(runs[0].record)}", "class", values, runs
            ),
            _bars(f"{slug}-classes", "IoU of each class", values, runs),
        ),
    )


def per_joint(run: Run, at: str) -> dict[str, float]:
    """PCK (percent) of each joint, pooled over sequences; NaN where nothing counts."""
    table = run.scores.table
    return _ratio(table["joint"], table[f"hits@{at}"], table["count"])


def per_class(run: Run) -> dict[str, float]:
    """IoU (percent) of each class over the whole set; NaN where it never occurs."""
    table = run.scores.table
    return _ratio(table["class"], table["intersection"], table["union"])


def confusion(run: Run) -> tuple[np.ndarray, tuple[str, ...]] | None:
    """Percent of a joint's predictions that lie nearest to each annotated joint of the frame, (J, J), and
    names.

    Frame 0 is left out (it is given), so are lost joints and joints that are not annotated.
    """
    frames = run.record.frames()
    if frames is None or "gt_x" not in frames:
        return None
    names = tuple(dict.fromkeys(frames["joint"].tolist()))
    place = {name: i for i, name in enumerate(names)}
    order = {
        (s, f): i
        for i, (s, f) in enumerate(dict.fromkeys(zip(frames["sequence"], frames["frame"], strict=True)))
    }
    row = np.array([order[key] for key in zip(frames["sequence"], frames["frame"], strict=True)])
    column = np.array([place[name] for name in frames["joint"].tolist()])
    predicted, truth = (np.full((len(order), len(names), 2), np.nan) for _ in range(2))
    predicted[row, column] = np.stack([frames["x"], frames["y"]], axis=1)
    truth[row, column] = np.stack([frames["gt_x"], frames["gt_y"]], axis=1)
    first = dict(reversed(list(order)))
    kept = [i for (s, f), i in order.items() if first[s] != f]
    predicted, truth = predicted[kept], truth[kept]
    predicted[(predicted < 0).any(axis=-1)] = np.nan
    matrix = np.zeros((len(names), len(names)))
    for i in range(len(names)):
        distance = np.hypot(*np.moveaxis(predicted[:, i, None] - truth, -1, 0))
        known = ~np.isnan(distance).all(axis=1) & ~np.isnan(truth[:, i, 0])
        if known.any():
            nearest = np.nanargmin(distance[known], axis=1)
            matrix[i] = 100 * np.bincount(nearest, minlength=len(names)) / known.sum()
    return matrix, names


def left_right(matrix: np.ndarray, names: Sequence[str]) -> float:
    """Mean percent of predictions of a sided joint that lie nearest to the same joint of the other side;
    -1: no sides.
    """
    place = {name: i for i, name in enumerate(names)}
    other = {
        name: name.replace("left", "\0").replace("right", "left").replace("\0", "right") for name in names
    }
    shares = [matrix[place[n], place[other[n]]] for n in names if other[n] != n and other[n] in place]
    return float(np.mean(shares)) if shares else -1.0


def _ratio(names: np.ndarray, top: np.ndarray, base: np.ndarray) -> dict[str, float]:
    found = {}
    for name in dict.fromkeys(names.tolist()):
        mine = names == name
        total = float(base[mine].sum())
        found[str(name)] = 100 * float(top[mine].sum()) / total if total else math.nan
    return found


def _table(
    slug: str, caption: str, first: str, values: dict[str, dict[str, float]], runs: Sequence[Run]
) -> Table:
    """Joints or classes in rows, methods in columns; the best of a row in bold."""
    names = list(dict.fromkeys(name for found in values.values() for name in found))
    rows = []
    for name in names:
        known = [v for found in values.values() if not math.isnan(v := found.get(name, math.nan))]
        cells = [
            number(
                (v := values[run.label].get(name, math.nan)), signature=run.record.signature, link=run.link,
                strong=len(known) > 1 and v == max(known),
            )
            for run in runs
        ]  # fmt: skip
        rows.append(Row((text(name), *cells)))
    columns = (Column(first), *(Column(run.label, True) for run in runs))
    notes = dict.fromkeys(f"{run.label}: {run.protocol}" for run in runs)
    return Table(slug, caption, columns, (Group(tuple(rows)),), f"Protocols: {', '.join(notes)}")


def _bars(slug: str, words: str, values: dict[str, dict[str, float]], runs: Sequence[Run]) -> Plot:
    best = list(runs)[:BEST]
    shown = {run.label: values[run.label] for run in best}
    which = f"; the {BEST} best of {len(runs)} methods" if len(best) < len(runs) else ""
    return Plot(
        f"{slug}-bars",
        f"{words}, {sc.extent(runs[0].record)}{which}.",
        f"{words}, a mark a method; the table beside it has the numbers",
        plots.bars(shown, words.partition(" of ")[0], f"{slug}-bars"),
    )

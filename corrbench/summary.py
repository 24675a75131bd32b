"""From the sufficient statistics of `scores.csv` to the numbers of a record, for any weights on sequences.

Only numpy is imported, so that comparing and reporting start quickly. Every number is a weighted sum over
sequences followed by a ratio, so that B bootstrap resamples cost one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Table = Mapping[str, npt.ArrayLike]
Array = npt.NDArray[np.float64]

VOS_COLUMNS = ("J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay")


def as_table(rows: Sequence[Mapping[str, object]]) -> dict[str, np.ndarray]:
    """Turn the rows of `Task.score` into a dict of columns; every row must have the keys of the first."""
    if not rows:
        raise ValueError("the scores table has no rows: nothing was scored")
    names = list(rows[0])
    for number, row in enumerate(rows):
        if set(row) != set(names):
            raise ValueError(
                f"row {number} of the scores table has columns {sorted(row)}, expected {sorted(names)}"
            )
    return {name: np.asarray([row[name] for row in rows]) for name in names}


def sequence_names(table: Table) -> tuple[str, ...]:
    """The sequences of a table in order of first appearance: the order of `summarise`'s weights."""
    return tuple(dict.fromkeys(str(name) for name in np.asarray(_column(table, "sequence"))))


def summarise(kind: str, table: Table, weights: npt.ArrayLike | None = None) -> dict[str, Any]:
    """Sum a scores table up to the numbers of its task.

    kind: "vos", "pose" or "parts". table: the columns of scores.csv. weights: multiplicities of sequences,
    in the order of `sequence_names`; absent: one each. Absent or (S,) gives floats, (B, S) gives arrays
    (B,). Values in percent; nan where a number has nothing under its ratio. Raises ValueError for an
    unknown kind, a missing column, a table without rows or weights of another length.
    """
    if kind not in _KINDS:
        raise ValueError(f"kind {kind!r} is not known; expected one of {', '.join(_KINDS)}")
    names = sequence_names(table)
    if not names:
        raise ValueError("the scores table has no rows: nothing was scored")
    weight = np.ones(len(names)) if weights is None else np.asarray(weights, dtype=np.float64)
    if weight.ndim not in (1, 2) or weight.shape[-1] != len(names):
        raise ValueError(f"weights have shape {weight.shape}, expected ({len(names)},) or (B, {len(names)})")
    position = {name: index for index, name in enumerate(names)}
    rows = np.array([position[str(name)] for name in np.asarray(table["sequence"])])
    values = _KINDS[kind](table, rows, np.atleast_2d(weight))
    if weight.ndim == 1:
        return {name: float(value[0]) for name, value in values.items()}
    return values


def per_sequence(kind: str, table: Table) -> tuple[tuple[str, ...], dict[str, Array]]:
    """The numbers of each sequence alone, (names, metric -> (S,)); for vos the mean of its objects."""
    names = sequence_names(table)
    values = summarise(kind, table, np.eye(len(names)))
    return names, {name: np.asarray(value) for name, value in values.items()}


def _vos(table: Table, rows: np.ndarray, weight: Array) -> dict[str, Array]:
    """Means over objects, not over sequences: five objects count five times (davis2017-evaluation)."""
    objects = weight @ np.bincount(rows, minlength=weight.shape[1]).astype(np.float64)
    sums = {name: _sum(rows, _numbers(table, name), weight) for name in VOS_COLUMNS}
    values = {name: _percent(total, objects) for name, total in sums.items()}
    return {"J&F-Mean": (values["J-Mean"] + values["F-Mean"]) / 2, **values}


def _pose(table: Table, rows: np.ndarray, weight: Array) -> dict[str, Array]:
    """Pooled over all frames and clips for each joint, a percentage a joint, then the mean of the joints.

    "(lost = miss)" divides by all annotated joints, and measures in the box of all of them (`hits_annotated@`): the box
    of the counted joints alone, which the other numbers use, shrinks where joints are lost.
    Joints that nothing counts (never annotated, always lost) are left out of the mean.
    """
    thresholds = tuple(str(name).removeprefix("hits@") for name in table if str(name).startswith("hits@"))
    if not thresholds:
        raise ValueError(
            "the scores table of a pose task has no column hits@0.1, hits@0.2, ...: score it again"
        )

    def pooled(name: str) -> Array:
        return _pool(table, "joint", rows, _numbers(table, name), weight)

    count, count_no0, annotated = pooled("count"), pooled("count_no0"), pooled("annotated")
    hits = {at: pooled(f"hits@{at}") for at in thresholds}
    values = {f"PCK@{at}": _nanmean(_percent(hits[at], count)) for at in thresholds}
    for at in thresholds:
        values[f"PCK@{at} (no frame 0)"] = _nanmean(_percent(pooled(f"hits_no0@{at}"), count_no0))
    values["lost"] = _nanmean(_percent(pooled("lost"), annotated))
    for at in thresholds:
        values[f"PCK@{at} (lost = miss)"] = _nanmean(_percent(pooled(f"hits_annotated@{at}"), annotated))
    return values


def _parts(table: Table, rows: np.ndarray, weight: Array) -> dict[str, Array]:
    """Intersections and unions summed over the data set, an IoU a class, the mean of those that occur."""

    def pooled(name: str) -> Array:
        return _pool(table, "class", rows, _numbers(table, name), weight)

    return {
        f"mIoU{suffix}": _nanmean(_percent(pooled(f"intersection{ending}"), pooled(f"union{ending}")))
        for suffix, ending in (("", ""), (" (no frame 0)", "_no0"))
    }


_KINDS: dict[str, Callable[[Table, np.ndarray, Array], dict[str, Array]]] = {
    "vos": _vos,
    "pose": _pose,
    "parts": _parts,
}


def _column(table: Table, name: str) -> npt.ArrayLike:
    if name not in table:
        raise ValueError(f"the scores table has no column {name!r}; it has {', '.join(map(str, table))}")
    return table[name]


def _numbers(table: Table, name: str) -> Array:
    try:
        return np.asarray(_column(table, name), dtype=np.float64)
    except (TypeError, ValueError) as error:
        if name not in table:
            raise
        raise ValueError(
            f"column {name!r} of the scores table holds something that is not a number: {error}"
        ) from None


def _sum(rows: np.ndarray, values: Array, weight: Array) -> Array:
    """(B,) weighted sums. A sequence of weight 0 adds nothing, even where its value is nan."""
    by_sequence: Array = np.bincount(rows, weights=values, minlength=weight.shape[1]).astype(np.float64)
    return _product(weight, by_sequence[:, None])[:, 0]


def _pool(table: Table, group: str, rows: np.ndarray, values: Array, weight: Array) -> Array:
    """(B, G) weighted sums of a column by joint or class, groups in order of first appearance."""
    labels = [str(label) for label in np.asarray(_column(table, group))]
    order = {label: index for index, label in enumerate(dict.fromkeys(labels))}
    sums = np.zeros((weight.shape[1], len(order)))
    np.add.at(sums, (rows, np.array([order[label] for label in labels])), values)
    return _product(weight, sums)


def _product(weight: Array, sums: Array) -> Array:
    bad = ~np.isfinite(sums)
    if not bad.any():
        return weight @ sums
    total = weight @ np.where(bad, 0.0, sums)
    total[(weight != 0).astype(np.float64) @ bad > 0] = np.nan
    return total


def _percent(part: Array, whole: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, 100.0 * part / whole, np.nan)


def _nanmean(values_BG: Array) -> Array:
    """Mean of a row's numbers that are not nan; nan where there is none (and no warning)."""
    known = ~np.isnan(values_BG)
    return _percent(np.where(known, values_BG, 0.0).sum(axis=1), known.sum(axis=1).astype(np.float64)) / 100.0

"""Method or protocol? What explains a table of scores: variance shares, rank stability, effects of the
switches.

Everything is computed from records, over their sequences. The variance decomposition is a balanced
analysis of variance of the numbers of single sequences (method x protocol x sequence, one value a cell),
with shares of the sum of squares and components by the method of moments (Cornfield & Tukey 1956, all
three factors random).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from corrbench import scores as sc
from corrbench import statistics as st
from corrbench.protocol import KINDS, names, preset
from corrbench.record import Record

FACTORS = ("method", "protocol", "sequence")


@dataclass(frozen=True)
class Source:
    """One source of variance: degrees of freedom, sum of squares, its share, and its variance component.

    `component` is in squared points; negative estimates are set to 0. `interval` is that of the share, by
    bootstrap over sequences, where one was asked for.
    """

    name: str
    degrees: int
    squares: float
    share: float
    component: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Grid:
    """Methods x protocols on the same sequences: every cell a record."""

    methods: tuple[str, ...]
    protocols: tuple[str, ...]
    metric: str
    scores: tuple[tuple[sc.Scores, ...], ...]
    records: tuple[tuple[Record, ...], ...]
    left_out: tuple[str, ...] = ()

    def values(self, weights: np.ndarray | None = None) -> np.ndarray:
        """The metric (B, methods, protocols); without weights (1, methods, protocols) on all sequences."""
        if weights is None:
            weights = np.ones((1, len(self.scores[0][0].names)))
        return np.stack([np.stack([s(weights) for s in row], axis=1) for row in self.scores], axis=1)

    def cube(self) -> np.ndarray:
        """The metric of every sequence alone, (methods, protocols, sequences)."""
        return np.array([[s.by_sequence() for s in row] for row in self.scores])


@dataclass(frozen=True)
class Stability:
    """Do two protocols rank the methods alike? Kendall's tau-b and the share of pairs that change order."""

    a: str
    b: str
    tau: float
    changed: float


def grid(records: Sequence[Record], metric: str | None = None) -> Grid:
    """The largest full grid of methods x protocols that the records of one task fill on common sequences.

    Protocols are told apart by all their settings, so `stt` with another top-k is another protocol. A
    protocol that not all methods ran is left out, and named in `left_out`; where that leaves fewer than
    two, the methods that lack most are left out instead. `ValueError` where fewer than 2 x 2 remain.
    """
    records = sorted(records, key=lambda r: r.data.get("seed") or 0)  # of several seeds the lowest is taken
    if not records:
        raise ValueError("there are no records to make a grid of methods and protocols from")
    metric = metric or sc.headline(records[0])
    shared = {(r.task["name"], r.dataset["digest"], r.kind) for r in records}
    if len(shared) > 1:
        raise ValueError("a grid of methods and protocols needs records of one task on one set of sequences")
    labels = protocol_labels(records)
    cells: dict[tuple[str, str], Record] = {}
    for record, name in zip(records, labels, strict=True):
        cells.setdefault((record.method["name"], name), record)
    methods, protocols = (list(dict.fromkeys(key[i] for key in cells)) for i in (0, 1))
    out: list[str] = []
    while missing := [(m, p) for m, p in itertools.product(methods, protocols) if (m, p) not in cells]:
        worst_m, lacks_m = Counter(m for m, _ in missing).most_common(1)[0]
        worst_p, lacks_p = Counter(p for _, p in missing).most_common(1)[0]
        if lacks_m / len(protocols) > lacks_p / len(methods):
            methods.remove(worst_m)
            out.append(worst_m)
        else:
            protocols.remove(worst_p)
            out.append(worst_p)
    if len(methods) < 2 or len(protocols) < 2:
        raise ValueError(
            f"only {len(methods)} methods x {len(protocols)} protocols are complete; at least 2 x 2 are needed, "
            "`corrbench sweep` makes them"
        )
    kept = tuple(tuple(cells[m, p] for p in protocols) for m in methods)
    found = tuple(tuple(sc.of(record, metric) for record in row) for row in kept)
    return Grid(tuple(methods), tuple(protocols), metric, found, kept, tuple(out))


def moving(found: Grid) -> Grid:
    """The grid without the methods that no protocol moves (a floor such as copying the first label), named in `left_out`.

    They would only lower what protocols explain. The grid as it is where fewer than two methods would be left.
    """
    kept = [
        i for i, row in enumerate(found.cube()) if not (np.nan_to_num(row) == np.nan_to_num(row[:1])).all()
    ]
    if len(kept) < 2 or len(kept) == len(found.methods):
        return found
    still = tuple(name for i, name in enumerate(found.methods) if i not in kept)
    return subset(dataclasses.replace(found, left_out=(*found.left_out, *still)), kept)


def subset(found: Grid, methods: Sequence[int]) -> Grid:
    """The grid of some of its methods, by their places."""
    return dataclasses.replace(
        found,
        methods=tuple(found.methods[i] for i in methods),
        scores=tuple(found.scores[i] for i in methods),
        records=tuple(found.records[i] for i in methods),
    )


def protocol_labels(records: Sequence[Record]) -> list[str]:
    """A name per record's protocol: the preset's, and what was changed of it where one name has two settings.

    A preset has values of its own for each kind of task, so records are compared with those of their kind.
    """
    labels = []
    for record, usual in zip(records, usual_settings(records), strict=True):
        own = settings(record)
        changed = [k for k in own if own[k] != usual.get(k)]
        labels.append(" ".join([record.protocol["name"], *(f"{k}={own[k]}" for k in changed)]))
    return labels


def usual_settings(records: Sequence[Record]) -> list[dict[str, Any]]:
    """For each record, the settings that most records of its kind and preset have: what a sweep starts
    from.
    """
    families: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for record in records:
        families.setdefault((record.protocol["name"], record.kind), []).append(settings(record))
    usual = {key: _usual(*key, family) for key, family in families.items()}
    return [usual[record.protocol["name"], record.kind] for record in records]


def presets_only(records: Sequence[Record]) -> list[Record]:
    """The records whose protocol is a preset as it stands, where they are of two presets or more; else
    all.
    """
    kept = [r for r, label in zip(records, protocol_labels(records), strict=True) if "=" not in label]
    return kept if len({r.protocol["name"] for r in kept}) > 1 else list(records)


def changed_presets(found: Grid) -> tuple[str, ...]:
    """What the protocols of a grid changed of the presets they are named after, in words; nothing for those as they are."""
    changed = []
    for label, record in zip(found.protocols, found.records[0], strict=True):
        name = record.protocol["name"]
        if name in names() and record.kind in KINDS:
            own, given = dataclasses.asdict(preset(name, record.kind)), settings(record)
            words = [f"{k}={given[k]} instead of {own[k]}" for k in given if k in own and given[k] != own[k]]
            if words:
                changed.append(f"`{label}` ({', '.join(words)})")
    return tuple(changed)


def decompose(cube: np.ndarray, factors: Sequence[str] = FACTORS) -> tuple[Source, ...]:
    """Sums of squares of main effects and interactions of a full array with one value a cell.

    The highest interaction is also the residual. Factors with one level are left out. `ValueError` for NaN.
    """
    if np.isnan(cube).any():
        raise ValueError("a balanced decomposition needs a number in every cell; leave out what has none")
    kept = [axis for axis, size in enumerate(cube.shape) if size > 1]
    axes = {
        subset: _effect(cube, subset)
        for n in range(1, len(kept) + 1)
        for subset in itertools.combinations(kept, n)
    }
    total = float(np.sum((cube - cube.mean()) ** 2))
    squares = {subset: float(np.sum(np.broadcast_to(e, cube.shape) ** 2)) for subset, e in axes.items()}
    degrees = {subset: math.prod(cube.shape[axis] - 1 for axis in subset) for subset in axes}
    mean = {subset: squares[subset] / degrees[subset] for subset in axes}
    return tuple(
        Source(
            name=" x ".join(factors[axis] for axis in subset),
            degrees=degrees[subset],
            squares=squares[subset],
            share=squares[subset] / total if total else math.nan,
            component=max(0.0, _component(subset, mean, cube.shape)),
        )
        for subset in axes
    )


def explain(
    found: Grid, *, count: int = 2000, seed: int = 0
) -> tuple[tuple[Source, ...], tuple[Source, ...]]:
    """Two decompositions of a grid: of the numbers of single sequences, and of the table of summary numbers.

    The shares of the second (method, protocol, method x protocol) have 95 % bootstrap intervals over
    sequences.
    """
    cube = found.cube()
    whole = ~np.isnan(cube).any(axis=(0, 1))
    table = decompose(found.values()[0], FACTORS[:2])
    weights = st.resamples(len(found.scores[0][0].names), count, seed)
    tables = [values for values in found.values(weights) if not np.isnan(values).any()]
    shares = [[s.share for s in decompose(values, FACTORS[:2])] for values in tables]
    ends = [st.percentile(np.asarray(column)) for column in zip(*shares, strict=True)]
    with_ends = tuple(
        Source(**{**vars(source), "interval": pair}) for source, pair in zip(table, ends, strict=True)
    )
    return decompose(cube[:, :, whole]) if whole.any() else (), with_ends


def stability(found: Grid) -> tuple[Stability, ...]:
    """Every pair of protocols: do they rank the methods alike?"""
    table = found.values()[0]
    return tuple(
        Stability(
            found.protocols[a],
            found.protocols[b],
            st.kendall_tau(table[:, a], table[:, b]),
            st.order_changes(table[:, a], table[:, b]),
        )
        for a, b in itertools.combinations(range(len(found.protocols)), 2)
    )


def settings(record: Record) -> dict[str, Any]:
    """The protocol's settings without its name and version."""
    found = record.protocol.get("settings") or {}
    return {k: v for k, v in found.items() if k not in ("name", "version")}


def _usual(name: str, kind: str, family: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The settings that most records of a preset have; between equally many, the preset's own."""
    own = dataclasses.asdict(preset(name, kind)) if name in names() and kind in KINDS else {}

    def times(key: str, value: Any) -> tuple[int, bool]:
        return sum(s.get(key) == value for s in family), key in own and own[key] == value

    return {key: max((s.get(key) for s in family), key=lambda value: times(key, value)) for key in family[0]}


def _effect(cube: np.ndarray, subset: tuple[int, ...]) -> np.ndarray:
    """The effect of a subset of factors: inclusion and exclusion over the means of its own subsets."""
    effect = np.zeros([cube.shape[a] if a in subset else 1 for a in range(cube.ndim)])
    for n in range(len(subset) + 1):
        for inner in itertools.combinations(subset, n):
            others = tuple(a for a in range(cube.ndim) if a not in inner)
            effect = effect + (-1) ** (len(subset) - n) * cube.mean(axis=others, keepdims=True)
    return effect


def _component(
    subset: tuple[int, ...], mean: Mapping[tuple[int, ...], float], shape: tuple[int, ...]
) -> float:
    """Variance component of a source: its mean square less those above it, signs alternating, per cell
    mean.
    """
    above = [s for s in mean if set(subset) <= set(s)]
    signed = sum((-1) ** (len(s) - len(subset)) * mean[s] for s in above)
    factors = {axis for s in mean for axis in s}
    return signed / math.prod(shape[axis] for axis in factors if axis not in subset)

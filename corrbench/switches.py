"""What each switch of the protocol does to a score, from records that differ in that switch alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from corrbench import scores as sc
from corrbench import statistics as st
from corrbench.effects import settings, usual_settings
from corrbench.record import Record

# the seven switches of label propagation, and the size: which settings belong to which
SWITCHES = {
    "context": ("context", "early"),
    "mask": ("mask", "radius", "strict", "first_masked"),
    "normalise": ("normalise",),
    "top-k": ("topk", "topk_scope"),
    "temperature": ("temperature",),
    "stored": ("stored",),
    "labels": ("down", "up", "minmax", "sigma", "sigma_in", "background", "decode_top", "decode_at"),
    "size": ("resize",),
    "frame 0": ("score_first",),
}


NUMERIC = {
    "context": "context",
    "radius": "mask",
    "topk": "top-k",
    "temperature": "temperature",
}  # setting -> switch


@dataclass(frozen=True)
class Effect:
    """What one value of a switch does against the reference, averaged over `cells` pairs of records of `methods`."""

    switch: str
    level: str
    reference: str
    difference: float
    interval: tuple[float, float]
    cells: int
    methods: tuple[str, ...] = ()

    @property
    def against(self) -> str:
        """The reference, without the setting's name where the level has just said it: 10 for topk=1 against topk=10."""
        name, _, value = self.reference.partition("=")
        said = value and " " not in self.reference and self.level.startswith(f"{name}=")
        return value if said else self.reference


def main_effects(
    records: Sequence[Record], metric: str | None = None, *, count: int = 2000, seed: int = 0
) -> tuple[Effect, ...]:
    """What each switch does: pairs of records of one method that differ in that switch alone.

    The reference of a pair has the value that the sweep started from: the usual one of its preset among these
    records; both records of a pair are of one preset. The difference to it is averaged over all pairs of the
    same two values (methods, protocols, other settings); the interval is a paired bootstrap over sequences.
    Empty where no two records differ in one switch.
    """
    if not records:
        return ()
    metric = metric or sc.headline(records[0])
    scores = [sc.of(record, metric) for record in records]
    names = scores[0].names
    if any(score.names != names for score in scores):
        raise ValueError("effects of the switches need records on the same sequences")
    everything = np.vstack([np.ones((1, len(names))), st.resamples(len(names), count, seed)])
    values: dict[int, np.ndarray] = {}

    def value(i: int) -> np.ndarray:
        if i not in values:
            values[i] = scores[i](everything)
        return values[i]

    found = []
    for switch in SWITCHES:
        pairs = _pairs(records, switch)
        for level, reference in sorted(pairs, key=lambda words: (_place(words[1]), _place(words[0]))):
            both = pairs[level, reference]
            difference = np.mean([value(i) - value(j) for i, j in both], axis=0)
            ends = st.percentile(difference[1:][~np.isnan(difference[1:])])
            methods = tuple(dict.fromkeys(records[i].method["name"] for i, _ in both))
            found.append(Effect(switch, level, reference, float(difference[0]), ends, len(both), methods))
    return tuple(found)


def _pairs(records: Sequence[Record], switch: str) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """(level, reference) in words -> pairs of records that differ in the switch alone, the reference
    second.
    """
    usual = usual_settings(records)
    levels = [_level(settings(record), switch) for record in records]
    starts = [_level(start, switch) for start in usual]
    rest = [_rest(record, switch) for record in records]
    # by preset too: another preset may be a change of one switch itself (vfs is stt with another mask)
    base = {rest[i]: i for i in range(len(records)) if levels[i] == starts[i]}
    pairs: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for i in range(len(records)):
        j = base.get(rest[i])
        if j is None or levels[i] == levels[j]:
            continue
        keys = [k for k in SWITCHES[switch] if levels[i][k] != levels[j][k]]
        if "mask" in keys and "none" in (
            levels[i]["mask"],
            levels[j]["mask"],
        ):  # the shape and its radius say it
            keys = [k for k in keys if k in ("mask", "radius")]
        words = tuple(" ".join(w for k in keys if (w := _words(k, levels[n][k]))) for n in (i, j))
        pairs.setdefault((words[0], words[1]), []).append((i, j))
    return pairs


def series(
    records: Sequence[Record], metric: str | None = None
) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """For each numeric setting with three values or more: method -> (value, score) with everything else
    fixed.

    Of several sets of the other settings, a method's line is the one with the most values. A mask's
    radius counts only where there is a mask, and `topk` only where it is a number.
    """
    metric = metric or (sc.headline(records[0]) if records else "")
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for name, switch in NUMERIC.items():
        groups: dict[tuple[Any, ...], dict[float, float]] = {}
        for record in records:
            own = _level(settings(record), switch)
            value = own.get(name)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                others = tuple(sorted((k, repr(v)) for k, v in own.items() if k != name))
                groups.setdefault((*_rest(record, switch), others), {})[float(value)] = record.summary[metric]
        longest: dict[str, dict[float, float]] = {}
        for key, points in groups.items():
            if len(points) >= 3 and len(points) > len(longest.get(key[0], {})):
                longest[key[0]] = points
        if longest:
            found[name] = {method: sorted(points.items()) for method, points in longest.items()}
    return found


def _level(own: Mapping[str, Any], switch: str) -> dict[str, Any]:
    """The values of one switch among a protocol's settings."""
    level = {k: own.get(k) for k in SWITCHES[switch]}
    if level.get("mask") == "none":  # without a mask its radius means nothing
        level |= {"radius": None, "strict": None, "first_masked": None}
    return level


def _rest(record: Record, switch: str) -> tuple[Any, ...]:
    other = {k: repr(v) for k, v in settings(record).items() if k not in SWITCHES[switch]}
    fixed = (record.method["name"], record.task["name"], record.data.get("seed"), record.protocol["name"])
    return (*fixed, tuple(sorted(other.items())))


def _words(name: str, value: Any) -> str:
    if name in ("mask", "resize"):
        return "no mask" if value == "none" else str(value)
    if value is None:
        return f"{name}=all" if name == "topk" else ""
    return f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"


def _place(words: str) -> tuple[float, str]:
    """Order of levels: by the number in them where there is one, so that 5 comes before 10."""
    try:
        return float(words.rpartition("=")[2]), words
    except ValueError:
        return math.inf, words

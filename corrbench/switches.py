"""What each switch of the protocol does to a score, from records that differ in that switch alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from corrbench import scores as sc
from corrbench import statistics as st
from corrbench.effects import settings
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


@dataclass(frozen=True)
class Effect:
    """What one value of a switch does against the reference value, averaged over methods and settings."""

    switch: str
    level: str
    reference: str
    difference: float
    interval: tuple[float, float]
    cells: int


def main_effects(
    records: Sequence[Record], metric: str | None = None, *, count: int = 2000, seed: int = 0
) -> tuple[Effect, ...]:
    """What each switch does: pairs of records of one method that differ in that switch alone.

    A switch's reference is its most frequent value over the records. The difference to it is averaged
    over all such pairs, the interval is a paired bootstrap over sequences. Empty where no two records
    differ in one switch.
    """
    if not records:
        return ()
    metric = metric or sc.headline(records[0])
    scores = [sc.of(record, metric) for record in records]
    names = scores[0].names
    if any(score.names != names for score in scores):
        raise ValueError("effects of the switches need records on the same sequences")
    weights = st.resamples(len(names), count, seed)
    everything = np.vstack([np.ones((1, len(names))), weights])
    values: dict[int, np.ndarray] = {}

    def value(i: int) -> np.ndarray:
        if i not in values:
            values[i] = scores[i](everything)
        return values[i]

    found = []
    for switch in SWITCHES:
        levels = [_level(record, switch) for record in records]
        varying = [k for k in SWITCHES[switch] if len({repr(level.get(k)) for level in levels}) > 1]
        if not varying:
            continue
        words = [" ".join(_words(k, level.get(k)) for k in varying) for level in levels]
        reference = Counter(words).most_common(1)[0][0]
        rest = [_rest(record, switch) for record in records]
        base = {rest[i]: i for i in range(len(records)) if words[i] == reference}
        for level in _in_order(words):
            pairs = [(i, base[rest[i]]) for i in range(len(records)) if words[i] == level and rest[i] in base]
            if level == reference or not pairs:
                continue
            difference = np.mean([value(i) - value(j) for i, j in pairs], axis=0)
            ends = st.percentile(difference[1:][~np.isnan(difference[1:])])
            found.append(Effect(switch, level, reference, float(difference[0]), ends, len(pairs)))
    return tuple(found)


def _level(record: Record, switch: str) -> dict[str, Any]:
    own = settings(record)
    level = {k: own.get(k) for k in SWITCHES[switch]}
    if level.get("mask") == "none":  # without a mask its radius means nothing
        level |= {"radius": None, "strict": None, "first_masked": None}
    return level


def _rest(record: Record, switch: str) -> tuple[Any, ...]:
    other = {k: repr(v) for k, v in settings(record).items() if k not in SWITCHES[switch]}
    return (record.method["name"], record.task["name"], record.data.get("seed"), tuple(sorted(other.items())))


def _words(name: str, value: Any) -> str:
    if name in ("mask", "early", "stored", "resize", "down", "up", "topk_scope", "decode_at", "sigma_in"):
        return "no mask" if name == "mask" and value == "none" else str(value)
    if value is None:
        return f"{name}=all" if name == "topk" else ""
    return f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"


def _in_order(words: Iterable[str]) -> list[str]:
    """Levels by the number in them where there is one, so that 5 comes before 10."""

    def key(word: str) -> tuple[float, str]:
        tail = word.rpartition("=")[2]
        try:
            return (float(tail), word)
        except ValueError:
            return (math.inf, word)

    return sorted(dict.fromkeys(words), key=key)

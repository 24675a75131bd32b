"""Scores of a record as functions of sequences, and what two records must share before they are compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from corrbench.record import Record, Table
from corrbench.summary import sequence_names, summarise

HEADLINE = {"vos": "J&F-Mean", "pose": "PCK@0.1", "parts": "mIoU"}
LOWER_IS_BETTER = ("Decay", "lost")
NUMERICS = ("device", "dtype", "tf32", "autocast")  # what can move a score beyond the last digits


@dataclass(frozen=True)
class Scores:
    """One number of a record as a function of multiplicities (B, S) of its sequences, in order of name."""

    kind: str
    metric: str
    table: Table
    names: tuple[str, ...]

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """(B,) values of the metric on B resamples of the sequences."""
        return np.asarray(summarise(self.kind, self.table, weights)[self.metric])

    def value(self) -> float:
        """The number on all sequences."""
        return float(summarise(self.kind, self.table)[self.metric])

    def by_sequence(self) -> np.ndarray:
        """(S,) the number of each sequence alone."""
        return self(np.eye(len(self.names)))


def of(record: Record, metric: str | None = None) -> Scores:
    """The scores of a record; `metric` defaults to the task's headline number."""
    metric = metric or headline(record)
    table = _sorted(record.scores())
    known = summarise(record.kind, table)
    if metric not in known:
        raise ValueError(f"{record.folder} has no metric {metric!r}; it has {', '.join(known)}")
    return Scores(record.kind, metric, table, sequence_names(table))


def exchange(a: Scores, b: Scores) -> Scores:
    """Both tables as one over 2S sequences, a's then b's: weights on it pick any mixture of the two."""
    if a.names != b.names or a.metric != b.metric:
        raise ValueError("only scores of one metric on the same sequences can be exchanged")
    joined = {name: np.concatenate([a.table[name], b.table[name]]) for name in a.table}
    tagged = [[f"{side}:{name}" for name in s.table["sequence"]] for side, s in enumerate((a, b))]
    joined["sequence"] = np.array(tagged[0] + tagged[1])
    return Scores(a.kind, a.metric, joined, sequence_names(joined))


def headline(record: Record) -> str:
    """The number that the field quotes first for the record's task (BADJA quotes PCK@0.2)."""
    if record.kind == "pose" and record.dataset["name"].upper().startswith("BADJA"):
        return "PCK@0.2"
    if record.kind not in HEADLINE:
        raise ValueError(
            f"{record.folder}: task kind {record.kind!r} is not known; expected {', '.join(HEADLINE)}"
        )
    return HEADLINE[record.kind]


def higher_is_better(metric: str) -> bool:
    """False for decay and for the share of lost joints."""
    return not metric.endswith(LOWER_IS_BETTER)


def backbone(record: Record) -> str:
    """What computes the features, in a few words: `ResNet-18`, `ResNet-18, whitened`, `HOG`; a dash where nothing does.

    `centred` and `adapted` stand where features depend on the whole video.
    """
    return _backbone(record.data.get("resolved", {}).get("method", {}).get("backbone"))


def _backbone(config: Any) -> str:
    if not isinstance(config, dict) or "type" not in config:
        return "–"
    if config["type"] in ("Centred", "Adapted"):
        return f"{_backbone(config['backbone'])}, {config['type'].lower()}"
    if config["type"] == "Whitened":
        further = [what for what in ("centred", "adapted") if config.get(what)]
        return ", ".join([_backbone(config["backbone"]), "whitened", *further])
    detail = next((config[name] for name in ("depth", "size", "variant", "name") if config.get(name)), None)
    return str(config["type"]) if detail is None else f"{config['type']}-{detail}"


def extent(record: Record) -> str:
    """What was measured, to stand beside every number: data set, how much of it, and `synthetic`."""
    data = record.dataset
    words = data["name"]
    if data["sequences"] != data["official"]:
        words += f", {data['sequences']} of {data['official']} sequences"
    if data["synthetic"] and "synthetic" not in words.lower():
        words += ", synthetic"
    return words


def complete(record: Record) -> bool:
    """Whether a published number may stand beside this one: the official list, whole, and real."""
    data = record.dataset
    return not data["synthetic"] and data["sequences"] == data["official"]


def conditions(record: Record) -> dict[str, Any]:
    """Everything but the method that a comparison has to hold fixed, by dotted name."""
    found: dict[str, Any] = {
        "task.name": record.task["name"],
        "task.version": record.task.get("version"),
        "data.name": record.dataset["name"],
        "data.digest": record.dataset["digest"],
    }
    settings = record.protocol.get("settings") or {"signature": record.protocol["signature"]}
    found |= {
        f"protocol.{name}": value for name, value in flat(settings).items() if name not in ("name", "version")
    }
    found |= {f"numerics.{name}": record.numerics.get(name) for name in NUMERICS}
    return found


def differences(records: Sequence[Record]) -> dict[str, list[Any]]:
    """The conditions in which records differ: dotted name -> a value per record."""
    all_conditions = [conditions(record) for record in records]
    names: Iterable[str] = dict.fromkeys(name for found in all_conditions for name in found)
    values = {name: [found.get(name) for found in all_conditions] for name in names}
    return {name: v for name, v in values.items() if any(x != v[0] for x in v[1:])}


def group_key(record: Record) -> tuple[Any, ...]:
    """Equal for records whose numbers may share a column: all conditions equal, only the method differs."""
    return tuple((name, repr(value)) for name, value in sorted(conditions(record).items()))


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _sorted(table: Table) -> Table:
    """Rows in order of sequence name, so that equal positions mean equal sequences in every record."""
    order = np.argsort(table["sequence"], kind="stable")
    return {name: values[order] for name, values in table.items()}

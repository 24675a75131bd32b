"""Records and results as pandas frames, for notebooks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from corrbench import scores as sc
from corrbench.effects import protocol_labels
from corrbench.record import Record

if TYPE_CHECKING:
    import pandas


COST = ("seconds", "frames_per_second", "peak_memory_mib", "shared")


def to_frame(records: Iterable[Record]) -> pandas.DataFrame:
    """A row a record: what was run on what, every switch of its protocol, every number, what it cost, and its names.

    `protocol` is the preset's name with what was changed of it; `topk` is missing where every key counts (`groupby`
    drops such rows without `dropna=False`). Rows with `shared` come from a sweep: their times are no measure of speed.
    """
    import pandas

    found = list(records)
    return pandas.DataFrame(
        {
            "method": record.method["name"], "backbone": sc.backbone(record), "task": record.task["name"],
            "data": sc.extent(record), "synthetic": record.dataset["synthetic"], "protocol": protocol,
            **_switches(record), **record.summary, **{name: record.cost.get(name) for name in COST},
            "key": record.key, "signature": record.signature, "folder": str(record.folder),
        }
        for record, protocol in zip(found, protocol_labels(found), strict=True)
    )  # fmt: skip


def scores_frame(records: Iterable[Record]) -> pandas.DataFrame:
    """A row a record and object (joint, class) of every sequence: the columns of `scores.csv`, and whose they are."""
    import pandas

    found = list(records)
    tables = []
    for record, protocol in zip(found, protocol_labels(found), strict=True):
        whose = {
            "method": record.method["name"],
            "task": record.task["name"],
            "protocol": protocol,
            "key": record.key,
        }
        tables.append(pandas.DataFrame(record.scores()).assign(**whose))
    return pandas.concat(tables, ignore_index=True) if tables else pandas.DataFrame()


def _switches(record: Record) -> dict[str, Any]:
    return {k: v for k, v in record.protocol.get("settings", {}).items() if k not in ("name", "version")}


def by_sequence(records: Iterable[Record], metric: str | None = None) -> pandas.DataFrame:
    """Sequences in rows, records in columns (method and protocol), the task's headline number or `metric`."""
    import pandas

    found = list(records)
    columns = {}
    for record, protocol in zip(found, protocol_labels(found), strict=True):
        score = sc.of(record, metric)
        columns[record.method["name"], protocol] = pandas.Series(score.by_sequence(), index=score.names)
    return pandas.DataFrame(columns)


def of(things: Iterable[Any]) -> pandas.DataFrame:
    """A row a thing: dataclasses (verdicts, effects, sources of variance) or mappings; nested dataclasses
    are dotted.
    """
    import pandas

    return pandas.DataFrame([dict(thing) if isinstance(thing, Mapping) else _flat(thing) for thing in things])


def _flat(thing: Any, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in dataclasses.fields(thing):
        value = getattr(thing, field.name)
        if dataclasses.is_dataclass(value):
            found |= _flat(value, f"{prefix}{field.name}.")
        else:
            found[f"{prefix}{field.name}"] = value
    return found

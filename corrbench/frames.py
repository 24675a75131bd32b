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


def of_records(records: Iterable[Record]) -> pandas.DataFrame:
    """A row a record: method, backbone, task, data, protocol, every summary number, speed, signature,
    folder.
    """
    import pandas

    found = list(records)
    return pandas.DataFrame(
        {
            "method": record.method["name"], "backbone": sc.backbone(record), "task": record.task["name"],
            "data": sc.extent(record), "synthetic": record.dataset["synthetic"], "protocol": protocol, **record.summary,
            "frames_per_second": record.cost.get("frames_per_second"), "signature": record.signature,
            "folder": str(record.folder),
        }
        for record, protocol in zip(found, protocol_labels(found), strict=True)
    )  # fmt: skip


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

"""A gate for continuous integration: did a number fall below the one of a reference record?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from corrbench import scores as sc
from corrbench.record import Record


@dataclass(frozen=True)
class Line:
    """One number of one record beside its reference; `change` is signed so that negative is worse."""

    method: str
    task: str
    protocol: str
    metric: str
    reference: float
    now: float
    change: float
    verdict: str


@dataclass(frozen=True)
class Gate:
    """All lines; `status` is the exit code: 0 all held, 1 something fell."""

    lines: tuple[Line, ...]
    fail_below: float

    @property
    def status(self) -> int:
        return int(any(line.verdict == "fell" for line in self.lines))


def against(
    records: Sequence[Record],
    reference: Sequence[Record],
    fail_below: float = 0.0,
    metric: str | None = None,
) -> Gate:
    """Each reference record against the record of the same method under the same conditions.

    A number that falls by more than `fail_below` points (rises, where lower is better) fails the gate. So
    does a reference that no record answers: a gate that compares nothing would pass for ever.
    `ValueError` then, and for a negative limit.
    """
    if not (fail_below >= 0 and math.isfinite(fail_below)):
        raise ValueError(f"--fail-below {fail_below} should be a number of points, 0 or more")
    if not reference:
        raise ValueError("there are no reference records to compare with")
    known = {_place(record): record for record in records}
    lines = []
    for old in reference:
        new = known.get(_place(old))
        if new is None:
            raise ValueError(
                f"no record answers the reference {old.folder} ({old.method['name']} on {old.task['name']} under "
                f"{old.protocol['name']}): run it under the same conditions, or leave that reference out"
            )
        name = metric or sc.headline(old)
        for record in (old, new):
            if name not in record.summary:
                raise ValueError(f"{record.folder} has no {name!r}; it has {', '.join(record.summary)}")
        lines.append(_line(old, new, name, fail_below))
    return Gate(tuple(lines), fail_below)


def _place(record: Record) -> tuple[object, ...]:
    return (record.method["name"], *sc.group_key(record))


def _line(old: Record, new: Record, metric: str, fail_below: float) -> Line:
    before, after = old.summary[metric], new.summary[metric]
    change = after - before if sc.higher_is_better(metric) else before - after
    if math.isnan(change):
        verdict = "fell" if not math.isnan(before) else "undefined"
    elif change < -fail_below - 1e-9:
        verdict = "fell"
    elif old.key == new.key and before != after:
        verdict = "held, though one key should give one number"
    else:
        verdict = "rose" if change > 1e-9 else "equal" if abs(change) <= 1e-9 else "within the limit"
    return Line(
        old.method["name"], old.task["name"], old.protocol["name"], metric, before, after, change, verdict
    )

"""Published numbers: a table with source and variant of each, read strictly, its own contradictions flagged.

A published number is never a measured one: reports show it in a table of its own, and only where the
record beside it was measured on the whole data set of the same name.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

PATH = Path(__file__).with_name("published_results.csv")
ROUNDING = 0.1 + 1e-9  # J, F and J&F are each printed to 0.1, so the mean may be off by as much
SEEN = {
    "direct": "printed by the method's own authors",
    "second-hand": "as another paper or page reports it",
}


@dataclass(frozen=True)
class Published:
    """One number as it was printed; `flag` says what is odd about it, or is empty."""

    method: str
    variant: str
    backbone: str
    stride: str
    pretrain_data: str
    task: str
    dataset: str
    metric: str
    value: float
    unit: str
    source: str
    seen: str
    flag: str = ""

    @property
    def place(self) -> tuple[str, ...]:
        """What a value belongs to: rows that share it should hold one value."""
        return (self.method, self.variant, self.backbone, self.stride, self.dataset, self.source)


@dataclass(frozen=True)
class Contradiction:
    """Values of one method, backbone, stride, data set and metric that do not agree."""

    method: str
    backbone: str
    stride: str
    dataset: str
    metric: str
    values: tuple[tuple[float, str, str], ...]  # value, variant, source

    @property
    def spread(self) -> float:
        """Points between the lowest and the highest."""
        found = [value for value, _, _ in self.values]
        return max(found) - min(found)


def read(path: Path = PATH) -> tuple[Published, ...]:
    """All rows, J&F-Mean rows flagged that are not the mean of J-Mean and F-Mean beside them.

    `ValueError` naming file, line and value for a missing column, a value that is no percentage, an
    unknown word.
    """
    names = [field.name for field in fields(Published) if field.name != "flag"]
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            if header != names:
                raise ValueError(f"{path} has the columns {', '.join(header)}; expected {', '.join(names)}")
            rows = [
                _row(path, reader.line_num, dict(zip(names, line, strict=False)), names) for line in reader
            ]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error}); save it as UTF-8") from None
    return _flagged(rows)


def on(rows: Iterable[Published], dataset: str) -> tuple[Published, ...]:
    """The rows measured on the data set of that name."""
    return tuple(row for row in rows if row.dataset == dataset)


def contradictions(rows: Sequence[Published], least: float = 0.0) -> tuple[Contradiction, ...]:
    """One method, backbone, stride, data set and metric with several values, widest first.

    Only those that differ by more than `least` points. They are the literature's own: other protocols, other
    re-runs, and slips of the pen look alike from outside.
    """
    groups: dict[tuple[str, ...], list[Published]] = {}
    for row in rows:
        if "?" not in (row.backbone, row.stride):
            key = (row.method, row.backbone.rstrip("*"), row.stride.rstrip("*"), row.dataset, row.metric)
            groups.setdefault(key, []).append(row)
    found = [
        Contradiction(
            key[0],
            key[1],
            key[2],
            key[3],
            key[4],
            tuple(sorted((row.value, row.variant, row.source) for row in group)),
        )
        for key, group in groups.items()
    ]
    return tuple(sorted((c for c in found if c.spread > least + 1e-9), key=lambda c: -c.spread))


def _row(path: Path, line: int, values: dict[str, str], names: Sequence[str]) -> Published:
    if len(values) != len(names):
        raise ValueError(
            f"{path}, line {line}: {len(values)} values, expected {len(names)} ({', '.join(names)})"
        )
    try:
        value = float(values["value"])
    except ValueError:
        raise ValueError(f"{path}, line {line}: value should be a number, got {values['value']!r}") from None
    if values["unit"] != "%" or not -100 <= value <= 100:
        raise ValueError(
            f"{path}, line {line}: expected a value in %, got {values['value']!r} {values['unit']!r}"
        )
    if values["seen"] not in SEEN:
        raise ValueError(f"{path}, line {line}: seen should be {' or '.join(SEEN)}, got {values['seen']!r}")
    if not values["method"] or not values["source"]:
        raise ValueError(f"{path}, line {line}: a published number needs a method and a source")
    texts = {name: text for name, text in values.items() if name != "value"}
    return Published(**texts, value=value)


def _flagged(rows: Sequence[Published]) -> tuple[Published, ...]:
    """J&F-Mean rows get a flag where J-Mean and F-Mean of the same place have another mean."""
    parts: dict[tuple[str, ...], dict[str, float]] = {}
    for row in rows:
        parts.setdefault(row.place, {})[row.metric] = row.value
    found = []
    for row in rows:
        own = parts[row.place]
        flag = ""
        if row.metric == "J&F-Mean" and {"J-Mean", "F-Mean"} <= own.keys():
            mean = (own["J-Mean"] + own["F-Mean"]) / 2
            if abs(mean - row.value) > ROUNDING:
                flag = f"is not the mean of its J ({own['J-Mean']:g}) and F ({own['F-Mean']:g}), which is {mean:g}"
        found.append(Published(**{**vars(row), "flag": flag}))
    return tuple(found)

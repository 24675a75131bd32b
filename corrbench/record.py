"""Records: one folder a run, read and written here and nowhere else.

A folder holds `record.json` (what was run, under which settings, on what, and the numbers), `scores.csv`
(a row per sequence and object, joint or class, with statistics that can be summed up again over any resample
of sequences) and, where a task has per-frame values, `frames.csv`. JSON and CSV only: reading a record never
runs anything. The sha256 of every table is in `record.json`, which is written last, so a folder with a
`record.json` is a finished run.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from corrbench.hashing import sha256

SCHEMA = 1
NAME = "record.json"
TEXT_COLUMNS = frozenset({"sequence", "object", "joint", "class", "frame"})  # all others are numbers
REQUIRED = {
    "key": str, "signature": str, "method": dict, "task": dict, "protocol": dict, "dataset": dict,
    "numerics": dict, "summary": dict, "cost": dict, "files": dict,
}  # fmt: skip

Table = dict[str, np.ndarray]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Record:
    """One finished run: its folder and what `record.json` says."""

    folder: Path
    data: dict[str, Any]

    @property
    def key(self) -> str:
        """Digest of everything that can change a score."""
        return self.data["key"]

    @property
    def signature(self) -> str:
        """One line with every choice that can change a score."""
        return self.data["signature"]

    @property
    def method(self) -> dict[str, Any]:
        return self.data["method"]

    @property
    def task(self) -> dict[str, Any]:
        return self.data["task"]

    @property
    def kind(self) -> str:
        """`vos`, `pose` or `parts`."""
        return self.data["task"]["kind"]

    @property
    def protocol(self) -> dict[str, Any]:
        return self.data["protocol"]

    @property
    def dataset(self) -> dict[str, Any]:
        return self.data["dataset"]

    @property
    def summary(self) -> dict[str, float]:
        """The numbers of the run by name, in percent; NaN (null in the file) where one is not defined."""
        return {k: math.nan if v is None else v for k, v in self.data["summary"].items()}

    @property
    def numerics(self) -> dict[str, Any]:
        return self.data["numerics"]

    @property
    def cost(self) -> dict[str, Any]:
        return self.data["cost"]

    def scores(self) -> Table:
        """Columns of `scores.csv`: text columns as `str`, numbers as float64 (NaN where empty)."""
        return read_table(self.folder / "scores.csv")

    def frames(self) -> Table | None:
        """Columns of `frames.csv`, as `scores()`; None for a task that has no per-frame values."""
        return read_table(self.folder / "frames.csv") if "frames.csv" in self.data["files"] else None


def read(folder: str | os.PathLike[str]) -> Record:
    """The record in `folder` (or the `record.json` given), its tables checked against their sha256.

    `ValueError`, in one sentence that names the file, for what is missing, damaged or of another schema.
    """
    folder = Path(folder)
    path = folder if folder.name == NAME else folder / NAME
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"{path.parent} is not a finished record: it has no {NAME}; run `corrbench run` again, it goes "
            "on where it stopped, or give another folder"
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} is not JSON ({error}); restore the file or run again with --when always"
        ) from None
    _check(path, data)
    for name, digest in data["files"].items():
        table = path.parent / name
        if Path(name).name != name:
            raise ValueError(f"{path} lists the file {name!r}, but a record's tables lie in its own folder")
        if not table.is_file():
            raise ValueError(
                f"{table} is missing though {NAME} lists it; restore it or run again with --when always"
            )
        if sha256(table) != digest:
            raise ValueError(
                f"{table} was changed after the run: its sha256 is not the one in {NAME}; restore the file "
                "or run again with --when always"
            )
    return Record(path.parent, data)


def find(*paths: str | os.PathLike[str]) -> list[Record]:
    """Every record at or below `paths`, each folder once, ordered by task, method, protocol and folder.

    `ValueError` for a path that does not exist, and for a damaged record.
    """
    folders: dict[Path, Path] = {}
    for given in map(Path, paths):
        if not given.exists():
            raise ValueError(f"{given} does not exist; give a record's folder or a folder that holds records")
        for folder in _walk(given):
            folders.setdefault(folder.resolve(), folder)
    records = [read(folder) for folder in folders.values()]
    return sorted(
        records, key=lambda r: (r.task["name"], r.method["name"], r.protocol["name"], str(r.folder))
    )


def write(
    folder: str | os.PathLike[str], data: Mapping[str, Any], tables: Mapping[str, Sequence[Row]]
) -> Record:
    """Write the tables, then `record.json`, each atomically, and return the record.

    `tables` maps a file's name (`scores.csv`, `frames.csv`) to its rows; one without rows is not written.
    `schema` and `files` of `data` are filled in here. A run stopped in between leaves no `record.json`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).unlink(
        missing_ok=True
    )  # a record of an earlier run would vouch for tables that change below
    files = {}
    for name, rows in tables.items():
        if rows:
            files[name] = save_table(folder / name, rows)
        else:
            (folder / name).unlink(missing_ok=True)
    full = {
        "schema": SCHEMA,
        **{k: v for k, v in data.items() if k not in ("schema", "files")},
        "files": files,
    }
    _check(folder / NAME, full)
    full["summary"] = {k: None if math.isnan(v) else v for k, v in full["summary"].items()}
    text = json.dumps(full, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomic(folder / NAME, text.encode("utf-8"))
    return Record(folder, json.loads(text))


def save_tables(folder: str | os.PathLike[str], rows: Sequence[Row], frames: Sequence[Row]) -> dict[str, str]:
    """Write `scores.csv` and, where there are any, `frames.csv`; sha256 by file name."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = {"scores.csv": save_table(folder / "scores.csv", rows)}
    if frames:
        files["frames.csv"] = save_table(folder / "frames.csv", frames)
    return files


def save_table(path: Path, rows: Sequence[Row]) -> str:
    """Write rows as CSV, floats so that they read back to the last bit, NaN and None as empty; its sha256."""
    if not rows:
        raise ValueError(f"{path} would be empty: nothing was scored")
    columns = list(rows[0])
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        if list(row) != columns:
            raise ValueError(f"{path}: a row has the columns {list(row)}, the first row has {columns}")
        writer.writerow([_cell(value) for value in row.values()])
    data = buffer.getvalue().encode("utf-8")
    write_atomic(path, data)
    return hashlib.sha256(data).hexdigest()


def read_table(path: Path) -> Table:
    """Columns of a CSV table by name; `ValueError` naming file, line and value for what is not a number."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        names = next(lines, [])
        rows = list(lines)
    if not names or not rows:
        raise ValueError(f"{path} holds no rows; run again with --when always")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(names):
            raise ValueError(f"{path}, line {number}: {len(row)} values under {len(names)} columns")
    return {
        name: np.array(values) if name in TEXT_COLUMNS else _numbers(path, name, values)
        for name, values in zip(names, zip(*rows, strict=True), strict=True)
    }


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` beside `path`, flush it to disk, and put it in place by one rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _walk(given: Path) -> Iterable[Path]:
    """Folders at or below `given` with a `record.json`; a record's own folders are not searched."""
    if given.is_file():
        if given.name != NAME:
            raise ValueError(f"{given} is not a record: expected a {NAME} or a folder that holds one")
        return [given.parent]
    found = []
    for root, folders, files in os.walk(given, followlinks=True):
        if NAME in files:
            found.append(Path(root))
            folders.clear()
        folders[:] = sorted(name for name in folders if not name.startswith("."))
    return found


def _check(path: Path, data: Any) -> None:
    if not isinstance(data, dict) or "schema" not in data:
        raise ValueError(
            f"{path} is not a record: it has no 'schema'; give a folder that `corrbench run` wrote"
        )
    if data["schema"] != SCHEMA:
        raise ValueError(
            f"{path} has schema {data['schema']!r}, this corrbench reads schema {SCHEMA}; use the corrbench "
            "that wrote it, or run again"
        )
    for name, kind in REQUIRED.items():
        if not isinstance(data.get(name), kind):
            raise ValueError(f"{path}: {name!r} should be a {kind.__name__}, got {data.get(name)!r}")
    for part, names in {
        "method": ("name",),
        "task": ("name", "kind"),
        "protocol": ("name", "signature"),
        "dataset": ("name", "sequences", "official", "synthetic", "digest"),
    }.items():
        for name in names:
            if name not in data[part]:
                raise ValueError(f"{path}: {part!r} lacks {name!r}; run again with this corrbench")


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, (bool, np.bool_)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return "" if math.isnan(value) else repr(float(value))
    return value


def _numbers(path: Path, name: str, values: Sequence[str]) -> np.ndarray:
    try:
        return np.array([float(value) if value else math.nan for value in values], dtype=np.float64)
    except ValueError as error:
        for line, value in enumerate(values, start=2):
            try:
                float(value or "nan")
            except ValueError:
                raise ValueError(f"{path}, line {line}: {name} should be a number, got {value!r}") from error
        raise

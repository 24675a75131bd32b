"""An ablation report's folder: every study's records and training logs, kept small, so that the report needs nothing else.

`FOLDER/<study>.json` names the records of one study (a method's ablations trained under one schedule, evaluated under one
set of conditions); `records/` and `stages/` hold them. Imports no torch.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corrbench import config, record
from corrbench import scores as sc
from corrbench.ablation_questions import asked
from corrbench.ablation_table import Row, csv_text, markdown, plain, rows_of
from corrbench.protocol import names, preset
from corrbench.record import Record, write_atomic

FULL = "full method"
LOG_ROWS = 120  # a kept log.csv has at most so many rows, each the mean of its share of the run
NOT_LOSSES = ("update", "lr", "updates_per_second")


@dataclass(frozen=True)
class Study:
    """A method's ablations under one schedule and one set of conditions, read back from a report's folder."""

    method: str
    task: str
    schedule: str | None
    metric: str
    extent: str
    size: str
    protocol: str
    rows: tuple[Row, ...]
    records: dict[tuple[str, int], Record]
    notes: tuple[str, ...]
    name: str

    @property
    def title(self) -> str:
        """What the numbers were measured on: data, how much of it, and the size of its frames."""
        return f"{self.extent}, {self.size}"

    def row(self, name: str) -> Row | None:
        """The row of a variant; None where it is not in the study or has no number."""
        return next((row for row in self.rows if row.name == name and row.value is not None), None)


@dataclass(frozen=True)
class Stage:
    """A trained stage of the studies: what its stage.json says, and its losses by name as (updates, values)."""

    about: dict[str, Any]
    curves: dict[str, tuple[tuple[float, ...], tuple[float, ...]]]
    link: str
    users: tuple[tuple[str, int], ...]  # variant and seed of every record that its weights are behind


def size_words(first: Record) -> str:
    """The size at which frames were evaluated, as it stands in the protocol: `short side 240`."""
    resize = str((first.protocol.get("settings") or {}).get("resize", ""))
    if resize == "native":
        return "frames at their own size"
    return resize.replace("short ", "short side ", 1) if resize.startswith("short ") else resize


def protocol_words(first: Record) -> str:
    """The protocol's name, with the switches that are not the preset's: `stt, radius=6`; the frames' size is said apart."""
    name = first.protocol["name"]
    if name not in names():
        return name
    usual = preset(name, first.kind).settings()
    own = {
        k: v
        for k, v in (first.protocol.get("settings") or {}).items()
        if k in usual and k not in ("resize", "version")
    }
    return ", ".join([name, *(f"{k}={v}" for k, v in own.items() if v != usual[k])])


def write(
    result: Any,
    folder: Path,
    stages: Sequence[Path],
    settings: str,
) -> list[Path]:
    """Keep a study in `folder` (as .md, .json, .csv), with its records and logs, and write the report of all studies there.

    `result` is an `ablation.Ablation`; `settings` the digest of what its variants are: a study of that name with the same
    settings and conditions is added to, one with others is replaced. What no study names any more is deleted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    first = next(iter(result.records.values()))
    stem = _stem(result, first)
    conditions = config.digest([list(map(str, pair)) for pair in sc.group_key(first)])
    same = {"settings": settings, "conditions": conditions}
    before = _read_json(folder / f"{stem}.json")
    if any(before.get(key) != value for key, value in same.items()):
        before = {}
    runs = {(one["variant"], one["seed"]): one for one in before.get("records", [])}
    for (name, seed), made in result.records.items():
        runs[name, seed] = {
            "variant": name, "seed": seed, "key": made.key, "signature": made.signature,
            "checkpoint": made.data["checkpoint"], "folder": _keep_record(made, folder),
        }  # fmt: skip
    order = list(dict.fromkeys([*(row.name for row in result.rows), *before.get("names", [])]))
    if before.get("names"):
        order = sorted(order, key=[*before["names"], *order].index)
    reasons = {
        k: v for k, v in before.get("reasons", {}).items() if k not in {row.name for row in result.rows}
    }
    reasons |= {row.name: _no_home(row.reason) for row in result.rows if row.reason}
    data = same | {
        "method": result.method, "task": result.task, "schedule": result.schedule, "names": order,
        "reasons": reasons, "records": list(runs.values()),
        "notes": list(dict.fromkeys([*before.get("notes", []), *map(_no_home, result.notes)])),
    }  # fmt: skip
    write_atomic(folder / f"{stem}.json", _json(data))
    for stage in stages:
        _keep_stage(stage, folder)
    study = _study(folder / f"{stem}.json", data)
    full = data | {"metric": study.metric, "extent": study.title, "rows": [plain(row) for row in study.rows]}
    for suffix, content in (
        (".md", markdown(study).encode()),
        (".json", _json(full)),
        (".csv", csv_text(study.rows).encode()),
    ):
        write_atomic(folder / f"{stem}{suffix}", content)
    _prune(folder)
    from corrbench.reporting.ablation_page import write_report

    write_report(folder)
    return [folder / f"{stem}{suffix}" for suffix in (".md", ".json", ".csv")]


def studies(folder: Path) -> list[Study]:
    """Every study kept in `folder`, real data first; `ValueError` where there is none or one lacks a record."""
    found = [
        _study(path, data)
        for path in sorted(folder.glob("*.json"))
        if (data := _read_json(path)).get("records")
    ]
    if not found:
        raise ValueError(f"{folder} holds no ablation study; `corrbench ablate METHOD TASK` writes them")
    kinds = ("vos", "pose", "parts")

    def place(study: Study) -> tuple[Any, ...]:
        first = next(iter(study.records.values()))
        return study.method, bool(first.dataset["synthetic"]), kinds.index(first.kind), study.name

    return sorted(found, key=place)


def stages(folder: Path, found: Sequence[Study]) -> list[Stage]:
    """The kept stages behind the studies' records, first steps first, in the order of the studies' variants."""
    users: dict[str, dict[tuple[str, int], None]] = {}
    for study in found:
        order = [row.name for row in study.rows]
        for name, seed in sorted(study.records, key=lambda pair: (order.index(pair[0]), pair[1])):
            for digest in _digests([study.records[name, seed].data]):
                users.setdefault(digest, {})[name, seed] = None
    kept = []
    for digest, who in users.items():
        home = folder / "stages" / digest[:12]
        about = _read_json(home / "stage.json")
        if about:
            kept.append(Stage(about, _curves(home / "log.csv"), f"stages/{home.name}/stage.json", tuple(who)))
    return sorted(kept, key=lambda stage: stage.about["number"])


def thinned(text: str, rows: int = LOG_ROWS) -> str:
    """A log.csv with at most `rows` rows: means of equal shares of the run, at the last update of each."""
    lines = list(csv.reader(io.StringIO(text)))
    head, body = lines[0], lines[1:]
    if len(body) <= rows:
        return text
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    for number in range(rows):
        share = body[number * len(body) // rows : (number + 1) * len(body) // rows]
        last = dict(zip(head, share[-1], strict=True))
        means = {k: sum(float(line[i]) for line in share) / len(share) for i, k in enumerate(head)}
        writer.writerow([last[k] if k in ("update", "lr") else f"{means[k]:.6g}" for k in head])
    return out.getvalue()


def _study(path: Path, data: Mapping[str, Any]) -> Study:
    records = {}
    for one in data["records"]:
        made = record.read(path.parent / one["folder"])
        if made.key != one["key"]:
            raise ValueError(
                f"{path} names the record {one['key'][:12]}, but {made.folder} is {made.key[:12]}; run ablate again"
            )
        records[one["variant"], one["seed"]] = made
    first = next(iter(records.values()))
    rows = rows_of(records, FULL, data["reasons"], data["names"], asked(data["method"]))
    return Study(
        data["method"], data["task"], data["schedule"], sc.headline(first), sc.extent(first), size_words(first),
        protocol_words(first), tuple(rows), records, tuple(data["notes"]), path.stem,
    )  # fmt: skip


def _stem(result: Any, first: Record) -> str:
    parts = [
        result.method,
        result.task,
        "synthetic" if first.dataset["synthetic"] and result.task != "synthetic" else "",
        result.schedule or "as-written",
        first.protocol["name"],
        size_words(first),
    ]
    words = "-".join(filter(None, parts)).replace("short side ", "")
    return "-".join("".join(c if c.isalnum() or c in "._" else " " for c in words).split())


def _keep_record(made: Record, folder: Path) -> str:
    """Copy a record without its per-frame table, which no ablation report shows; its folder relative to `folder`."""
    kept = folder / "records" / str(made.task["name"]) / made.folder.name
    kept.mkdir(parents=True, exist_ok=True)
    files = {name: digest for name, digest in made.data["files"].items() if name == "scores.csv"}
    data = made.data | {"files": files, "left_out": sorted(set(made.data["files"]) - set(files))}
    for name in files:
        write_atomic(kept / name, (made.folder / name).read_bytes())
    write_atomic(kept / record.NAME, _json(data))
    return kept.relative_to(folder).as_posix()


def _keep_stage(stage: Path, folder: Path) -> None:
    """Copy a stage's stage.json without folders of this machine, and its log thinned."""
    about = _read_json(stage / "stage.json")
    kept = folder / "stages" / stage.name[:12]
    kept.mkdir(parents=True, exist_ok=True)
    write_atomic(kept / "stage.json", _json(placeless(about)))
    if (stage / "log.csv").is_file():
        write_atomic(kept / "log.csv", thinned((stage / "log.csv").read_text(encoding="utf-8")).encode())


def placeless(value: Any) -> Any:
    """Settings with folders by their names alone, and without roots: nothing of this machine."""
    if isinstance(value, Mapping):
        return {
            k: [Path(part).name for part in v] if k == "folders" and isinstance(v, list) else placeless(v)
            for k, v in value.items()
            if k != "root"
        }
    return [placeless(v) for v in value] if isinstance(value, list) else value


def _prune(folder: Path) -> None:
    """Delete records and stages that no study names."""
    kept = [data for path in folder.glob("*.json") if (data := _read_json(path)).get("records")]
    named = {one["folder"] for data in kept for one in data["records"]}
    for path in (folder / "records").glob("*/*"):
        if path.relative_to(folder).as_posix() not in named:
            shutil.rmtree(path)
    digests = {digest[:12] for data in kept for digest in _digests(data["records"])}
    for path in (folder / "stages").glob("*"):
        if path.name not in digests:
            shutil.rmtree(path)


def _digests(runs: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """The digests of the stages behind records (or what a study keeps of them), in order of training."""
    for run in runs:
        for stage in ((run.get("checkpoint") or {}).get("trained") or {}).get("stages", []):
            yield stage["digest"]


def _curves(path: Path) -> dict[str, tuple[tuple[float, ...], tuple[float, ...]]]:
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    at = tuple(float(row["update"]) for row in rows)
    return {
        name: (at, tuple(float(row[name]) for row in rows))
        for name in (rows[0] if rows else {})
        if name not in NOT_LOSSES
    }


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not JSON ({error}); delete it and run ablate again") from None
    return found if isinstance(found, dict) else {}


def _json(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode()


def _no_home(words: str | None) -> str:
    return (words or "").replace(str(Path.home()), "~")

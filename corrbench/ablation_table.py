"""The table of an ablation: differences to the full method, spread over seeds, intervals over sequences; no torch."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from corrbench import scores as sc
from corrbench import statistics as st
from corrbench.record import Record, write_atomic


@dataclass(frozen=True)
class Row:
    """One variant. `difference` is the variant minus the full method, in points, mean over the seeds that both have.

    `spread` is the standard deviation over seeds (None for one), `difference_spread` that of the paired differences;
    `low` and `high` a 95 % BCa bootstrap interval of the difference over sequences, `p` a paired permutation test over
    sequences (not corrected for the number of rows). `reason` says why a variant has no number.
    """

    name: str
    seeds: tuple[int, ...] = ()
    values: tuple[float, ...] = ()
    value: float | None = None
    spread: float | None = None
    difference: float | None = None
    difference_spread: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    lower_on: int | None = None
    sequences: int | None = None
    reason: str | None = None
    records: tuple[str, ...] = ()


def rows_of(
    records: Mapping[tuple[str, int], Record], full: str, reasons: Mapping[str, str], names: Sequence[str]
) -> list[Row]:
    """A row a variant, in the order of `names`, the full method first. `records` are by (name, seed)."""
    scores = {key: sc.of(record) for key, record in records.items()}
    base = {seed: score for (name, seed), score in scores.items() if name == full}
    rows = []
    for name in dict.fromkeys(names):
        mine = {seed: score for (n, seed), score in scores.items() if n == name}
        if not mine:
            rows.append(Row(name, reason=reasons.get(name, "no record")))
            continue
        values = tuple(score.value() for score in mine.values())
        row: dict[str, Any] = {
            "name": name,
            "seeds": tuple(mine),
            "values": values,
            "value": mean(values),
            "spread": stdev(values) if len(values) > 1 else None,
            "reason": reasons.get(name),
            "records": tuple(str(records[name, seed].folder) for seed in mine),
        }
        both = [seed for seed in mine if seed in base]
        if name != full and both:
            row |= _difference([mine[s] for s in both], [base[s] for s in both])
        rows.append(Row(**row))
    return rows


def _difference(mine: list[sc.Scores], base: list[sc.Scores]) -> dict[str, Any]:
    """Paired over seeds and sequences: the mean over seeds of the differences, resampled over sequences."""
    size = len(mine[0].names)
    if any(score.names != mine[0].names for score in mine + base):
        raise ValueError("the variants were scored on different sequences; run them all on the same data")
    apart = [a.value() - b.value() for a, b in zip(mine, base, strict=True)]
    found: dict[str, Any] = {
        "difference": mean(apart),
        "difference_spread": stdev(apart) if len(apart) > 1 else None,
        "sequences": size,
    }
    by_sequence = np.mean([a.by_sequence() - b.by_sequence() for a, b in zip(mine, base, strict=True)], 0)
    found["lower_on"] = int(np.sum(by_sequence < 0))
    if size < 2:
        return found
    joined = [sc.exchange(a, b) for a, b in zip(mine, base, strict=True)]

    def difference(weights: np.ndarray) -> np.ndarray:
        return np.mean([a(weights) - b(weights) for a, b in zip(mine, base, strict=True)], 0)

    def exchanged(swapped: np.ndarray) -> np.ndarray:
        kept = 1 - swapped
        first, second = np.hstack([kept, swapped]), np.hstack([swapped, kept])
        return np.mean([both(first) - both(second) for both in joined], 0)

    low, high = st.bootstrap(difference, size).bca
    return found | {"low": low, "high": high, "p": st.permutation(exchanged, size).p}


def markdown(result: Any) -> str:
    """The table with what it was measured on, and what cannot be read from it."""
    lines = [
        f"# Ablations of {result.method} on {result.task}: {result.metric}",
        "",
        f"Evaluated on {result.extent}. Training schedule: {result.schedule or 'as written in the method file'}.",
        "",
        *(f"**{note}**\n" for note in result.notes),
        f"| variant | seeds | {result.metric} | difference | 95 % over sequences | p | lower on |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in result.rows:
        if row.value is None:
            lines.append(f"| {row.name} | | not run: {row.reason} | | | | |")
            continue
        value = f"{row.value:.1f}" + (f" ± {row.spread:.1f}" if row.spread is not None else "")
        apart = _signed(row.difference) + (
            f" ± {row.difference_spread:.1f}" if row.difference_spread is not None else ""
        )
        interval = f"{_signed(row.low)} to {_signed(row.high)}" if row.low is not None else ""
        p = f"{row.p:.3f}" if row.p is not None else ""
        lower = f"{row.lower_on} of {row.sequences}" if row.lower_on is not None else ""
        note = f" ({row.reason})" if row.reason else ""
        lines.append(
            f"| {row.name}{note} | {len(row.seeds)} | {value} | {apart} | {interval} | {p} | {lower} |"
        )
    lines += [
        "",
        "Difference: the variant minus the full method, in points, seed by seed on the same sequences, then the mean. ±",
        "is the standard deviation over seeds. The interval (BCa bootstrap) and p (paired permutation, not corrected for",
        "the number of rows) are over sequences: they say whether the difference would hold on other videos, not on",
        "other seeds.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.1f}"


def csv_text(rows: Sequence[Row]) -> str:
    """The rows as CSV, lists joined by spaces."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(asdict(rows[0]))
    for row in rows:
        cells = [" ".join(map(str, v)) if isinstance(v, tuple) else v for v in asdict(row).values()]
        writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in cells])
    return out.getvalue()


def plot(result: Any) -> bytes:
    """Horizontal bars of the differences with their intervals over sequences, each seed a dot, as SVG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [row for row in result.rows if row.difference is not None]
    full = next(row for row in result.rows if row.difference is None and row.value is not None)
    base = dict(zip(full.seeds, full.values, strict=True))
    with pyplot.rc_context({"svg.hashsalt": "ablation", "svg.fonttype": "none", "font.size": 9}):
        figure, axes = pyplot.subplots(figsize=(7, 1 + 0.34 * max(len(shown), 1)), layout="constrained")
        for place, row in enumerate(shown):
            axes.barh(place, row.difference, height=0.6, color="#4878a8" if row.difference < 0 else "#c98b3c")
            if row.low is not None and row.high is not None:
                axes.plot([row.low, row.high], [place, place], color="#222222", linewidth=1)
            dots = [v - base[s] for s, v in zip(row.seeds, row.values, strict=True) if s in base]
            if len(dots) > 1:
                axes.plot(dots, [place] * len(dots), "o", color="#222222", markersize=3)
        axes.set_yticks(range(len(shown)), [row.name for row in shown])
        axes.invert_yaxis()
        axes.axvline(0, color="#222222", linewidth=0.8)
        axes.set_xlabel(f"{result.metric}, difference to the full method ({full.value:.1f}), points")
        axes.set_title(f"{result.method} on {result.extent}", fontsize=9)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        out = io.BytesIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
        pyplot.close(figure)
    return out.getvalue()


def write(result: Any, folder: Path, stages: Sequence[Path] = ()) -> list[Path]:
    """Write `<method>-<task>-<schedule>` as .md, .json, .csv and .svg; beside them each stage's stage.json and log.csv."""
    stem = "-".join([result.method, result.task, result.schedule or "as-written"])
    data = {
        "method": result.method,
        "task": result.task,
        "schedule": result.schedule,
        "metric": result.metric,
        "extent": result.extent,
        "notes": list(result.notes),
        "rows": [{k: _plain(v) for k, v in asdict(row).items()} for row in result.rows],
        "records": [
            {
                "variant": name,
                "seed": seed,
                "key": r.key,
                "signature": r.signature,
                "checkpoint": r.data["checkpoint"],
            }
            for (name, seed), r in result.records.items()
        ],
    }
    contents = {
        ".md": markdown(result).encode(),
        ".json": json.dumps(data, indent=1, ensure_ascii=False).encode(),
        ".csv": csv_text(result.rows).encode(),
        ".svg": plot(result),
    }
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for suffix, content in contents.items():
        files.append(folder / f"{stem}{suffix}")
        write_atomic(files[-1], content)
    for stage in stages:
        kept = folder / "stages" / stage.name[:12]
        kept.mkdir(parents=True, exist_ok=True)
        for name in ("stage.json", "log.csv"):
            if (stage / name).is_file():
                shutil.copyfile(stage / name, kept / name)
    return files


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return list(value) if isinstance(value, tuple) else value

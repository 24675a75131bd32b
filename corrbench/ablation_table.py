"""The table of an ablation: differences to the full method, spread over seeds, intervals over sequences; no torch.

Two questions are kept apart. Would the difference hold on other videos: bootstrap and permutation over sequences. Would it
hold with other seeds: against the spread of paired differences over seeds, pooled over the variants that have several.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import mean, stdev
from typing import Any

import numpy as np

from corrbench import scores as sc
from corrbench import statistics as st
from corrbench.record import Record
from corrbench.reproduction import T_975

LEVEL = 0.05
SEED_FACTOR = 1.96 * math.sqrt(
    2
)  # two runs that differ by the seed alone: 95 % lie within so many standard deviations


@dataclass(frozen=True)
class Row:
    """One variant. `difference` is the variant minus the full method, in points, mean over the seeds that both have.

    `spread` is the standard deviation over seeds (None for one), `difference_spread` that of the paired differences;
    `low` and `high` a 95 % BCa bootstrap interval of the difference over sequences, `p` a paired permutation test over
    sequences and `p_holm` the same, corrected for the `tests` that it is one of. `seed_margin` is how large a difference
    has to be to be more than a change of seeds makes (95 %). `reason` says why a variant has no number.
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
    p_holm: float | None = None
    tests: int | None = None
    seed_margin: float | None = None
    lower_on: int | None = None
    sequences: int | None = None
    reason: str | None = None
    records: tuple[str, ...] = ()

    @property
    def over_videos(self) -> bool | None:
        """Whether the difference is shown over sequences, at 5 % after Holm's correction; None where no test was made."""
        return None if self.p_holm is None else self.p_holm <= LEVEL

    @property
    def could_show(self) -> bool:
        """Whether any result on so many sequences could pass the test, whose smallest p is 2 / 2^S times `tests`."""
        return self.sequences is None or 2.0 ** (1 - self.sequences) * (self.tests or 1) <= LEVEL

    @property
    def over_seeds(self) -> bool | None:
        """Whether the difference is more than a change of seed makes; None where no spread over seeds is known."""
        if self.seed_margin is None or self.difference is None:
            return None
        return abs(self.difference) > self.seed_margin

    @property
    def shown(self) -> str:
        """What the difference is shown over: `videos`, `seeds`, `both` or `neither`."""
        if self.over_videos and self.over_seeds:
            return "both"
        return "videos" if self.over_videos else "seeds" if self.over_seeds else "neither"


def rows_of(
    records: Mapping[tuple[str, int], Record],
    full: str,
    reasons: Mapping[str, str],
    names: Sequence[str],
    asked: Collection[str] = (),
) -> list[Row]:
    """A row a variant, in the order of `names`. `records` are by (name, seed).

    Tests of the variants in `asked` (which the method's paper is about) are corrected for each other; so are the others.
    """
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
            "records": tuple(records[name, seed].key for seed in mine),
        }
        both = [seed for seed in mine if seed in base]
        if name != full and both:
            row |= _difference([mine[s] for s in both], [base[s] for s in both])
        rows.append(Row(**row))
    return _over_seeds(_corrected(rows, asked))


def _corrected(rows: list[Row], asked: Collection[str]) -> list[Row]:
    """Holm's correction: over the rows that a question is asked about, and over all the others."""
    found: dict[str, tuple[float, int]] = {}
    for family in (True, False):
        tested = [row for row in rows if row.p is not None and (row.name in asked) is family]
        corrected = st.holm([float(row.p or 0) for row in tested])
        found |= {row.name: (p, len(tested)) for row, p in zip(tested, corrected, strict=True)}
    return [
        replace(row, p_holm=found[row.name][0], tests=found[row.name][1]) if row.name in found else row
        for row in rows
    ]


def _over_seeds(rows: list[Row]) -> list[Row]:
    """How large each difference has to be to be more than a change of seeds makes: Student's t times its standard error.

    The paired differences' variance over seeds is pooled over the variants with several seeds: from three seeds alone it
    would be too coarse, and a variant with one seed has none. That takes variants to be alike in it. None without any.
    """
    several = [row for row in rows if row.difference_spread is not None]
    degrees = sum(len(row.seeds) - 1 for row in several)
    if not degrees:
        return rows
    squares = sum((len(row.seeds) - 1) * float(row.difference_spread or 0) ** 2 for row in several)
    t = T_975[min(degrees, len(T_975) - 1)]
    margin = t * math.sqrt(squares / degrees)
    return [
        row if row.difference is None else replace(row, seed_margin=margin / math.sqrt(len(row.seeds)))
        for row in rows
    ]


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
    """The table as text, with what it was measured on; the report beside it says more."""
    lines = [
        f"# Ablations of {result.method} on {result.task}: {result.metric}",
        "",
        f"Evaluated on {result.extent}. Training schedule: {result.schedule or 'as written in the method file'}.",
        "",
        *(f"**{note}**\n" for note in result.notes),
        f"| variant | seeds | {result.metric} | difference | 95 % over sequences | p (Holm) | lower on | shown over |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in result.rows:
        if row.value is None:
            lines.append(f"| {row.name} | | not run: {row.reason} | | | | | |")
            continue
        interval = f"{signed(row.low)} to {signed(row.high)}" if row.low is not None else ""
        p = f"{row.p_holm:.3f}" if row.p_holm is not None else ""
        lower = f"{row.lower_on} of {row.sequences}" if row.lower_on is not None else ""
        note = f" ({row.reason})" if row.reason else ""
        shown = row.shown if row.difference is not None else ""
        lines.append(
            f"| {row.name}{note} | {len(row.seeds)} | {with_spread(row.value, row.spread)} "
            f"| {with_spread(row.difference, row.difference_spread, sign=True)} | {interval} | {p} | {lower} | {shown} |"
        )
    return "\n".join([*lines, "", *EXPLANATION]) + "\n"


EXPLANATION = (
    "Difference: the variant minus the full method, in points, seed by seed on the same sequences, then the mean; ± is the "
    "standard deviation over seeds. Over videos: interval (BCa bootstrap) and p (paired permutation) are over sequences; p "
    "is Holm-corrected, for the comparisons that the paper is about and for the others apart. Over seeds: the difference is "
    "larger than a change of seeds makes (95 %; Student's interval with the spread of paired differences over seeds, pooled "
    "over the variants that have several).",
)


def signed(value: float | None) -> str:
    """A difference in points with its sign, one digit; empty for None."""
    return "" if value is None else f"{value:+.1f}"


def with_spread(value: float | None, spread: float | None, *, sign: bool = False) -> str:
    """`45.3 ± 0.4`; without the spread where there is none."""
    if value is None:
        return ""
    words = signed(value) if sign else f"{value:.1f}"
    return f"{words} ± {spread:.1f}" if spread is not None else words


def csv_text(rows: Sequence[Row]) -> str:
    """The rows as CSV, lists joined by spaces."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(asdict(rows[0]))
    for row in rows:
        cells = [" ".join(map(str, v)) if isinstance(v, tuple) else v for v in asdict(row).values()]
        writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in cells])
    return out.getvalue()


def plain(row: Row) -> dict[str, Any]:
    """A row as JSON data."""
    return {k: _plain(v) for k, v in asdict(row).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return list(value) if isinstance(value, tuple) else value

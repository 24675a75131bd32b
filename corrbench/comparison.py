"""Is method A better than B? Paired over sequences, from records alone, and only under equal conditions."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from corrbench import scores as sc
from corrbench import statistics as st
from corrbench.record import Record

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Pair:
    """`a` minus `b`: difference in points, 95 % intervals, p-values, and what this data could have shown.

    `percentile` and `bca` are (low, high); `smallest` is the smallest true difference that would be found
    with 80 % power; `by_sequence` the two methods' values on each sequence (S, 2).
    """

    a: str
    b: str
    difference: float
    percentile: tuple[float, float]
    bca: tuple[float, float]
    p: float
    p_holm: float
    exact: bool
    smallest: float
    by_sequence: np.ndarray

    @property
    def verdict(self) -> str:
        """In a word: `better` and `worse` are of a against b, at 5 % after Holm's correction."""
        if self.p_holm > 1 - st.LEVEL:
            return "not shown"
        return "higher" if self.difference > 0 else "lower"


@dataclass(frozen=True)
class Comparison:
    """Methods under one set of conditions: their values with intervals, every pair, and loud notes."""

    metric: str
    labels: tuple[str, ...]
    values: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...]
    names: tuple[str, ...]
    pairs: tuple[Pair, ...]
    extent: str
    signatures: tuple[str, ...]
    notes: tuple[str, ...]

    def rows(self) -> list[dict[str, Any]]:
        """A flat dict per pair, for tables of any kind."""
        return [
            {
                "a": pair.a, "b": pair.b, "metric": self.metric, "difference": pair.difference,
                "low": pair.bca[0], "high": pair.bca[1], "percentile_low": pair.percentile[0],
                "percentile_high": pair.percentile[1], "p": pair.p, "p_holm": pair.p_holm,
                "exact": pair.exact, "smallest": pair.smallest, "verdict": pair.verdict,
                "sequences": len(self.names), "a_higher_on": int(np.sum(np.diff(pair.by_sequence) < 0)),
            }
            for pair in self.pairs
        ]  # fmt: skip

    def frame(self) -> pandas.DataFrame:
        """The pairs as a pandas frame."""
        import pandas

        return pandas.DataFrame(self.rows())

    def by_sequence(self) -> list[dict[str, Any]]:
        """A row per pair and sequence: both values and their difference."""
        return [
            {"a": pair.a, "b": pair.b, "sequence": name, "value_a": a, "value_b": b, "difference": a - b}
            for pair in self.pairs
            for name, (a, b) in zip(self.names, pair.by_sequence.tolist(), strict=True)
        ]


def compare(
    records: Sequence[Record],
    metric: str | None = None,
    baseline: str | None = None,
    *,
    allow: Sequence[str] = (),
    seed: int = 0,
    count: int = st.RESAMPLES,
) -> Comparison:
    """Compare records pairwise, or each with `baseline` (a method's name or a label), over their sequences.

    Refuses with `ValueError` when the records differ in more than the method. `allow` names what may differ
    and is then said in `notes`: `protocol`, `protocol.topk`, `numerics`, `task`, `data` (other files under
    the same sequence names; other sequences are always refused). Bootstrap and permutation use `seed` and
    `count`.
    """
    if len(records) < 2:
        raise ValueError(f"a comparison needs at least 2 records, got {len(records)}")
    kinds = {record.kind for record in records}
    if len(kinds) > 1:
        raise ValueError(f"records of different kinds cannot be compared: {', '.join(sorted(kinds))}")
    notes = _conditions(records, tuple(allow)) + _versions(records)
    names = labels(records)
    metric = metric or sc.headline(records[0])
    scores = [sc.of(record, metric) for record in records]
    _same_sequences(records, scores)
    if len(scores[0].names) < 6:
        notes.append(f"only {len(scores[0].names)} sequences: no test can reach p < 0.05 below 6")
    weights = st.resamples(len(scores[0].names), count, seed)
    runs = list(zip(names, scores, strict=True))
    picked = [_pair(a, b, seed, count) for a, b in _pairs(runs, records, baseline)]
    corrected = st.holm([pair.p for pair in picked])
    pairs = tuple(Pair(**{**vars(pair), "p_holm": p}) for pair, p in zip(picked, corrected, strict=True))
    return Comparison(
        metric=metric,
        labels=names,
        values=tuple(score.value() for score in scores),
        intervals=tuple(st.percentile(score(weights)) for score in scores),
        names=scores[0].names,
        pairs=pairs,
        extent=sc.extent(records[0]),
        signatures=tuple(record.signature for record in records),
        notes=tuple(notes),
    )


def labels(records: Sequence[Record]) -> tuple[str, ...]:
    """The shortest names that tell the records apart: method, then protocol, then key."""
    for parts in (("method",), ("method", "protocol"), ("method", "protocol", "task")):
        found = [" ".join(str(record.data[part]["name"]) for part in parts) for record in records]
        if len(set(found)) == len(found):
            return tuple(found)
    found = [f"{r.method['name']} {r.protocol['name']} {r.key[:8]}" for r in records]
    if len(set(found)) < len(found):
        raise ValueError("two of the records have the same key: they are the same run, so nothing can differ")
    return tuple(found)


def _conditions(records: Sequence[Record], allow: tuple[str, ...]) -> list[str]:
    """What differs and was allowed, as notes; `ValueError` for what was not allowed."""
    notes = []
    refused = []
    for name, values in sc.differences(records).items():
        words = f"{name} ({' against '.join(dict.fromkeys(str(v) for v in values))})"
        if any(name == given or name.startswith(f"{given}.") for given in allow):
            notes.append(f"conditions differ: {words}")
        else:
            refused.append((name, words))
    if refused:
        groups = ", ".join(dict.fromkeys(name.split(".")[0] for name, _ in refused))
        raise ValueError(
            f"the records differ in more than the method: {'; '.join(words for _, words in refused)}. Run "
            f"them under the same conditions, or allow it by name ({groups}) and read the result with that "
            "in mind"
        )
    return notes


def _versions(records: Sequence[Record]) -> list[str]:
    """Libraries that may move a score and are not of one version, as notes."""
    found = []
    for name in ("corrbench", "torch", "torchvision", "numpy"):
        versions = dict.fromkeys(str((r.data.get("versions") or {}).get(name, "unknown")) for r in records)
        if len(versions) > 1:
            found.append(f"made by different versions of {name}: {', '.join(versions)}")
    return found


def _same_sequences(records: Sequence[Record], scores: Sequence[sc.Scores]) -> None:
    for record, score in zip(records, scores, strict=True):
        odd = set(score.names) ^ set(scores[0].names)
        if odd:
            raise ValueError(
                f"{record.folder} and {records[0].folder} were scored on different sequences ({len(odd)} "
                f"in one only, such as {min(odd)!r}); run both on the same list, a part is never compared"
            )


def _pairs(
    runs: list[tuple[str, sc.Scores]], records: Sequence[Record], baseline: str | None
) -> list[tuple[tuple[str, sc.Scores], tuple[str, sc.Scores]]]:
    """Pairs, the higher first; or everything against the baseline."""
    if baseline is None:
        ordered = sorted(runs, key=lambda run: -run[1].value())
        return list(itertools.combinations(ordered, 2))
    fits = [i for i, (label, _) in enumerate(runs) if baseline in (label, records[i].method["name"])]
    if len(fits) != 1:
        known = ", ".join(label for label, _ in runs)
        raise ValueError(f"baseline {baseline!r} names {len(fits)} of the records; give one of: {known}")
    return [(run, runs[fits[0]]) for i, run in enumerate(runs) if i != fits[0]]


def _pair(a: tuple[str, sc.Scores], b: tuple[str, sc.Scores], seed: int, count: int) -> Pair:
    (name_a, score_a), (name_b, score_b) = a, b
    size = len(score_a.names)
    both = sc.exchange(score_a, score_b)

    def difference(weights: np.ndarray) -> np.ndarray:
        return score_a(weights) - score_b(weights)

    def exchanged(swapped: np.ndarray) -> np.ndarray:
        kept = 1 - swapped
        return both(np.hstack([kept, swapped])) - both(np.hstack([swapped, kept]))

    boot = st.bootstrap(difference, size, count=count, seed=seed)
    test = st.permutation(exchanged, size, count=count - 1, seed=seed)
    return Pair(
        a=name_a,
        b=name_b,
        difference=boot.value,
        percentile=boot.percentile,
        bca=boot.bca,
        p=test.p,
        p_holm=test.p,
        exact=test.exact,
        smallest=st.smallest_difference(boot.sd),
        by_sequence=np.stack([score_a.by_sequence(), score_b.by_sequence()], axis=1),
    )


def command(
    paths: Sequence[Any],
    *,
    metric: str | None = None,
    baseline: str | None = None,
    allow: Sequence[str] = (),
    against: Any = None,
    fail_below: float = 0.0,
    form: str = "text",
    plot: Any = None,
) -> tuple[str, int]:
    """What `corrbench compare` prints, as `text`, `markdown` or `json`, and its exit code.

    With `against`, the gate: exit code 1 when a number fell by more than `fail_below` points. Otherwise the
    comparison of the records under `paths`; `plot` is where the per-sequence dumbbells go, as SVG.
    """
    from corrbench import gate, record
    from corrbench.reporting import markdown, plain, tables_compare

    records = record.find(*paths)
    if not records:
        raise ValueError(f"no records under {', '.join(map(str, paths))}; `corrbench run` writes them")
    if against is not None:
        found = gate.against(records, record.find(against), fail_below, metric)
        tables, status = [tables_compare.gate_table(found)], found.status
        data: Any = [vars(line) for line in found.lines]
    else:
        result = compare(records, metric, baseline, allow=allow)
        tables, status = [tables_compare.scores_table(result), tables_compare.pairs_table(result)], 0
        data = {
            "metric": result.metric,
            "data": result.extent,
            "notes": list(result.notes),
            "methods": [
                {"method": name, "value": value, "low": low, "high": high, "signature": signature}
                for name, value, (low, high), signature in zip(
                    result.labels, result.values, result.intervals, result.signatures, strict=True
                )
            ],
            "pairs": result.rows(),
            "sequences": result.by_sequence(),
        }
        if plot is not None:
            from corrbench.reporting import plots

            record.write_atomic(Path(plot), plots.plain(plots.dumbbells(result)).encode())
    if form == "json":
        return json.dumps(data, indent=1, ensure_ascii=False), status
    render = markdown.table if form == "markdown" else plain.table
    return "\n\n".join(render(table) for table in tables), status

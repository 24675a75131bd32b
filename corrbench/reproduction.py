"""Published against measured, metric by metric, with a verdict that says no more than the data allow."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from corrbench import published as pub
from corrbench import scores as sc
from corrbench import statistics as st
from corrbench.published import Published
from corrbench.record import Record
from corrbench.words import did_you_mean

ROUNDING = 0.05  # published numbers are printed to 0.1
T_975 = (
    math.nan,
    12.71,
    4.30,
    3.18,
    2.78,
    2.57,
    2.45,
    2.36,
    2.31,
    2.26,
)  # Student's t, by degrees of freedom


@dataclass(frozen=True)
class Paper:
    """Which published rows a method file claims to be, under which protocol they were measured, and with which weights.

    `checkpoint` is the zoo's name of the authors' weights; empty for a method without any.
    """

    method: str
    variant: str
    backbone: str
    stride: str
    protocol: str
    checkpoint: str = ""


PAPERS = {
    "stt": Paper("STT", "two-step", "ResNet-18", "8", "stt", "stt-r18"),
    "stt_s4": Paper("STT", "two-step", "ResNet-18", "4", "stt-s4", "stt-r18-s4"),
    "stt_temporal": Paper(
        "STT", "temporal step only (ablation)", "ResNet-18", "8", "stt", "stt-r18-temporal"
    ),
    "stt_r50": Paper("STT", "two-step", "ResNet-50", "8", "stt", "stt-r50"),
    "stt_r50_s4": Paper("STT", "two-step", "ResNet-50", "4", "stt-s4", "stt-r50-s4"),
    "vfs": Paper("VFS", "released", "ResNet-18", "8", "vfs", "vfs-r18"),
    "crw": Paper("CRW", "released checkpoint; topk10 ctx20 r12 T0.05", "ResNet-18", "8", "crw", "crw-r18"),
    "dino_vits16": Paper("DINO", "DINO protocol", "ViT-S/16", "16", "dino", "dino-vits16"),
    "dino_vits8": Paper("DINO", "DINO protocol", "ViT-S/8", "8", "dino", "dino-vits8"),
}


@dataclass(frozen=True)
class Verdict:
    """One published number beside our own: `low` and `high` are ours over resampled sequences,
    `tolerance` in points.

    `verdict` is `reproduced`, `differs`, or `cannot tell`, and `why` gives the reason.
    """

    published: Published
    measured: float | None
    low: float | None
    high: float | None
    runs: int
    tolerance: float | None
    verdict: str
    why: str
    signature: str = ""
    link: str = ""

    @property
    def difference(self) -> float | None:
        """Measured minus published, in points."""
        return None if self.measured is None else self.measured - self.published.value


def reproduce(
    records: Sequence[Record],
    published: Sequence[Published] | None = None,
    method: str | None = None,
    papers: dict[str, Paper] | None = None,
) -> tuple[Verdict, ...]:
    """A verdict on every published number of `method` (of every method in `records` that is known from a
    paper).

    `reproduced`: the difference is within the tolerance, which is what the two numbers' own uncertainty
    justifies: the rounding of the published one, and, where several seeds were run, the 95 % prediction
    interval of one more run. `differs`: it is larger, and the published number lies outside our bootstrap
    interval over sequences too. `cannot tell`: nothing was run, or on other data or under another
    protocol; or the difference lies between the two, and one run cannot say whether it is the training's
    own spread.
    """
    papers = PAPERS if papers is None else papers
    rows = pub.read() if published is None else tuple(published)
    if method is None:
        names = [name for name in dict.fromkeys(map(_file, records)) if name in papers]
    else:
        if method not in papers:
            raise ValueError(
                f"no published numbers are known for {method!r}.{did_you_mean(method, list(papers))}"
            )
        names = [method]
    own = {name: [r for r in records if _file(r) == name] for name in names}
    return tuple(
        _judge(row, own[name], papers[name]) for name in names for row in rows_of(papers[name], rows)
    )


def rows_of(paper: Paper, rows: Sequence[Published]) -> tuple[Published, ...]:
    """The published rows that `paper` names."""
    named = (paper.method, paper.variant, paper.backbone, paper.stride)
    return tuple(row for row in rows if (row.method, row.variant, row.backbone, row.stride) == named)


def command(method: str, paths: Sequence[Any], *, form: str = "text") -> str:
    """What `corrbench reproduce METHOD` prints, as `text`, `markdown` or `json`."""
    from pathlib import Path

    from corrbench import record
    from corrbench.reporting import markdown, plain, tables_published

    name = Path(method).stem
    there = [path for path in paths if Path(path).exists()]
    found = reproduce(record.find(*there), method=name)
    own = tuple(row for row in pub.read() if row.method == PAPERS[name].method)
    if form == "json":
        rows = [
            vars(v.published)
            | {k: w for k, w in vars(v).items() if k != "published"}
            | {"difference": v.difference}
            for v in found
        ]
        odd = [{"published": row.value, "flag": row.flag} | vars(row) for row in own if row.flag]
        return json.dumps({"verdicts": rows, "contradictions": odd}, indent=1, ensure_ascii=False)
    render = markdown.table if form == "markdown" else plain.table
    tables = [tables_published.verdict_table(found), *tables_published.contradiction_tables(own)]
    return "\n\n".join(render(table) for table in tables)


def same_dataset(record: Record, name: str) -> bool:
    """Whether the record's data set has the published one's name, spelling of marks and spaces aside."""
    return _letters(record.dataset["name"]) == _letters(name)


def authors_weights(record: Record, paper: Paper) -> bool:
    """Whether a record's weights are those that the paper's numbers were printed for, or were trained as the paper says."""
    checkpoint = record.data.get("checkpoint") or {}
    trained = checkpoint.get("trained")
    if not trained:
        return (checkpoint.get("name") or "") == paper.checkpoint
    as_printed = trained.get("schedule") in (None, "paper")
    return as_printed and not trained.get("ablation") and not trained.get("synthetic")


def _weights(record: Record) -> str:
    checkpoint = record.data.get("checkpoint") or {}
    trained = " (corrbench's own training)" if checkpoint.get("trained") else ""
    return f"{checkpoint.get('name') or 'none'}{trained}"


def _file(record: Record) -> str:
    """The name of the method file behind a record, whatever variant of it was run."""
    given = (record.data.get("given") or {}).get("method")
    return str(given).removesuffix(".py") if given else str(record.method["name"])


def _judge(row: Published, own: Sequence[Record], paper: Paper) -> Verdict:
    def unknown(why: str) -> Verdict:
        return Verdict(row, None, None, None, 0, None, "cannot tell", why)

    if not own:
        return unknown("not run: no record of this method (weights or training needed)")
    others = ", ".join(dict.fromkeys(_weights(r) for r in own if not authors_weights(r, paper)))
    own = [r for r in own if authors_weights(r, paper)]
    if not own:
        return unknown(
            f"other weights: {others}; published with the authors' own, {paper.checkpoint or 'none'}"
        )
    on_data = [r for r in own if same_dataset(r, row.dataset)]
    whole = [r for r in on_data if sc.complete(r)]
    if not whole:
        seen = sc.extent(on_data[0]) if on_data else f"no record on {row.dataset}"
        return unknown(f"other data: {seen}")
    fitting = [r for r in whole if r.protocol["name"] == paper.protocol and row.metric in r.summary]
    if not fitting:
        names = ", ".join(sorted({r.protocol["name"] for r in whole}))
        return unknown(f"other protocol: measured under {names}, published under {paper.protocol}")
    if len({sc.group_key(r) for r in fitting}) > 1:
        return unknown("records under several settings of the protocol: give those of one")
    return _compare(row, fitting)


def _compare(row: Published, runs: Sequence[Record]) -> Verdict:
    """Runs on the whole data under the paper's protocol: the mean of the seeds against the published
    number.
    """
    values = [r.summary[row.metric] for r in runs]
    mean = sum(values) / len(values)
    score = sc.of(runs[0], row.metric)
    low, high = st.bootstrap(score, len(score.names), count=2000).bca
    low, high = low + mean - values[0], high + mean - values[0]
    tolerance = ROUNDING
    if len(values) > 1:
        sd = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
        t = T_975[len(values) - 1] if len(values) <= len(T_975) else 1.96
        tolerance += t * sd * math.sqrt(1 + 1 / len(values))
    gap = abs(mean - row.value)
    if gap <= tolerance + 1e-9:
        spread = f"the spread of {len(values)} runs" if len(values) > 1 else "rounding"
        verdict, why = "reproduced", f"within {spread}"
    elif not low <= row.value <= high:
        verdict, why = "differs", "beyond the tolerance and outside the interval over sequences"
    else:
        verdict, why = (
            "cannot tell",
            (
                "beyond the tolerance, but within the interval over sequences"
                + (
                    ""
                    if len(values) > 1
                    else "; one run does not show the spread of training, run more seeds"
                )
            ),
        )
    first = runs[0]
    return Verdict(
        row, mean, low, high, len(values), tolerance, verdict, why, first.signature, str(first.folder)
    )


def _letters(words: str) -> str:
    return "".join(c for c in words.lower() if c.isalnum())

"""The pages of comparisons, of published numbers, and of where everything comes from."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from corrbench import scores as sc
from corrbench.comparison import compare
from corrbench.published import Published
from corrbench.reporting import plots, tables_compare, tables_published
from corrbench.reporting.leaderboard import conditions
from corrbench.reporting.model import Cell, Column, Group, Item, Page, Plot, Row, Section, Table, text
from corrbench.reporting.run import Run, by_conditions, by_task, one_a_method
from corrbench.reproduction import Verdict

METHODS = 8  # more methods than this are compared with the best one only
DUMBBELLS = 6


def compare_page(runs: Sequence[Run], count: int = 5000) -> Page | None:
    """Paired comparisons under the conditions that most methods share, a section a task; None for one
    method.
    """
    sections = []
    for name, found in by_task(runs).items():
        group = by_conditions(found)[0]
        chosen = [run for run in one_a_method(group) if not math.isnan(run.value)]
        if len(chosen) > 1 and len(chosen[0].scores.names) > 1:
            sections.append(_comparison(name, chosen, count, len(group) > len(chosen)))
    return Page("compare", "Comparisons", tuple(sections)) if sections else None


def published_page(runs: Sequence[Run], published: Sequence[Published], verdicts: Sequence[Verdict]) -> Page:
    """Verdicts on the published numbers of the methods that were run, and the literature's own
    contradictions.
    """
    sections = []
    if verdicts:
        words = (
            "`reproduced` and `differs` are said only of runs on the whole data set under the paper's own protocol; "
            "everything else cannot be told from these records."
        )
        sections.append(
            Section("verdicts", "Reproduction", (tables_published.verdict_table(verdicts),), (words,))
        )
    odd = tables_published.contradiction_tables(published, 2.0)
    words = (
        f"Of {len(published)} published numbers that corrbench ships, those that contradict themselves or each other. "
        "None of them was measured here."
    )
    sections.append(Section("contradictions", "The literature's own contradictions", tuple(odd), (words,)))
    return Page("published", "Published numbers", tuple(sections))


def about_page(runs: Sequence[Run]) -> Page:
    """Data with licence and citation, weights, versions and machines, and every record's signature."""
    data: dict[str, Run] = {}
    for run in runs:
        data.setdefault(run.record.dataset["digest"], run)
    titles = ("data", "licence", "citation", "address")
    rows = [
        Row(
            (
                text(sc.extent(run.record)),
                *(text(run.record.dataset.get(k) or "–") for k in ("licence", "citation", "url")),
            )
        )
        for run in data.values()
    ]
    items: list[Item] = [Table("data", "Data sets", tuple(map(Column, titles)), (Group(tuple(rows)),))]
    weights = _weights(runs)
    if weights is not None:
        items.append(weights)
    items += [_machines(runs), _signatures(runs)]
    return Page(
        "about", "Data, weights, signatures", (Section("about", "Where the numbers come from", tuple(items)),)
    )


def _comparison(name: str, runs: Sequence[Run], count: int, several: bool) -> Section:
    records = [run.record for run in runs]
    baseline = runs[0].label if len(runs) > METHODS else None
    found = compare(records, baseline=baseline, count=count)
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + "-compare"
    words = ["Of a method with several runs, the one of the lowest seed is compared."] if several else []
    if baseline is not None:
        words.append(f"{len(runs)} methods: each is compared with the best one, {baseline}.")
    shown = sum(pair.p_holm <= 0.05 for pair in found.pairs)
    words.append(
        f"{shown} of {len(found.pairs)} differences are shown at 5 % after Holm's correction. With these "
        f"{len(found.names)} sequences, the smallest difference that would be found with 80 % power is "
        f"{min(p.smallest for p in found.pairs):.1f} to {max(p.smallest for p in found.pairs):.1f} points."
    )
    words += found.notes
    items: list[Item] = [
        tables_compare.pairs_table(found, f"{slug}-pairs", conditions(runs[0])),
        Plot(
            f"{slug}-differences",
            f"Paired differences in {found.metric} with 95 % intervals, {found.extent}. Filled: shown after Holm's "
            "correction.",
            "Point and interval for each pair of methods; the table beside it has the numbers",
            plots.differences(found, f"{slug}-differences"),
        ),
    ]
    near = [
        i for i, pair in enumerate(found.pairs) if baseline is not None or _neighbours(pair.a, pair.b, runs)
    ]
    for i in near[:DUMBBELLS]:
        pair = found.pairs[i]
        items.append(
            Plot(
                f"{slug}-{i}",
                f"{pair.a} and {pair.b} on each sequence, {found.metric}, {found.extent}.",
                f"Both methods' {found.metric} on every sequence, joined by a bar",
                plots.dumbbells(found, i, f"{slug}-{i}"),
            )
        )
    if len(near) > DUMBBELLS:
        words.append(
            f"Per-sequence plots: the first {DUMBBELLS} of {len(near)}; `corrbench compare --plot` draws any."
        )
    return Section(slug, name, tuple(items), tuple(words))


def _neighbours(a: str, b: str, runs: Sequence[Run]) -> bool:
    order = [run.label for run in runs]
    return abs(order.index(a) - order.index(b)) == 1


def _weights(runs: Sequence[Run]) -> Table | None:
    found = {}
    for run in runs:
        checkpoint = run.record.data.get("checkpoint")
        if checkpoint and checkpoint.get("sha256"):
            found[checkpoint["sha256"]] = (run.label, checkpoint)
    if not found:
        return None
    rows = [
        Row(
            (
                text(label),
                text(c.get("name") or "–"),
                Cell(digest[:16], digest),
                text(c.get("licence") or "not stated"),
            )
        )
        for digest, (label, c) in found.items()
    ]
    titles = ("method", "weights", "sha256 (first 16)", "licence")
    return Table("weights", "Weights", tuple(map(Column, titles)), (Group(tuple(rows)),))


def _machines(runs: Sequence[Run]) -> Table:
    seen: dict[tuple[str, ...], int] = {}
    for run in runs:
        data = run.record.data
        machine, git, versions = (data.get(k) or {} for k in ("machine", "git", "versions"))
        key = (
            f"{machine.get('gpu') or machine.get('cpu') or 'unknown'}, {machine.get('cores', '?')} cores",
            ", ".join(f"{k} {v}" for k, v in versions.items()),
            f"{(git.get('commit') or 'unknown')[:12]}{' with changes' if git.get('dirty') else ''}",
        )
        seen[key] = seen.get(key, 0) + 1
    columns = (Column("machine"), Column("versions"), Column("commit"), Column("records", True))
    rows = [Row((*map(text, key), Cell(str(n), n))) for key, n in seen.items()]
    return Table("machines", "Machines and versions", columns, (Group(tuple(rows)),))


def _signatures(runs: Sequence[Run]) -> Table:
    columns = (Column("method"), Column("task"), Column("key"), Column("signature"))
    rows = [
        Row(
            (
                text(run.label),
                text(run.record.task["name"]),
                Cell(run.record.key[:12], run.record.key, link=run.link),
                text(run.record.signature),
            )
        )
        for run in runs
    ]
    return Table("signatures", "Records and their signatures", columns, (Group(tuple(rows)),))

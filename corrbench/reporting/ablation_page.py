"""The report of ablations: what they say, a section a study, training curves, and where everything comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from corrbench.ablation_questions import QUESTIONS
from corrbench.ablation_study import FULL, LOG_ROWS, Stage, Study, stages, studies
from corrbench.ablation_table import EXPLANATION, Row
from corrbench.reporting import ablation_words as words
from corrbench.reporting import build, other_pages, plots_ablation, render, run
from corrbench.reporting.leaderboard import conditions
from corrbench.reporting.model import (
    Cell,
    Column,
    Group,
    Item,
    Page,
    Plot,
    Report,
    Section,
    Table,
    interval,
    number,
    p_value,
    text,
)
from corrbench.reporting.model import Row as Line

CURVES = 24  # panels of training curves at most


def write_report(folder: Path) -> list[Path]:
    """Write README.md, index.html, tables and plots of every study kept in `folder`, from what lies there alone."""
    return render(report(folder), folder)


def report(folder: Path) -> Report:
    """The report of every study kept in `folder`."""
    found = studies(folder)
    trained = stages(folder, found)
    records = {made.key: made for study in found for made in study.records.values()}
    links = [(made.folder / "record.json").relative_to(folder).as_posix() for made in records.values()]
    runs = run.make(list(records.values()), links)
    by_key = {one.record.key: one for one in runs}
    pages = [_findings(found, trained, by_key)]
    if trained:
        pages.append(_training(trained))
    pages.append(other_pages.about_page(runs))
    notes = tuple(dict.fromkeys(note for study in found for note in study.notes))
    titles = ", ".join(dict.fromkeys(study.method for study in found))
    return Report(f"Ablations of {titles}", tuple(pages), (*notes, *build.warnings(runs)))


def _findings(found: Sequence[Study], trained: Sequence[Stage], runs: Mapping[str, run.Run]) -> Page:
    overview = _overview(found, trained)
    sections = [overview] if overview.items or overview.text else []
    sections += [_study(study, runs) for study in found]
    return Page("ablations", "Ablations", tuple(sections))


def _overview(found: Sequence[Study], trained: Sequence[Stage]) -> Section:
    lines: list[str] = []
    for method in dict.fromkeys(study.method for study in found):
        own = [study for study in found if study.method == method]
        for place, question in enumerate(QUESTIONS.get(method, ())):
            lines.append(
                words.summary(question, [(study.title, words.answers(study)[place][1]) for study in own])
            )
    items: list[Item] = []
    if any(study.method in QUESTIONS for study in found):
        if trained:
            lines.append(words.scale(trained))
        items.append(_published())
    if len(found) > 1:
        items.insert(0, _side_by_side(found))
    return Section("overview", "In short", tuple(items), tuple(lines))


def _side_by_side(found: Sequence[Study]) -> Table:
    """Differences of every variant under every study, a column each; the first row is the full method's own value."""
    columns = [Column("variant")]
    alike = len({(study.method, study.schedule) for study in found}) == 1
    for study in found:
        more = "" if alike else f" ({study.method}, schedule {study.schedule or 'as written'})"
        columns.append(Column(f"{study.metric}: {study.title}{more}", True))
    names = list(dict.fromkeys(row.name for study in found for row in study.rows))
    lines = []
    for name in names:
        cells = [text(name)]
        for study in found:
            row = study.row(name)
            if row is None or row.value is None:
                cells.append(Cell("–"))
            elif name == FULL:
                cells.append(number(row.value))
            else:
                cells.append(
                    number(
                        row.difference,
                        sign=True,
                        strong=bool(row.over_videos) and row.over_seeds is not False,
                    )
                )
        lines.append(Line(tuple(cells)))
    note = (
        "First row: the full method's value. Other rows: the variant minus the full method, in points. Bold: shown over "
        "videos and, where several seeds were trained, over seeds. Data sets, sizes and numbers differ: compare signs and "
        "order, not columns."
    )
    return Table("side-by-side", "Side by side", tuple(columns), (Group(tuple(lines)),), note)


def _published() -> Table:
    columns = (
        Column("data"), Column("number"), Column("temporal step alone (published)", True),
        Column("both steps (published)", True), Column("difference", True),
    )  # fmt: skip
    pairs = words.published_pair()
    lines = [
        Line(
            (
                text(data),
                text(metric),
                number(alone.value),
                number(both.value),
                number(both.value - alone.value, sign=True),
            )
        )
        for data, metric, alone, both in pairs
    ]
    note = (
        "The only pair of such models that is known: the authors' released weights, as they print them "
        f"({'; '.join(dict.fromkeys(both.source for *_, both in pairs))}). Published, never measured here: whole data "
        "sets, other training data, other length. What was measured here can be held against its sign, not against its size."
    )
    return Table("published-pair", "Published by the method's authors", columns, (Group(tuple(lines)),), note)


def _study(study: Study, runs: Mapping[str, run.Run]) -> Section:
    slug = re.sub(r"[^a-z0-9]+", "-", study.name.lower()).strip("-")
    full = study.row(FULL)
    assert full is not None, "ablate() writes no study without the full method"
    lines = [
        f"Schedule `{study.schedule or 'as written'}`, protocol `{study.protocol}`, {study.size}; {study.extent}."
    ]
    for _, rows in words.answers(study):
        lines += [words.sentence(claim, row, study.metric) for claim, row in rows if row is not None]
    alt = "A point, an interval and rings for each variant; the table beside it has the numbers"
    caption = (
        f"Differences to the full method in {study.metric}, {study.title}. Bars: 95 % over sequences; rings: single seeds; "
        "filled: shown; grey band: what a change of seed makes."
    )
    plot = Plot(f"{slug}-differences", caption, alt,
                plots_ablation.differences(study.rows, full, study.metric, f"{slug}-differences"))  # fmt: skip
    return Section(slug, f"{study.method} on {study.title}, schedule {study.schedule or 'as written'}",
                   (_table(study, slug, runs), plot), tuple(lines))  # fmt: skip


def _table(study: Study, slug: str, runs: Mapping[str, run.Run]) -> Table:
    columns = (
        Column("variant"), Column("seeds", True), Column(study.metric, True, "mean over seeds, ± standard deviation"),
        Column("difference", True, "to the full method, points; ± standard deviation of the paired differences over seeds"),
        Column("95 % interval", True, "of the difference over sequences, BCa bootstrap"),
        Column("p", True, "paired permutation over sequences, Holm-corrected for the rows of this table"),
        Column("seeds make", True, "a difference up to this is no more than a change of seeds makes (95 %)"),
        Column("lower on", True, "sequences on which the variant scores lower than the full method"),
        Column("shown over", note="videos (p), seeds (seeds make), both or neither"),
    )  # fmt: skip
    lines = [_line(study, row, runs) for row in study.rows]
    first = runs[next(iter(study.records.values())).key]
    note = [*EXPLANATION, *(f"{row.name}: {row.reason}" for row in study.rows if row.reason)]
    return Table(f"{slug}-table", f"{study.method}: {study.metric}, {study.title}", columns,
                 (Group(tuple(lines), *conditions(first)),), "\n".join(note))  # fmt: skip


def _line(study: Study, row: Row, runs: Mapping[str, run.Run]) -> Line:
    if row.value is None:
        return Line((text(row.name), *(Cell("–") for _ in range(7)), text("not run")))
    first = runs[row.records[0]]
    mark: dict[str, Any] = {"signature": first.record.signature, "link": first.link}
    value = number(row.value, **mark)
    if row.spread is not None:
        value = Cell(f"{value.text} ± {row.spread:.1f}", value.value, **mark)
    apart = number(row.difference, sign=True, strong=bool(row.over_videos) and row.over_seeds is not False)
    if row.difference_spread is not None:
        apart = Cell(f"{apart.text} ± {row.difference_spread:.1f}", apart.value, strong=apart.strong)
    return Line(
        (
            text(row.name), Cell(str(len(row.seeds)), float(len(row.seeds))), value, apart,
            interval(row.low, row.high, sign=True) if row.low is not None and row.high is not None else Cell("–"),
            p_value(row.p_holm) if row.p_holm is not None else Cell("–"), number(row.seed_margin),
            Cell(f"{row.lower_on} of {row.sequences}", row.lower_on) if row.lower_on is not None else Cell("–"),
            text(row.shown if row.difference is not None else "–"),
        )
    )  # fmt: skip


def _training(trained: Sequence[Stage]) -> Page:
    panels: dict[str, dict[str, list[plots_ablation.Curve]]] = {}
    for stage in trained:
        for name, curve in stage.curves.items():
            panels.setdefault(_stage_title(stage), {}).setdefault(name, []).append(curve)
    items: list[Item] = []
    lines = [
        "Each stage was trained once and is shared by the variants that need it. Losses are as weighted in the total, means "
        f"over a few updates; kept logs have at most {LOG_ROWS} rows. `reconstruction2` is that at the backbone's "
        "second stage."
    ]
    if panels:
        shown = dict(list(panels.items())[:CURVES])
        if len(panels) > CURVES:
            lines.append(f"The first {CURVES} of {len(panels)} panels; the logs have them all.")
        caption = "Training curves: a panel a stage, a colour a loss, a line a seed."
        items.append(Plot("training-curves", caption, "Losses over updates for every trained stage; the "
            "logs beside the report have the numbers",
                          plots_ablation.training(shown, "training-curves"), True))  # fmt: skip
    items.append(_stages(trained))
    return Page("training", "Training", (Section("training", "Training", tuple(items), tuple(lines)),))


def _stage_title(stage: Stage) -> str:
    """The variants behind a panel: stages of one kind that differ in the seed alone share one."""
    names = list(dict.fromkeys(name for name, _ in stage.users))
    kind = str(stage.about["type"]).lower()
    if len(names) == 1 or names[0] != FULL:
        return f"{kind}: {names[0]}"
    return f"{kind}: shared" if len(names) > 2 else f"{kind}: {' and '.join(names)}"


def _stages(trained: Sequence[Stage]) -> Table:
    columns = (
        Column("stage"), Column("for"), Column("seed", True), Column("updates", True), Column("updates/s", True),
        Column("last loss", True, "sum of the weighted losses, mean of the last updates"),
        Column("data"), Column("trained on"), Column("commit"), Column("digest"),
    )  # fmt: skip
    lines = []
    for stage in trained:
        about = stage.about
        machine, git = about.get("machine") or {}, about.get("git") or {}
        names = list(dict.fromkeys(name for name, _ in stage.users))
        who = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        total = sum((about.get("losses") or {}).values())
        changed = " with changes" if git.get("dirty") else ""
        lines.append(
            Line(
                (
                    text(about["type"]), text(who), Cell(str(about["seed"]), float(about["seed"])),
                    Cell(f"{about['updates']:,}", float(about["updates"])), number(about.get("updates_per_second"), 2),
                    number(total, 3),
                    text(about["data"]["name"]), text(machine.get("gpu") or machine.get("cpu") or about["device"]),
                    text(f"{(git.get('commit') or 'unknown')[:12]}{changed}"),
                    Cell(about["digest"][:12], about["digest"], link=stage.link),
                )
            )
        )  # fmt: skip
    note = (
        "Digest: of the stage's settings, data, parent and seed; its stage.json has all settings, and "
        "its thinned log lies beside it."
    )
    return Table("stages", "Trained stages", columns, (Group(tuple(lines)),), note)

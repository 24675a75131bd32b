"""The first page: one row a method over all tasks, and every record, filtered by task, protocol and
backbone.
"""

from __future__ import annotations

from collections.abc import Sequence

from corrbench import scores as sc
from corrbench.reporting.model import Cell, Column, Group, Page, Row, Section, Table, number, text
from corrbench.reporting.run import FEW, Run, alone, by_conditions, by_task, few


def page(runs: Sequence[Run]) -> Page:
    """The leaderboard page."""
    sections = []
    overview = across_tasks(runs)
    if overview is not None:
        words = (
            "One row a method. A column is one task, data set, protocol and arithmetic, given below the table; "
            "numbers of other conditions stand in other columns."
        )
        sections.append(Section("overview", "One row a method", (overview,), (words,)))
    tables = tuple(records_table(kind, found) for kind, found in _by_kind(runs).items())
    words = (
        "Rows stand in groups of one data set, task version, protocol and arithmetic: within a group only the method "
        "differs. Sorting works within groups."
    )
    sections.append(Section("records", "All records", tables, (words,)))
    return Page("leaderboard", "Leaderboard", tuple(sections))


def across_tasks(runs: Sequence[Run], columns: int = 10) -> Table | None:
    """Methods x conditions, the task's main numbers; the conditions that most methods share, at most
    `columns`.
    """
    chosen: list[tuple[str, list[Run]]] = []
    for name, found in by_task(runs).items():
        chosen.append((name, by_conditions(found)[0]))
    if len(chosen) < 2:
        return None
    titles, legend, cells = [Column("method"), Column("backbone")], [], {}
    methods: dict[str, Run] = {}
    for number_, (task, group) in enumerate(chosen, start=1):
        first = group[0]
        for metric in few(first)[: 2 if first.record.kind == "pose" else 1]:
            if len(titles) - 2 < columns:
                words = (
                    ""
                    if sc.complete(first.record)
                    else " synthetic"
                    if first.record.dataset["synthetic"]
                    else " part"
                )
                titles.append(Column(f"{metric} {task}{words} ({number_})", True))
                for run in group:
                    methods.setdefault(run.label, run)
                    cells[run.label, len(titles) - 1] = measured(run, metric)
        legend.append(f"({number_}) {' · '.join(conditions(first))}")
    rows = []
    for label, run in methods.items():
        numbers = [cells.get((label, i), Cell("–")) for i in range(2, len(titles))]
        rows.append(Row((text(label), text(run.backbone), *numbers)))
    rows.sort(key=lambda row: -value if isinstance(value := row.cells[2].value, float) else 1e9)
    return Table("overview", "Methods over tasks", tuple(titles), (Group(tuple(rows)),), "\n".join(legend))


def records_table(kind: str, runs: Sequence[Run]) -> Table:
    """Every record of a kind of task, in groups of equal conditions, best first."""
    metrics = FEW[kind]
    columns = (
        Column("method"),
        Column("backbone"),
        Column("task"),
        Column("protocol"),
        *(Column(metric, True) for metric in metrics),
        Column(
            "95 % interval", True, "of the task's first number (PCK@0.2 for BADJA), bootstrap over sequences"
        ),
        Column("frames/s", True, "features to scores, on the machine that the record names"),
    )
    groups = []
    for group in by_conditions(runs):
        best = max((run.value for run in group if run.value == run.value), default=None)
        rows = tuple(_record_row(run, metrics, len(group) > 1 and run.value == best) for run in group)
        groups.append(Group(rows, *conditions(group[0])))
    titles = {"vos": "Video object segmentation", "pose": "Pose propagation", "parts": "Part propagation"}
    return Table(
        f"records-{kind}", titles[kind], columns, tuple(groups), filters=("task", "protocol", "backbone")
    )


def measured(run: Run, metric: str, *, strong: bool = False, digits: int = 1) -> Cell:
    """A measured number, with its signature and a link to its record."""
    return number(
        run.record.summary.get(metric), digits, signature=run.record.signature, link=run.link, strong=strong
    )


def interval_cell(run: Run) -> Cell:
    """The interval of the headline number."""
    if run.interval is None:
        return Cell("–")
    low, high = run.interval
    return Cell(f"[{low:.1f}, {high:.1f}]", high - low, signature=run.record.signature, link=run.link)


def conditions(run: Run) -> tuple[str, str]:
    """What holds for every row of a group: data, task and protocol in short; the protocol's signature and
    arithmetic.
    """
    record = run.record
    numerics = record.numerics
    words = [str(numerics.get("device")), str(numerics.get("dtype"))]
    words += ["tf32"] if numerics.get("tf32") else []
    words += [f"autocast {numerics['autocast']}"] if numerics.get("autocast") else []
    words += ["compiled"] if numerics.get("compile") else []
    title = f"{sc.extent(record)} · {record.task['name']} v{record.task.get('version')} · {run.protocol}"
    return title, f"{record.protocol['signature']} · {' '.join(words)}"


def _record_row(run: Run, metrics: Sequence[str], best: bool) -> Row:
    record = run.record
    cells = (
        Cell(run.label, run.label, signature=record.method.get("title") or "", link=run.link),
        text(run.backbone),
        text(record.task["name"]),
        text(run.protocol),
        *(measured(run, metric, strong=best and metric == run.scores.metric) for metric in metrics),
        interval_cell(run),
        number(alone(record.cost, "frames_per_second"), 1, signature=record.signature, link=run.link),
    )
    tags = {"task": record.task["name"], "protocol": record.protocol["name"], "backbone": run.backbone}
    return Row(cells, tags=tags)


def _by_kind(runs: Sequence[Run]) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.record.kind, []).append(run)
    return groups

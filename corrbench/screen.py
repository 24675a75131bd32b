"""What the commands show on the terminal: plans, progress with frames/s and time left, tables of numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from corrbench import api, runner
from corrbench.plan import Plan
from corrbench.record import Record
from corrbench.scores import extent

console = Console(stderr=True, highlight=False)  # progress and notes; numbers go to stdout
MAIN = {"vos": ("J&F-Mean", "J-Mean", "F-Mean"), "pose": ("PCK@0.1", "PCK@0.2", "lost"), "parts": ("mIoU",)}


def settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """The command line's shared options as the arguments of `api.plan`."""
    return {
        "protocol": options["protocol"],
        "overrides": options["override"],
        "data": options["data"],
        "sample": not options["no_sample"],
        "out": options["out"],
        "device": options["device"],
        "autocast": options["autocast"],
        "compile": options["compile"],
        "memory": options["memory"],
        "schedule": options["schedule"],
        "seed": options["seed"],
    }


_said: set[str] = set()


def note(text: str) -> None:
    """A loud line on stderr, once."""
    if text not in _said:
        _said.add(text)
        console.print(text, style="bold yellow", markup=False, soft_wrap=True)


def run_one(method: str, task: str, *, when: str, quiet: bool = False, **settings: Any) -> Record:
    """Plan and run one pair with a progress bar; notes (missing data) are printed before it starts."""
    plan = api.plan(method, task, **settings)
    for text in plan.notes:
        note(text)
    if plan.to_train:
        for line in plan.to_train:
            console.print(f"train   {line}", markup=False)
        api.train(plan, progress=not quiet, say=note)
        plan = api.plan(method, task, **settings)
    return run_plan(plan, when=when, quiet=quiet)


def run_plan(plan: Plan, *, when: str = "missing", quiet: bool = False) -> Record:
    """Run a plan with a progress bar of its frames."""
    finished = runner.cached(plan) if when != "always" else None
    if finished is not None:
        console.print(f"cached  {plan.folder}", style="dim", markup=False)
        return finished
    total = sum(len(plan.dataset.load(name)) for name in plan.dataset.names())
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=quiet,
    ) as bar:
        job = bar.add_task(f"{plan.method_file.name} on {plan.task_file.name}", total=total, speed="")
        fresh = 0

        def step(name: str, frames: int, there_already: bool) -> None:
            nonlocal fresh
            fresh += 0 if there_already else frames
            elapsed = bar.tasks[0].elapsed or 0.0
            speed = f"{fresh / elapsed:.1f} frames/s" if fresh and elapsed else ""
            bar.update(job, advance=frames, speed=speed)

        return runner.execute(plan, when=when, progress=step)


def show_plan(plan: Plan) -> None:
    """What a run would do: signature, key, folder, weights, what is there and what would be computed."""
    for text in plan.notes:
        note(text)
    out = Console(highlight=False)
    done = runner.state(plan)
    record = runner.cached(plan)
    out.print(f"method     {plan.method_file.name}: {plan.title}", markup=False)
    out.print(f"task       {plan.task_file.name}: {plan.task_file.title}", markup=False)
    out.print(f"signature  {plan.signature}", markup=False, soft_wrap=True)
    out.print(f"key        {plan.key}", markup=False, soft_wrap=True)
    out.print(f"folder     {plan.folder}", markup=False, soft_wrap=True)
    for line in plan.to_train:
        out.print(f"train      {line}", markup=False)
    missing = [name for name, there in done.items() if not there]
    if record is not None:
        out.print("cached     finished; nothing would be computed", markup=False)
    else:
        out.print(f"cached     {len(done) - len(missing)} of {len(done)} sequences", markup=False)
        out.print(f"compute    {', '.join(missing) or 'the scores'}", markup=False)


def show_records(records: Iterable[Record], *, as_json: bool = False) -> None:
    """A table for each task: methods down, numbers across, with what they were measured on."""
    records = list(records)
    if as_json:
        print(json.dumps([_plain(r) for r in records], indent=1))
        return
    out = Console(highlight=False)
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(f"{record.task['name']} · {extent(record)}", []).append(record)
    for heading, members in groups.items():
        out.print(table(heading, members))
        for record in members:
            out.print(
                f"{record.method['name']}: {record.signature}", style="dim", markup=False, soft_wrap=True
            )
        for record in members:
            out.print(f"record: {record.folder}", style="dim", markup=False, soft_wrap=True)
    if len(groups) > 1:
        out.print(overview(records))


def table(heading: str, records: list[Record]) -> Table:
    """Methods of one task side by side."""
    kind = records[0].kind
    shown = Table(title=heading, title_justify="left")
    shown.add_column("method")
    shown.add_column("protocol")
    names = [n for n in MAIN[kind] if any(n in r.summary for r in records)]
    for name in [*names, "frames/s", "seconds"]:
        shown.add_column(name, justify="right")
    for r in records:
        values = [number(r.summary.get(name)) for name in names]
        speed = [f"{r.cost['frames_per_second']:.1f}", f"{r.cost['seconds']:.1f}"]
        shown.add_row(r.method["name"], r.protocol["name"], *values, *speed)
    return shown


def overview(records: list[Record]) -> Table:
    """One row a method: J&F, mIoU, PCK@0.1 and PCK@0.2 of all its tasks."""
    columns = {
        f"{r.task['name']} {name}{' (synthetic)' if r.dataset['synthetic'] else ''}": (r.task["name"], name)
        for r in records
        for name in MAIN[r.kind]
        if name in ("J&F-Mean", "PCK@0.1", "PCK@0.2", "mIoU")
    }
    shown = Table(title="all tasks", title_justify="left")
    shown.add_column("method")
    for heading in columns:
        shown.add_column(heading, justify="right")
    for method in dict.fromkeys((r.method["name"], r.data.get("given", {}).get("protocol")) for r in records):
        cells = []
        for task, name in columns.values():
            hit = [
                r for r in records
                if (r.method["name"], r.data.get("given", {}).get("protocol")) == method and r.task["name"] == task
            ]  # fmt: skip
            cells.append(number(hit[0].summary.get(name)) if hit else "")
        shown.add_row(method[0], *cells)
    return shown


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _plain(record: Record) -> dict[str, Any]:
    return {
        "method": record.method["name"],
        "task": record.task["name"],
        "data": extent(record),
        "signature": record.signature,
        "key": record.key,
        "folder": str(record.folder),
        "summary": record.summary,
        "cost": record.cost,
    }


def show_scores(result: Any, *, as_json: bool = False) -> None:
    """The numbers of a folder of predictions: whole and by sequence."""
    if as_json:
        print(json.dumps(result.as_dict(), indent=1))
        return
    out = Console(highlight=False)
    shown = Table(title=f"{result.name} on {result.data}", title_justify="left")
    shown.add_column("sequence")
    names = [n for n in MAIN[result.kind] if n in result.summary]
    for name in names:
        shown.add_column(name, justify="right")
    for i, sequence in enumerate(result.sequences):
        shown.add_row(sequence, *[number(float(result.by_sequence[n][i])) for n in names])
    shown.add_section()
    shown.add_row("all", *[number(result.summary[n]) for n in names], style="bold")
    out.print(shown)
    if result.folder is not None:
        out.print(f"record: {result.folder}", style="dim", markup=False)


def sweep(
    files: Sequence[str], over: Sequence[str], *, one_at_a_time: bool, cache: Path | None, cache_size: str, dry_run: bool,
    **settings: Any,
) -> None:  # fmt: skip
    """Plan a sweep, say how much there is to do, run it with a progress bar, and show its records."""
    from corrbench import sweeping
    from corrbench.store import Store, default_folder, parse_size

    points = sweeping.settings(sweeping.parse_over(over), one_at_a_time=one_at_a_time)
    methods, tasks = api.sort_files(files)

    def planned() -> list[Plan]:
        return [plan for task in tasks for plan in sweeping.plans(methods, task, points, **settings)]

    plans = planned()
    for plan in plans:
        for text in plan.notes:
            note(text)
    cached = {plan.key for plan in plans if runner.cached(plan) is not None}
    console.print(f"{len(plans)} settings, {len(cached)} of them finished", markup=False)
    if dry_run:
        for plan in plans:
            state = "finished" if plan.key in cached else "to do"
            print(f"{state:9} {plan.method_file.name:20} {plan.protocol.name}: {plan.protocol.signature()}")
        return
    if sweeping.train_missing(plans, lambda text: console.print(text, markup=False)):
        plans = planned()
    store = Store(cache or default_folder(), parse_size(cache_size))
    todo = [plan for plan in plans if plan.key not in cached]
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("sequences"), TimeElapsedColumn(),
        TimeRemainingColumn(), console=console,
    ) as bar:  # fmt: skip
        job = bar.add_task("sweep", total=sum(len(plan.dataset.names()) for plan in todo))
        records = sweeping.execute(plans, store, lambda plan, name: bar.update(job, advance=1))
    console.print(
        f"features and neighbours: {store.counts['made']} computed, {store.counts['found']} reused",
        markup=False,
    )
    if store.counts["unkept"]:
        note(
            f"{store.counts['unkept']} of them found no room in {store.folder} and were computed again for each setting; "
            "free disk, or raise --cache-size"
        )
    show_records(records)


def ablate(
    method: str, task: str, *, only: Sequence[str], seeds: int, seed: int, dry_run: bool, report: Path, device: str | None,
    **settings: Any,
) -> None:  # fmt: skip
    """Say what would be trained, train and evaluate it, and show the table of differences to the full method."""
    from corrbench import ablation as ablating

    if dry_run:
        found = ablating.variants(
            method, only=only, seeds=seeds, seed=seed, schedule=settings["schedule"], overrides=settings["overrides"],
            data=settings["data"], sample=settings["sample"], device=api.numerics(device).device, fetch=False,
        )  # fmt: skip
        print("\n".join(ablating.describe(found)))
        return
    done = ablating.ablate(
        method, task, only=only, seeds=seeds, seed=seed, report=report, device=device, run=run_plan,
        say=lambda text: console.print(text, markup=False), **settings,
    )  # fmt: skip
    for text in done.notes:
        note(text)
    for path in done.files:
        if path.suffix == ".md":
            print(path.read_text(encoding="utf-8"))
    for path in done.files:
        print(path)

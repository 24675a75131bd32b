"""From records to the data model: which pages there are, and what must be said before any number."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from corrbench import published as pub
from corrbench import scores as sc
from corrbench.record import Record
from corrbench.reporting import films, leaderboard, other_pages, protocol_page, run, svg, task_page
from corrbench.reporting.model import Page, Report
from corrbench.reproduction import reproduce


def build(
    records: Sequence[Record],
    links: Sequence[str],
    *,
    overlays: str = "all",
    data: str | os.PathLike[str] | None = None,
    published: bool = True,
    title: str = "corrbench report",
    notes: Sequence[str] = (),
) -> Report:
    """The whole report of `records`; `links[i]` leads to the i-th. Records of one key are shown once; `notes` are added to
    the warnings.
    """
    kept: dict[str, tuple[Record, str]] = {}
    for record, link in zip(records, links, strict=True):
        kept.setdefault(record.key, (record, link))
    runs = run.make([record for record, _ in kept.values()], [link for _, link in kept.values()])
    rows = pub.read() if published else ()
    with svg.order(method for group in run.by_conditions(runs) for method in (r.label for r in group)):
        pages = _pages(runs, rows, overlays, Path(data) if data is not None else None)
    return Report(title, tuple(pages), (*warnings(runs), *notes))


def _pages(
    runs: Sequence[run.Run], rows: Sequence[pub.Published], overlays: str, data: Path | None
) -> list[Page]:
    pages: list[Page] = [leaderboard.page(runs)]
    source = films.datasets(data)
    for name, found in run.by_task(runs).items():
        shown, notes = films.films(run.one_a_method(found), overlays, source)
        pages.append(task_page.page(name, found, shown, notes, rows))
    for page in (protocol_page.page(runs), other_pages.compare_page(runs)):
        if page is not None:
            pages.append(page)
    if rows:
        verdicts = reproduce([r.record for r in runs], rows)
        pages.append(other_pages.published_page(runs, rows, verdicts))
    pages.append(other_pages.about_page(runs))
    return pages


def warnings(runs: Sequence[run.Run]) -> tuple[str, ...]:
    """What a reader must know before any number: rendered data, parts of a data set, changed code,
    reduced precision.
    """
    found = []
    for name in dict.fromkeys(sc.extent(r.record) for r in runs if r.record.dataset["synthetic"]):
        found.append(
            f"Synthetic: {name} was rendered by corrbench; these numbers say nothing about real video."
        )
    for name in dict.fromkeys(
        sc.extent(r.record) for r in runs if not r.record.dataset["synthetic"] and not sc.complete(r.record)
    ):
        found.append(f"A part of the data: {name}. Not comparable with numbers on the whole list.")
    dirty = sum(bool((r.record.data.get("git") or {}).get("dirty")) for r in runs)
    if dirty:
        found.append(f"{dirty} of {len(runs)} records were made by code with uncommitted changes.")
    return tuple(found)

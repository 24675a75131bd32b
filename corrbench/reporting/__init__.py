"""Reports: from records to Markdown, HTML and LaTeX through one data model. Imports no torch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from corrbench.record import Record, find, write_atomic

if TYPE_CHECKING:
    from corrbench.reporting.model import Report


def write_from(
    paths: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    overlays: str = "all",
    data: str | os.PathLike[str] | None = None,
    ablations: bool = False,
    title: str = "corrbench report",
) -> list[Path]:
    """Find the records under `paths` and write their report to `out`; the paths of what was written.

    Records of a training's ablations have a report of their own (`corrbench ablate`) and are left out, which the report
    says, unless `ablations` or nothing else is there.
    """
    given = [path for path in paths if Path(path).exists()] or list(paths)
    records = find(*given)
    if not records:
        raise ValueError(
            f"no records under {', '.join(map(str, paths))}; `corrbench run METHOD TASK` writes them"
        )
    kept = [record for record in records if ablations or not _ablation(record)] or records
    left_out = len(records) - len(kept)
    notes = (f"{left_out} records of ablations are left out; `--ablations` shows them.",) if left_out else ()
    return write(kept, out, overlays=overlays, data=data, title=title, notes=notes)


def _ablation(record: Record) -> bool:
    trained = (record.data.get("checkpoint") or {}).get("trained") or {}
    return trained.get("ablation") is not None


def write(
    records: Sequence[Record],
    out: str | os.PathLike[str],
    *,
    overlays: str = "all",
    data: str | os.PathLike[str] | None = None,
    published: bool = True,
    title: str = "corrbench report",
    notes: Sequence[str] = (),
) -> list[Path]:
    """Write `README.md`, `index.html`, `tables.tex`, `tables/`, `plots/` and a copy of the records to `out`.

    `overlays`: `all`, `synthetic` (only pictures of rendered data, for a report that is passed on) or
    `none`. `data`: root of the data sets, for the overlays' frames. `notes` stand with the warnings at its head.
    The records' tables are copied to `out/records`, so that every number's link holds wherever the report goes;
    predictions are not.
    """
    from corrbench.reporting.build import build

    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    links = [keep(record, out) for record in records]
    report = build(
        records, links, overlays=overlays, data=data, published=published, title=title, notes=notes
    )
    return render(report, out)


def render(report: Report, out: Path) -> list[Path]:
    """Write a built report in its three forms below `out`."""
    from corrbench.reporting import html, latex, markdown, svg
    from corrbench.reporting.model import Plot

    files = {
        "README.md": markdown.report(report),
        "index.html": html.report(report),
        "tables.tex": latex.document(report),
    }
    files |= {f"tables/{name}": words for name, words in latex.tables(report).items()}
    items = [item for page in report.pages for section in page.sections for item in section.items]
    files |= {f"plots/{item.slug}.svg": svg.plain(item.svg) for item in items if isinstance(item, Plot)}
    for folder in ("tables", "plots"):  # what an earlier report left and this one does not have
        shutil.rmtree(out / folder, ignore_errors=True)
        (out / folder).mkdir()
    for name, words in files.items():
        write_atomic(out / name, words.encode("utf-8"))
    return [out / name for name in ("README.md", "index.html", "tables.tex")]


def keep(record: Record, out: Path) -> str:
    """Copy a record's own files below `out` unless it lies there; its address relative to `out`."""
    home = record.folder.resolve()
    if not home.is_relative_to(out.resolve()):
        kept = out / "records" / str(record.task["name"]) / record.folder.name
        kept.mkdir(parents=True, exist_ok=True)
        for name in (*record.data["files"], "record.json"):
            write_atomic(kept / name, (record.folder / name).read_bytes())
        home = kept.resolve()
    return (home / "record.json").relative_to(out.resolve()).as_posix()

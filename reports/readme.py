"""Write the measured parts of README.md and docs/ from the records under reports/ and the results under benchmarks/.

python reports/readme.py            rewrite them
python reports/readme.py --check    exit 1 where they say something else (the test suite does this)
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import doc_tables

from corrbench import record
from corrbench.ablation_study import studies
from corrbench.scores import backbone, extent

ROOT = Path(__file__).parent.parent
BEGIN = "<!-- measured: begin (python reports/readme.py writes this part) -->"
END = "<!-- measured: end -->"
TRIALS = "change of the second step (base: crop 96, radii 5 and 3, batch 8, rate 1e-3, the paper's weights)"


def scores() -> list[str]:
    """J&F of every method under every protocol of reports/davis10, and on the synthetic benchmark."""
    every = record.find(ROOT / "reports" / "davis10")
    records = [r for r in every if r.task["name"] == "davis"]
    synthetic = {r.method["name"]: r for r in every if r.task["name"] == "synthetic"}
    protocols = sorted({r.protocol["name"] for r in records}, key=["stt", "dino"].index)
    data = {extent(r) for r in records}
    assert len(data) == 1, data
    rows: dict[str, dict[str, record.Record]] = {}
    for r in records:
        rows.setdefault(r.method["name"], {})[r.protocol["name"]] = r
    order = sorted(rows, key=lambda name: -rows[name]["stt"].summary["J&F-Mean"])
    machine = records[0].data["machine"]
    lines = [
        f"J&F on **{data.pop()}** (easier than the whole; not comparable with published numbers), float32 on a CPU "
        f"({machine['cores']} cores, busy with other work: the report's seconds are no benchmark). Records, per-sequence "
        "tables and plots: [reports/davis10](reports/davis10/README.md); poses: [reports/pose](reports/pose/README.md). "
        "Last column of scores: J&F on the synthetic benchmark, rendered videos, which runs without any data.",
        "",
        "| method | " + " | ".join(f"`{p}`" for p in protocols) + " | synthetic, `stt` | weights |",
        "|---|" + "---:|" * (len(protocols) + 1) + "---|",
    ]
    for name in order:
        found = [*(rows[name].get(p) for p in protocols), synthetic.get(name)]
        cells = [f"{r.summary['J&F-Mean']:.1f}" if r else "not run" for r in found]
        weights = (rows[name]["stt"].data.get("checkpoint") or {}).get("name") or "none"
        weights += "".join(f", {word}" for word in backbone(rows[name]["stt"]).split(", ")[1:])
        lines.append(
            f"| {rows[name]['stt'].method['title'].rstrip('.')} | " + " | ".join(cells) + f" | {weights} |"
        )
    return lines


def speed() -> list[str]:
    """Ratios of the CPU paths, from the files that the benchmark scripts wrote."""
    propagation = doc_tables.result("propagation_cpu")
    metrics = doc_tables.result("metrics_cpu")
    rows = [row for row in propagation["rows"] if row["threads"] == 1]
    return [
        *propagation_table(propagation, rows, "benchmarks/results/propagation_cpu.json"),
        "",
        "Two cores, memory, and why: [docs/performance.md](docs/performance.md).",
        "",
        *metric_lines(metrics),
    ]


FORMS = {
    "released": "released form",
    "tiled": "tiled torch",
    "fp32": "native fp32",
    "pruned": "native, pruned",
}
FEATURES = {
    "gauss": "independent Gaussian (nothing to prune)",
    "smooth": "made up, smooth",
    "random_resnet18": "untrained ResNet-18",
    "stt": "STT-small (trained here)",
    "mobilenetv2": "MobileNetV2 (ImageNet)",
}


def propagation_table(found: dict, rows: list[dict], path: str) -> list[str]:
    """Seconds and ratios of every form in `rows` of the record."""
    machine, rounds = found["machine"], len(rows[0]["released"]["seconds"])
    lines = [
        "Propagation of one DAVIS frame under the `stt` protocol (60x107 cells, 21 context frames, radius 12, top-10, "
        "labels included): seconds, and times faster than the dense form that released codes use, interleaved in one run, "
        f"median of {rounds} rounds on the clock; {machine['cpu']}, real features on frames of "
        f"{found['sequence']}; `{found['command']}` ([record]({path})).",
        "",
        "| features | channels | cores | " + " | ".join(FORMS.values()) + " |",
        "|---|---:|---:|" + "---:|" * len(FORMS),
    ]
    for row in rows:
        cells = []
        for form in FORMS:
            seconds = statistics.median(row[form]["seconds"])
            ratio = "" if form == "released" else f", **{row[form]['ratio']:.0f}x**"
            cells.append(f"{seconds:.3f} s{ratio}" if seconds < 10 else f"{seconds:.1f} s{ratio}")
        words = [FEATURES.get(row["features"], row["features"]), str(row["channels"]), str(row["threads"])]
        lines.append("| " + " | ".join([*words, *cells]) + " |")
    return lines


def performance() -> list[str]:
    """The measured part of docs/performance.md."""
    found = doc_tables.result("propagation_cpu")
    memory = ", ".join(f"{form} {mib} MiB" for form, mib in found["peak_memory_mib"].items())
    return [
        *propagation_table(found, found["rows"], "../benchmarks/results/propagation_cpu.json"),
        "",
        f"Peak memory besides the features, in fresh processes: {memory} (native: a clip of 40 frames on two threads). Best "
        + " and ".join(f"{rate} GFLOP/s on {n}" for n, rate in found["gemm_gflops"].items())
        + " threads for a float32 product of 2048x2048.",
    ]


def protocols() -> list[str]:
    """What the study of protocols says in one sentence, once there is one."""
    page = ROOT / "reports" / "protocols" / "README.md"
    if not page.is_file():
        return []
    short = next(line for line in page.read_text().splitlines() if line.startswith("In short: "))
    words = (
        "Method or protocol? Nine methods under six protocols and single switches, on the same ten sequences"
    )
    return [
        f"{words}: {short.removeprefix('In short: ')} [reports/protocols](reports/protocols/README.md).",
        "",
    ]


def metric_lines(found: dict) -> list[str]:
    ratios = [case["processor_ratio"]["compiled"] for case in found["cases"]]
    return [
        "J and F, 480x854, masks in memory, one thread, against davis2017-evaluation in the same run: "
        f"{min(ratios):.0f} to {max(ratios):.0f} times faster (processor time), the same counts "
        "([metrics_cpu.json](benchmarks/results/metrics_cpu.json))."
    ]


def ablations() -> list[str]:
    """A line to the report of ablations, once there is one."""
    folder = ROOT / "reports" / "ablation"
    if not (folder / "README.md").is_file():
        return []
    extents = "; ".join(dict.fromkeys(study.title for study in studies(folder)))
    words = "STT's ablations, trained and evaluated here (what each step and each distillation does at this scale), on"
    return [f"{words} {extents}: [reports/ablation](reports/ablation/README.md).", ""]


def readme() -> list[str]:
    return [*scores(), "", *ablations(), *protocols(), *speed()]


# The parts of each file, in their order in it.
PARTS: dict[Path, list[Callable[[], list[str]]]] = {
    ROOT / "README.md": [readme],
    ROOT / "docs" / "performance.md": [
        performance,
        doc_tables.stages,
        doc_tables.batches,
        doc_tables.compiled,
    ],
    ROOT / "docs" / "stt.md": [
        doc_tables.whitening,
    ],
    ROOT / "docs" / "stt_tuning.md": [
        doc_tables.rounds,
        partial(doc_tables.trials, "trials", TRIALS),
        partial(doc_tables.trials, "around_small", "change"),
        partial(doc_tables.trials, "dense", "change"),
        doc_tables.contrast,
        doc_tables.tuning,
        doc_tables.tuning_widths,
        partial(doc_tables.tuning_both_sizes, "third"),
        partial(doc_tables.tuning_both_sizes, "fourth"),
        partial(doc_tables.tuning_both_sizes, "fifth"),
        partial(doc_tables.tuning_both_sizes, "sixth"),
        doc_tables.tuning_halves,
        partial(doc_tables.tuning_both_sizes, "seventh"),
        partial(doc_tables.tuning_both_sizes, "eighth"),
        partial(doc_tables.tuning_both_sizes, "ninth"),
        partial(doc_tables.tuning_both_sizes, "tenth"),
        partial(doc_tables.tuning_both_sizes, "eleventh"),
    ],
}


def rewritten(text: str, parts: list[Callable[[], list[str]]]) -> str:
    """`text` with what lies between its pairs of marks written anew; `ValueError` unless there is a part for each pair."""
    head, *rest = text.split(BEGIN)
    if len(rest) != len(parts):
        raise ValueError(f"{len(rest)} measured parts where {len(parts)} are expected")
    pieces = [head]
    for part, after in zip(parts, rest, strict=True):
        pieces += ["\n".join([BEGIN, "", *part(), "", END]), after.split(END)[1]]
    return "".join(pieces)


def main() -> int:
    stale = 0
    for path, parts in PARTS.items():
        text = path.read_text()
        whole = rewritten(text, parts)
        stale += whole != text
        if "--check" not in sys.argv:
            path.write_text(whole)
    return int("--check" in sys.argv and stale > 0)


if __name__ == "__main__":
    sys.exit(main())

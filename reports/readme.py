"""Write the measured part of README.md from the records under reports/ and the results under benchmarks/.

python reports/readme.py            rewrite it
python reports/readme.py --check    exit 1 where README.md says something else (the test suite does this)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from corrbench import record
from corrbench.ablation_study import studies
from corrbench.scores import extent

ROOT = Path(__file__).parent.parent
BEGIN = "<!-- measured: begin (python reports/readme.py writes this part) -->"
END = "<!-- measured: end -->"


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
        lines.append(
            f"| {rows[name]['stt'].method['title'].rstrip('.')} | " + " | ".join(cells) + f" | {weights} |"
        )
    return lines


def speed() -> list[str]:
    """Ratios of the CPU paths, from the files that the benchmark scripts wrote."""
    propagation = json.loads((ROOT / "benchmarks" / "results" / "propagation_cpu.json").read_text())
    metrics = json.loads((ROOT / "benchmarks" / "results" / "metrics_cpu.json").read_text())
    return [*propagation_lines(propagation), "", *metric_lines(metrics)]


def propagation_lines(found: dict) -> list[str]:
    """Ratios to the released codes' dense form, one thread, on random and on real features."""
    lines = [
        "Propagation of one DAVIS frame (60x107 grid, 21 context frames, radius 12, top-10), one thread of the machine in "
        "[propagation_cpu.json](benchmarks/results/propagation_cpu.json), times faster than the dense form that released "
        "codes use, processor time, interleaved in one run:",
        "",
        "| features | channels | tiled torch | native C++ |",
        "|---|---:|---:|---:|",
    ]
    for kind in ("random", "real"):
        one = found[kind]["threads"]["1"]
        words = (
            "random" if kind == "random" else f"{Path(found[kind]['method']).stem}, {found[kind]['sequence']}"
        )
        ratios = [f"{one[name]['ratio']:.0f}x" for name in ("tiled clip", "native clip")]
        lines.append(f"| {words} | {found[kind]['features'][1]} | " + " | ".join(ratios) + " |")
    return lines


def metric_lines(found: dict) -> list[str]:
    ratios = [case["processor_ratio"]["compiled"] for case in found["cases"]]
    return [
        "J and F, 480x854, masks in memory, one thread, against davis2017-evaluation in the same run: "
        f"{min(ratios):.0f} to {max(ratios):.0f} times faster (processor time), the same counts "
        "([metrics_cpu.json](benchmarks/results/metrics_cpu.json))."
    ]


def measured() -> str:
    return "\n".join([BEGIN, "", *scores(), "", *ablations(), *speed(), "", END])


def ablations() -> list[str]:
    """A line to the report of ablations, once there is one."""
    folder = ROOT / "reports" / "ablation"
    if not (folder / "README.md").is_file():
        return []
    extents = ", ".join(dict.fromkeys(study.title for study in studies(folder)))
    words = "STT's ablations, trained and evaluated here (what each step and each distillation does at this scale), on"
    return [f"{words} {extents}: [reports/ablation](reports/ablation/README.md).", ""]


def main() -> int:
    path = ROOT / "README.md"
    text = path.read_text()
    head, rest = text.split(BEGIN)
    whole = head + measured() + rest.split(END)[1]
    if "--check" in sys.argv:
        return int(whole != text)
    path.write_text(whole)
    return 0


if __name__ == "__main__":
    sys.exit(main())

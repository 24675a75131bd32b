"""The model card of weights that corrbench ships: from what the file says about itself and the records of its runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from corrbench import scores as sc
from corrbench import statistics as st
from corrbench.record import Record
from corrbench.run_weights import network_of

# What the training folders of the schedules hold; another folder is named, and nothing is claimed of it.
FOLDERS = {
    "images-1k-192": "1,000 photographs, one of each ImageNet-1k class, short side 192 "
    "(ImageNet's terms: non-commercial research)",
    "DAVIS-train-256": "1,912 frames of 27 sequences of DAVIS-2016's train list, 256 pixels high, without their annotation "
    "(CC BY-NC 4.0); none of them is in DAVIS-2017 val or in BADJA",
}
SETTINGS = ("updates", "batch", "weights", "others", "joint", "frames", "step", "gaps", "radius", "certain", "crop",
            "optimiser", "lr", "weight_decay", "warmup",
            "autocast", "queue", "key_momentum", "temperature", "radii", "reconstruction_weights", "local_weight",
            "global_weight")  # fmt: skip
WHITENING = (
    "weights",
    "batch",
    "resize",
    "layers",
    "means",
    "directions",
    "dropped",
    "centred",
    "adapted",
    "power",
    "floor",
)
BESIDE = ("batch", "crop", "side", "zoom", "turn", "temperature")
OURS = {  # stages that the paper does not have
    "Whitening": "Whitening is ours, not the paper's: a linear map behind the network, from unlabelled frames "
    "([docs/stt.md](../../docs/stt.md#whitening)).",
    "EnsembleDistillation": "EnsembleDistillation is ours, not the paper's: the affinities of trainings with several seeds, "
    "taught to this one network ([docs/stt.md](../../docs/stt.md#an-ensemble-taught-to-one-network)).",
    "ChainDistillation": "ChainDistillation is ours, not the paper's: labels carried step by step through clips, taught to "
    "the match from end to end ([docs/stt.md](../../docs/stt.md#chains-taught-to-a-direct-match)).",
}


def card(
    name: str,
    title: str,
    about: Mapping[str, Any],
    sha256: str,
    size: int,
    method: str,
    records: Sequence[tuple[Record, str]],
    logs: Path,
    default: bool = True,
) -> str:
    """The card as Markdown. `records` are runs of these weights with the addresses of their folders, may be none.

    `logs` is the folder of the thinned training logs, beside the card. `default`: `method` takes these weights by itself.
    """
    last = about["stages"][-1]
    parts = [
        f"# {name}: {title}",
        "Weights of corrbench's own training, with the code, data and schedule named below. They are **not** the weights "
        "that the authors of STT released, were trained on a small part of what those were trained on, and no number "
        "of theirs is a reproduction of a published one.",
        "## Use",
        f"    corrbench run methods/{method}.py tasks/davis.py"
        + ("" if default else f" -o method.checkpoint={name}"),
        "Loading is strict and checked by sha256. Reports call the method "
        f"`{method}-{about['schedule']}`. ResNet-18 up to its third stage, torchvision's parameter names; kernels stored as "
        f"{about['stored']}, batch normalisation as float32; computed in float32.",
        f"`{name}.safetensors`: {size / 1e6:.1f} MB, sha256 `{sha256}`." + _difference(about),
        "## Licence",
        "CC BY-NC 4.0 for these weights, because of the data: frames of DAVIS (CC BY-NC 4.0) and photographs of ImageNet "
        "(non-commercial research). The code's licence does not cover them.",
        "## Data",
        "\n".join(_data(about)),
        "## Training",
        f"Schedule `{about['schedule']}` of `methods/stt.py`, {_variant(about)}, seed {about['seed']}. "
        f"`python scripts/train_stt.py --schedule {about['schedule']}` trains it again, with the ablations beside it.",
        "\n".join(_stages(about["stages"])),
        *_beside(about["stages"]),
        *_logs(about["stages"], logs),
        f"Stage digest `{last['digest']}`, weights as trained (float32) sha256 `{last['sha256']}`.",
        "All settings of all stages are in the file's own header (`corrbench.shipped.header`).",
        "## Measured",
        "\n".join(_scores(about, sha256, records)),
        "## Limits",
        "A small network after a short training on 27 videos and 1,000 photographs, good for trying the whole pipeline "
        "with the real method and for comparing training variants at this scale. It says nothing about what the method "
        "reaches at the paper's scale. What the data show and how they were chosen (people, animals, vehicles of DAVIS; "
        "web photographs of ImageNet) is in it too.",
        *_of_whole_videos(about["stages"]),
        "## Citation",
        "Li & Liu, Spatial-then-Temporal Self-Supervised Learning for Video Correspondence, CVPR 2023; He et al., Momentum "
        "Contrast, CVPR 2020; Chen et al., arXiv 2003.04297; Pont-Tuset et al., The 2017 DAVIS Challenge, arXiv 1704.00675; "
        "Deng et al., ImageNet, CVPR 2009.",
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _of_whole_videos(stages: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is to be known of a network whose features of a frame depend on the other frames; nothing of others."""
    network = network_of(stages, {"type": ""})
    ways = [
        f"{words} ([docs/stt.md](../../docs/stt.md#{anchor}))"
        for key, words, anchor in (
            ("adapted", "part of batch normalisation's statistics", "adapted-to-the-video"),
            ("centred", "the mean of the features", "centring-on-the-video"),
        )
        if network.get(key)
    ]
    if not ways:
        return []
    return [
        "A frame's features depend on the whole video that is evaluated, its later frames among them: out of it is taken "
        f"{' and '.join(ways)}. Compare with methods that may do the same; `stt-r18-chain` and `stt-r18-small` do not."
    ]


def fitting(records: Sequence[Record], sha256: str, trained: str) -> list[Record]:
    """The records of runs with this file or with the float32 weights it was made of; `ValueError` where there are none."""
    kept = [r for r in records if (r.data.get("checkpoint") or {}).get("sha256") in (sha256, trained)]
    if not kept:
        raise ValueError(
            f"none of the {len(records)} records given is of these weights (sha256 {sha256[:12]} or {trained[:12]}, "
            "the float32 ones); run the method with them first, or leave --records out"
        )
    return kept


def address(record: Record, root: Path, card_folder: Path) -> str:
    """A link from the card to a record below `root`; empty for one that lies elsewhere."""
    folder = record.folder.resolve()
    if not folder.is_relative_to(root.resolve()):
        return ""
    return Path(os.path.relpath(folder / "record.json", card_folder.resolve())).as_posix()


def size_words(record: Record) -> str:
    """The frame size of a record's protocol, in words: `short side 240`."""
    resize = str((record.protocol.get("settings") or {}).get("resize", ""))
    return (
        resize.replace("short ", "short side ", 1)
        if resize.startswith("short ")
        else resize or "size not stated"
    )


def _difference(about: Mapping[str, Any]) -> str:
    if about.get("feature_difference") is None:
        return ""
    return (
        f" Features differ from those of the float32 weights by {about['feature_difference']:.1e} of their length "
        f"(the largest over {about['compared_on']})."
    )


def _variant(about: Mapping[str, Any]) -> str:
    return f'ablation "{about["ablation"]}"' if about["ablation"] else "as it is written there"


def log_name(stage: Mapping[str, Any]) -> str:
    """The file of a stage's thinned training log."""
    return f"{stage['type'].lower()}-{stage['digest'][:12]}.csv"


def _logs(stages: Sequence[Mapping[str, Any]], folder: Path) -> list[str]:
    names = [log_name(stage) for stage in stages]
    links = [f"[{name}]({folder.name}/{name})" for name in names if (folder / name).is_file()]
    return [f"Training logs, thinned: {', '.join(links)}."] if links else []


def _contrast(stage: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The settings of the contrastive stage that was trained beside `stage`, if one was."""
    settings = stage["settings"]
    return settings.get("contrast") if settings.get("contrast_weight") else None


def _beside(stages: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the table of stages has no column for: a contrast beside a stage, and that the paper's second step has none."""
    found = [(stage, inner) for stage in stages if (inner := _contrast(stage)) is not None]
    words = {
        "Dense": "contrast between cells of two views of a photograph",
        "Spatial": "contrast of photographs",
    }
    return [
        f"{stage['type']} is trained on a {words.get(inner['type'], inner['type'])} at the same time, which the paper's "
        f"second step is not: weight {stage['settings']['contrast_weight']:g}, "
        + ", ".join(f"{key} {inner[key]}" for key in BESIDE if inner.get(key) is not None)
        + " ([docs/stt.md](../../docs/stt.md#contrast-between-cells))."
        for stage, inner in found
    ] + [
        *(sentence for kind, sentence in OURS.items() if any(stage["type"] == kind for stage in stages)),
        *(
            "{0} starts from `{1}`, whose card ([{1}.md]({1}.md)) has the stages before it and their data.".format(
                stage["type"], stage["settings"]["weights"]
            )
            for stage in stages
            if stage["settings"].get("weights")
        ),
    ]


def _data(about: Mapping[str, Any]) -> list[str]:
    lines = []
    for stage in about["stages"]:
        named = dict.fromkeys(
            [
                *_folders(stage["settings"]["dataset"]),
                *_folders((_contrast(stage) or {}).get("dataset") or {}),
            ]
        )
        lines.append(f"* {stage['type']}: {stage['data']['name']}")
        lines += [
            f"  * `{Path(folder).name}`: {FOLDERS.get(Path(folder).name, 'not described')}"
            for folder in named
        ]
    chosen = any(stage["type"] in OURS for stage in about["stages"])
    return [
        *lines,
        "",
        "No label was used in training"
        + (
            "; the settings of the stages that are not the paper's were chosen with masks drawn by hand on some "
            "training frames ([docs/stt_tuning.md](../../docs/stt_tuning.md))"
            if chosen
            else ""
        )
        + ". The evaluation videos were not trained on.",
    ]


def _folders(dataset: Mapping[str, Any]) -> list[str]:
    """The folders of a data set and of the parts that it is a mixture of."""
    parts = [folder for part in dataset.get("parts", []) for folder in _folders(part)]
    return [*dataset.get("folders", []), *parts]


def _stages(stages: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "| stage | updates | seed | device | updates a second | settings | commit | digest |",
        "|---|---:|---:|---|---:|---|---|---|",
    ]
    for stage in stages:
        settings = stage["settings"]
        keys = WHITENING if stage["type"] == "Whitening" else SETTINGS[1:]
        words = ", ".join(
            f"{key} {settings[key]}" for key in keys if settings.get(key) not in (None, [], False)
        )
        machine = stage.get("machine") or {}
        git = stage.get("git") or {}
        changed = " with changes" if git.get("dirty") else ""
        speed = stage.get("updates_per_second")
        where = machine.get("gpu") or machine.get("cpu") or stage["device"]
        lines.append(
            f"| {stage['type']} | {stage['updates']} | {stage['seed']} | {where}"
            f" | {'' if speed is None else f'{speed:.2f}'} | {words} | {(git.get('commit') or 'unknown')[:12]}{changed} "
            f"| {stage['digest'][:12]} |"
        )
    return lines


def _scores(about: Mapping[str, Any], sha256: str, records: Sequence[tuple[Record, str]]) -> list[str]:
    if not records:
        return [
            "No record was given when this card was written: `python scripts/ship_weights.py --card NAME --records FOLDER`."
        ]
    lines = [
        "| data | protocol | number | value | 95 % over sequences | weights | record |",
        "|---|---|---|---:|---:|---|---|",
    ]
    for record, link in sorted(
        records, key=lambda pair: (pair[0].task["name"], pair[0].protocol["signature"], pair[0].key)
    ):
        metric = sc.headline(record)
        score = sc.of(record, metric)
        ends = ""
        if len(score.names) > 1:
            low, high = st.bootstrap(score, len(score.names)).bca
            ends = f"{low:.1f} to {high:.1f}"
        mine = (record.data.get("checkpoint") or {}).get("sha256") == sha256
        weights = "this file" if mine else "as trained, float32"
        key = f"[{record.key[:12]}]({link})" if link else record.key[:12]
        lines.append(
            f"| {sc.extent(record)} | `{record.protocol['name']}`, {size_words(record)} | {metric} "
            f"| {record.summary[metric]:.1f} | {ends} | {weights} | {key} |"
        )
    return [
        *lines,
        "",
        "Intervals are bootstrap over sequences (BCa). A part of a data set is not comparable with numbers on all of it.",
    ]

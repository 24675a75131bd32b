"""Which stages a method needs, under which digests, what of them is trained already, and how long the rest takes.

A stage's digest is of its resolved settings, the digest of its data, its parent stage's digest and the seed, so
ablations that share a stage share its weights, and nothing else does.
"""

from __future__ import annotations

import copy
import functools
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corrbench import config
from corrbench.datasets.roots import DataMissing
from corrbench.registry import BACKBONES, DATASETS, STAGES, build, did_you_mean, lookup
from corrbench.training import checkpoint, speed

VERSION = 1  # raise it when the same settings no longer give the same weights
SAMPLE_SCHEDULE = "smoke"


@dataclass(frozen=True)
class StagePlan:
    """One stage that a method needs: where its result is or will be, and what is still to do.

    `seconds` is an estimate for what is left (0 when cached, NaN when it was not asked for), `basis` where it comes
    from: `recorded` here, `measured` just now, or empty.
    """

    number: int
    type: str
    digest: str
    settings: dict[str, Any]
    folder: Path
    cached: bool
    done: int
    seconds: float
    basis: str
    data: str
    synthetic: bool
    seed: int
    parent: str | None
    teachers: tuple[str, ...] = ()  # the same stage as `parent`, of other seeds

    @property
    def updates(self) -> int:
        return int(self.settings["updates"])

    def line(self) -> str:
        """One line for people."""
        what = f"stage {self.number} ({self.type}, seed {self.seed}, {self.digest[:12]}) on {self.data}"
        if self.cached:
            return f"{what}: cached"
        left = f"{self.updates - self.done} of {self.updates} updates to train"
        time = "" if math.isnan(self.seconds) else f", about {speed.words(self.seconds)} ({self.basis})"
        return f"{what}: {left}{time}"


def folder_of_stages() -> Path:
    """`corrbench/stages` in `$XDG_CACHE_HOME` or `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "corrbench" / "stages"


def variant(
    data: Mapping[str, Any], schedule: str | None = None, changes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A method file's data under one of its `schedules` (None: as written), then with an ablation's `changes`.

    Both are dotted changes of known keys.
    """
    known = data.get("schedules", {})
    if schedule is not None and schedule not in known:
        raise ValueError(
            f"{schedule!r} is no schedule of this method.{did_you_mean(schedule, sorted(known))}"
        )
    for step in (known[schedule] if schedule is not None else {}, changes or {}):
        data = config.override(data, step)
    return dict(data)


def chain(data: Mapping[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """The resolved stages of more than 0 updates, with their places in `training`.

    A stage with `contrast_weight` gets the settings of the nearest `Spatial` stage before it, trained or not.
    """
    if not data.get("training"):
        raise ValueError("this method has no `training = [...]`, and so nothing that could be trained")
    stages = [config.resolve(STAGES, stage) for stage in data["training"]]
    for number, stage in enumerate(stages):
        if stage.get("contrast_weight") and stage.get("contrast") is None:
            before = [s for s in stages[:number] if s["type"] == "Spatial"]
            if before:
                stage["contrast"] = before[-1] | {"updates": 0}
    kept = [(number, stage) for number, stage in enumerate(stages) if stage["updates"] > 0]
    if not kept:
        raise ValueError(
            "every stage of `training` has 0 updates, so nothing would be trained; set one above 0"
        )
    return kept


def beginning(stages: Sequence[Mapping[str, Any]]) -> int:
    """Where a run's own stages begin: at the last that starts from `weights` of the zoo, else at the first."""
    return max((at for at, settings in enumerate(stages) if settings.get("weights")), default=0)


def plan(
    data: Mapping[str, Any],
    *,
    schedule: str | None = None,
    changes: Mapping[str, Any] | None = None,
    seed: int = 0,
    root: str | Path | None = None,
    device: str = "cpu",
    sample: bool = True,
    estimate: bool = True,
) -> tuple[StagePlan, ...]:
    """The stages that a method file's `data` needs, in order, with what is cached and how long the rest takes.

    `changes` are an ablation's; `root` is `--data`. Where training data are missing, the schedule `smoke` goes on with
    the rendered benchmark if `sample` is on; otherwise that is `DataMissing`. Estimating may run a few updates on random
    pixels.
    """
    rendered = sample and schedule == SAMPLE_SCHEDULE
    stages = [
        (number, *_with_data(settings, root, rendered))
        for number, settings in chain(variant(data, schedule, changes))
    ]
    # The data are listed and a stage's speed is measured once, for all seeds.
    identities = [identity(settings) for _, settings, _, _ in stages]
    pace = functools.cache(lambda at: speed.of(stages[at][1], device) if estimate else (math.nan, ""))
    plans: dict[str, StagePlan] = {}

    def line(length: int, seed: int) -> str | None:
        """The digest of the last of the first `length` stages with `seed`, all of them in `plans` by then."""
        begin = beginning([settings for _, settings, _, _ in stages[:length]])
        parent: str | None = None
        for at, (number, settings, name, synthetic) in enumerate(stages[begin:length], begin):
            others = range(seed + 1, seed + 1 + settings.get("others", 0))
            teachers = tuple(str(line(at, other)) for other in others) if at else ()
            digest = stage_digest(identities[at], parent, seed, teachers)
            if digest not in plans:
                folder = folder_of_stages() / digest
                cached = (folder / "stage.json").is_file()
                done = _done(folder) if not cached else int(settings["updates"])
                seconds, basis = 0.0, ""
                if not cached:
                    per_second, basis = pace(at)
                    seconds = (settings["updates"] - done) / per_second
                plans[digest] = StagePlan(
                    number, settings["type"], digest, settings, folder, cached, done, seconds, basis, name, synthetic,
                    seed, parent, teachers,
                )  # fmt: skip
            parent = digest
        return parent

    line(len(stages), seed)
    return tuple(plans.values())


def stage_digest(what: Mapping[str, Any], parent: str | None, seed: int, teachers: Sequence[str] = ()) -> str:
    """The digest under which the result of a stage is kept whose settings have the `identity` `what`."""
    about = {"version": VERSION, "settings": what, "parent": parent, "seed": seed}
    return config.digest(about | ({"teachers": list(teachers)} if teachers else {}))


def identity(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with each data set replaced by its digest, and zoo weights by their file's sha256 where that is known.

    So data count by their content, not by where they lie.
    """
    idle = lookup(STAGES, settings["type"]).idle(settings)
    plain = {key: value for key, value in settings.items() if key not in idle}
    backbone = settings["backbone"]
    unused = getattr(lookup(BACKBONES, backbone["type"]), "idle", lambda _: ())(backbone)
    plain["backbone"] = {key: value for key, value in backbone.items() if key not in unused}
    plain["dataset"] = {
        "type": settings["dataset"]["type"],
        "digest": build(DATASETS, settings["dataset"]).digest(),
    }
    if isinstance(plain.get("contrast"), Mapping):
        plain["contrast"] = identity(plain["contrast"])
    for key in ("teacher_weights", "weights"):
        if plain.get(key):
            from corrbench import zoo

            entry = zoo.entry(plain[key])
            plain[key] = [plain[key], entry.sha256 or entry.sha256_prefix]
    return plain


def _with_data(
    settings: dict[str, Any], root: str | Path | None, sample: bool
) -> tuple[dict[str, Any], str, bool]:
    """Settings whose data sets can be built, the data's name, and whether rendered videos stand in for them."""
    settings = copy.deepcopy(settings)
    if root is not None:
        settings["dataset"]["root"] = str(root)
    if settings["dataset"].get("type") == "Photos" or {"folders", "parts"} & set(settings["dataset"]):
        synthetic = False
        try:
            name = str(build(DATASETS, settings["dataset"]).name)
        except DataMissing:
            if not sample:
                raise
            from corrbench.datasets.synthetic import ensure

            wanted = {"type": "Videos"} if "parts" in settings["dataset"] else settings["dataset"]
            settings["dataset"] = wanted | {"folders": [str(ensure("vos") / "JPEGImages")], "root": None}
            name, synthetic = "rendered synthetic videos", True
    else:
        name, synthetic = str(settings["dataset"].get("type")), False
    if isinstance(settings.get("contrast"), Mapping):
        settings["contrast"], beside, rendered = _with_data(settings["contrast"], root, sample)
        name, synthetic = f"{name} and {beside}", synthetic or rendered
    return settings, name, synthetic


def _done(folder: Path) -> int:
    path = folder / "checkpoint.pt"
    return int(checkpoint.read(path)["update"]) if path.is_file() else 0


def synthetic_note(stage: StagePlan) -> str:
    """The loud line for training on rendered videos."""
    return (
        f"NO TRAINING DATA for {stage.type}: training on the small SYNTHETIC videos rendered on this machine; the "
        "weights are good for trying things out and for nothing else."
    )


def unique(plans: list[tuple[StagePlan, ...]]) -> list[StagePlan]:
    """Every stage of several methods once, in an order in which each comes after its parent."""
    seen: dict[str, StagePlan] = {}
    for chain_of_one in plans:
        for stage in chain_of_one:
            seen.setdefault(stage.digest, stage)
    return list(seen.values())

"""Trained stages by digest: what is there, what is missing, how long it will take, and training it once.

A stage's digest is of its resolved settings, the digest of its data, its parent stage's digest and the seed, so
ablations that share a stage share its weights, and nothing else does. A folder
`$XDG_CACHE_HOME/corrbench/stages/<digest>/` holds `weights.safetensors`, `stage.json` (written last: it means
finished), `log.csv`, and `checkpoint.pt` while the stage is under way.
"""

from __future__ import annotations

import copy
import fcntl
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from corrbench import config, provenance
from corrbench.datasets.roots import DataMissing
from corrbench.registry import DATASETS, STAGES, build, did_you_mean, lookup
from corrbench.training import checkpoint, distributed, loop, speed
from corrbench.training.journal import Journal
from corrbench.training.stage import Stage

VERSION = 1  # raise it when the same settings no longer give the same weights
SAMPLE_SCHEDULE = "smoke"

Say = Callable[[str], None]


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


@dataclass(frozen=True)
class Trained:
    """The weights of a method's last stage, their sha256, and how they came about (plain data, for records)."""

    path: Path
    sha256: str
    info: dict[str, Any]
    notes: tuple[str, ...]


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
    plans: list[StagePlan] = []
    parent: str | None = None
    for number, settings in chain(variant(data, schedule, changes)):
        settings, name, synthetic = _with_data(settings, root, sample and schedule == SAMPLE_SCHEDULE)
        digest = stage_digest(settings, parent, seed)
        folder = folder_of_stages() / digest
        cached = (folder / "stage.json").is_file()
        done = _done(folder) if not cached else int(settings["updates"])
        seconds, basis = 0.0, ""
        if not cached:
            per_second, basis = speed.of(settings, device) if estimate else (math.nan, "")
            seconds = (settings["updates"] - done) / per_second
        plans.append(
            StagePlan(number, settings["type"], digest, settings, folder, cached, done, seconds, basis, name, synthetic,
                      seed, parent)
        )  # fmt: skip
        parent = digest
    return tuple(plans)


def train_missing(
    data: Mapping[str, Any],
    *,
    schedule: str | None = None,
    changes: Mapping[str, Any] | None = None,
    seed: int = 0,
    root: str | Path | None = None,
    device: str = "cpu",
    sample: bool = True,
    progress: bool = True,
    tensorboard: bool = False,
    say: Say = print,
) -> Trained:
    """Train the stages that are not cached and return the last one's weights.

    Two processes that want the same stage train it once: the second waits. Interrupted, the next call goes on from
    the checkpoint. `say` is given one line a stage before anything starts.
    """
    at = str(distributed.join(device))
    estimate = progress and distributed.rank() == 0
    plans = plan(
        data,
        schedule=schedule,
        changes=changes,
        seed=seed,
        root=root,
        device=at,
        sample=sample,
        estimate=estimate,
    )
    notes = tuple(dict.fromkeys(synthetic_note(p) for p in plans if p.synthetic))
    if distributed.rank() == 0 and not all(p.cached for p in plans):
        for text in (*notes, *(p.line() for p in plans)):
            say(text)
    weights: dict[str, torch.Tensor] | None = None
    for stage in plans:
        _train_one(stage, weights, at, progress, tensorboard, say)
        weights = checkpoint.load_weights(stage.folder / "weights.safetensors")
    stages = [finished(p.folder) for p in plans]
    info = {
        "schedule": schedule,
        "changes": dict(changes or {}),
        "seed": seed,
        "stages": stages,
        "synthetic": any(p.synthetic for p in plans),
    }
    return Trained(plans[-1].folder / "weights.safetensors", stages[-1]["sha256"], info, notes)


def synthetic_note(stage: StagePlan) -> str:
    """The loud line for training on rendered videos."""
    return (
        f"NO TRAINING DATA for {stage.type}: training on the small SYNTHETIC videos rendered on this machine; the "
        "weights are good for trying things out and for nothing else."
    )


def finished(folder: Path) -> dict[str, Any]:
    """`stage.json` of a finished stage, its weights' sha256 checked; `ValueError` where they do not fit."""
    try:
        about = json.loads((folder / "stage.json").read_text(encoding="utf-8"))
        found = sha256(folder / "weights.safetensors")
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder}: is no finished stage ({error}); delete it to train it again") from None
    if about.get("sha256") != found:
        raise ValueError(
            f"{folder}: weights.safetensors was changed after training; delete the folder to train again"
        )
    return about


def sha256(path: Path) -> str:
    """sha256 of a file, 64 hex digits."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def stage_digest(settings: Mapping[str, Any], parent: str | None, seed: int) -> str:
    """The digest under which a stage's result is kept. Data count by their content, not by where they lie."""
    return config.digest(
        {"version": VERSION, "settings": _identity(settings), "parent": parent, "seed": seed}
    )


def _identity(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with each data set replaced by its digest, and a zoo teacher by its file's sha256 where that is known."""
    idle = lookup(STAGES, settings["type"]).idle(settings)
    plain = {key: value for key, value in settings.items() if key not in idle}
    plain["dataset"] = {
        "type": settings["dataset"]["type"],
        "digest": build(DATASETS, settings["dataset"]).digest(),
    }
    if isinstance(plain.get("contrast"), Mapping):
        plain["contrast"] = _identity(plain["contrast"])
    if plain.get("teacher_weights"):
        from corrbench import zoo

        entry = zoo.entry(plain["teacher_weights"])
        plain["teacher_weights"] = [plain["teacher_weights"], entry.sha256 or entry.sha256_prefix]
    return plain


def _with_data(
    settings: dict[str, Any], root: str | Path | None, sample: bool
) -> tuple[dict[str, Any], str, bool]:
    """Settings whose data sets can be built, the data's name, and whether rendered videos stand in for them."""
    settings = copy.deepcopy(settings)
    if root is not None:
        settings["dataset"]["root"] = str(root)
    if settings["dataset"].get("type") == "Photos" or "folders" in settings["dataset"]:
        synthetic = False
        try:
            name = str(build(DATASETS, settings["dataset"]).name)
        except DataMissing:
            if not sample:
                raise
            from corrbench.datasets.synthetic import ensure

            settings["dataset"] |= {"folders": [str(ensure("vos") / "JPEGImages")], "root": None}
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


def _train_one(
    planned: StagePlan,
    parent: dict[str, torch.Tensor] | None,
    device: str,
    progress: bool,
    tensorboard: bool,
    say: Say,
) -> None:
    """Train one stage, unless it is finished by the time its lock is ours."""
    at = torch.device(device)
    lead = distributed.rank() == 0
    with lock(planned.folder, say, lead):
        done = lead and (planned.folder / "stage.json").is_file()
        if distributed.anyone(done, at):
            if lead:
                finished(planned.folder)
            return
        stage: Stage = build(STAGES, planned.settings)
        title = f"{planned.type} {planned.digest[:8]}"
        journal = (
            Journal(planned.folder, title=title, tensorboard=tensorboard, progress=progress)
            if lead
            else Journal(None)
        )
        try:
            outcome = loop.train(
                stage,
                planned.folder,
                parent=parent,
                seed=planned.seed,
                device=device,
                digest=planned.digest,
                journal=journal,
            )
        finally:
            journal.close()
        if lead:
            _write_about(planned, outcome, device)
            speed.record(planned.settings, device, outcome.per_second)
        distributed.anyone(False, at)  # nobody goes on before stage.json is there


def _write_about(planned: StagePlan, outcome: loop.Outcome, device: str) -> None:
    about = {
        "digest": planned.digest,
        "type": planned.type,
        "number": planned.number,
        "seed": planned.seed,
        "parent": planned.parent,
        "settings": config.canonical(planned.settings),
        "data": {"name": planned.data, "synthetic": planned.synthetic},
        "sha256": sha256(planned.folder / "weights.safetensors"),
        "updates": outcome.updates,
        "losses": outcome.losses,
        "updates_per_second": None if math.isnan(outcome.per_second) else round(outcome.per_second, 4),
        "device": device,
        "processes": distributed.world(),
        "created": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "versions": provenance.versions(),
        "machine": provenance.machine(),
        "git": provenance.git(),
    }
    checkpoint.write_text(planned.folder / "stage.json", json.dumps(about, indent=1))


@contextmanager
def lock(folder: Path, say: Say, lead: bool = True) -> Iterator[None]:
    """Hold a stage's folder; wait for another process that trains in it. The system frees the lock when its holder dies."""
    if not lead:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "a+", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.seek(0)
            say(
                f"{folder.name[:12]}: process {handle.read().strip() or 'unknown'} trains this stage; waiting for it"
            )
            fcntl.flock(handle, fcntl.LOCK_EX)
        handle.seek(0)
        handle.truncate()
        handle.write(str(os.getpid()))
        handle.flush()
        yield


def unique(plans: list[tuple[StagePlan, ...]]) -> list[StagePlan]:
    """Every stage of several methods once, in an order in which each comes after its parent."""
    seen: dict[str, StagePlan] = {}
    for chain_of_one in plans:
        for stage in chain_of_one:
            seen.setdefault(stage.digest, stage)
    return list(seen.values())

"""Trained stages by digest: train what is missing, once, and give back what is there.

A folder `$XDG_CACHE_HOME/corrbench/stages/<digest>/` holds `weights.safetensors`, `stage.json` (written last: it
means finished), `log.csv`, and `checkpoint.pt` while the stage is under way.
"""

from __future__ import annotations

import fcntl
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
from corrbench.hashing import sha256
from corrbench.registry import STAGES, build
from corrbench.training import checkpoint, distributed, loop, speed
from corrbench.training.journal import Journal
from corrbench.training.planning import (
    StagePlan,
    beginning,
    chain,
    folder_of_stages,
    plan,
    synthetic_note,
    unique,
    variant,
)
from corrbench.training.stage import Stage

__all__ = [
    "StagePlan",
    "Trained",
    "beginning",
    "chain",
    "finished",
    "folder_of_stages",
    "lock",
    "plan",
    "sha256",
    "train_missing",
    "unique",
    "variant",
]

Say = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """The weights of a method's last stage, their sha256, and how they came about (plain data, for records)."""

    path: Path
    sha256: str
    info: dict[str, Any]
    notes: tuple[str, ...]


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
    for stage in plans:
        _train_one(stage, at, progress, tensorboard, say)
    stages = [finished(p.folder) for p in plans]
    info = {
        "schedule": schedule,
        "changes": dict(changes or {}),
        "seed": seed,
        "stages": stages,
        "synthetic": any(p.synthetic for p in plans),
    }
    return Trained(plans[-1].folder / "weights.safetensors", stages[-1]["sha256"], info, notes)


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


def _train_one(
    planned: StagePlan,
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
                parent=_weights(planned.parent) if planned.parent else None,
                teachers=[_weights(digest) for digest in planned.teachers],
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


def _weights(digest: str) -> dict[str, torch.Tensor]:
    return checkpoint.load_weights(folder_of_stages() / digest / "weights.safetensors")


def _write_about(planned: StagePlan, outcome: loop.Outcome, device: str) -> None:
    about = {
        "digest": planned.digest,
        "type": planned.type,
        "number": planned.number,
        "seed": planned.seed,
        "parent": planned.parent,
        **({"teachers": list(planned.teachers)} if planned.teachers else {}),
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

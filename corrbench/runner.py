"""Run a plan: predict every sequence (kept as soon as it is done), then score, then write the record.

A sequence's predictions are written while the next one is computed. They appear whole or not at all, and then beside
them what they cost; so after Ctrl-C, a full disk or kill -9 the same command goes on with the next sequence. Several
processes may run one command at once (on several GPUs or nodes with a common disk): each takes sequences that no other
holds, and the last one scores.
"""

from __future__ import annotations

import errno
import fcntl
import json
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from corrbench import config, provenance, record, summary
from corrbench.methods import Clock
from corrbench.pipeline import behind
from corrbench.plan import Plan, representation
from corrbench.record import Record

WHEN = ("missing", "always", "never")
# Sequence, frames done, whether they were there already. Called in order, from the thread that writes predictions.
Progress = Callable[[str, int, bool], None]


def cached(plan: Plan) -> Record | None:
    """The finished record of this plan, or None; `ValueError` when it is damaged."""
    return record.read(plan.folder) if (plan.folder / record.NAME).is_file() else None


def state(plan: Plan) -> dict[str, bool]:
    """Sequence -> whether its predictions lie there, finished."""
    return {name: _note(plan, name).is_file() for name in plan.dataset.names()}


def execute(plan: Plan, *, when: str = "missing", progress: Progress | None = None) -> Record:
    """Do what of `plan` is not done yet and return its record.

    `when`: `missing` computes what is not there, `always` starts afresh, `never` only reads. `ValueError` in one
    sentence for what a user can mend (files, disk, memory); what was computed before it stays.
    """
    if when not in WHEN:
        raise ValueError(f"--when is {', '.join(WHEN)}, got {when!r}")
    if when == "always" and plan.folder.exists():
        with _lock(plan.folder, "run"):
            shutil.rmtree(plan.folder / "predictions", ignore_errors=True)
            (plan.folder / record.NAME).unlink(missing_ok=True)
    finished = cached(plan)
    if finished is not None:
        return finished
    if when == "never":
        raise ValueError(
            f"{plan.folder}: there is no finished record of this run, and --when never computes none"
        )
    predict(plan, progress)
    with _mendable(plan):
        return score(plan)


@contextmanager
def _mendable(plan: Plan) -> Iterator[None]:
    """Turns a full disk and a full GPU into a `ValueError` of one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ValueError(
                f"{plan.folder}: no space is left on the disk; free some and run the same command again, "
                f"finished sequences are kept"
            ) from None
        raise
    except torch.OutOfMemoryError as error:
        raise ValueError(
            f"{plan.numerics.device}: out of memory ({str(error).splitlines()[0]}); lower --memory, or run with --device cpu"
        ) from None


def predict(plan: Plan, progress: Progress | None = None, names: Sequence[str] | None = None) -> None:
    """Write the predictions of every sequence (or of `names`) that has none yet, sharing them with other processes.

    `ValueError` in one sentence for a full disk or GPU.
    """
    with _mendable(plan):
        _predict(plan, progress, names or plan.dataset.names())


def _predict(plan: Plan, progress: Progress | None, names: Sequence[str]) -> None:
    (plan.folder / "predictions").mkdir(parents=True, exist_ok=True)
    provenance.apply(plan.numerics)
    waiting: list[str] = []

    def compute(name: str) -> Callable[[], None]:
        """Under the sequence's lock: predict it unless it is there; what is left to do, under the same lock."""
        there = _note(plan, name).is_file()
        if not there:
            plan.method.prepare(plan.numerics, plan.weights)
        write = None if there else _predict_sequence(plan, name)

        def finish() -> None:
            if write:
                write()
            if progress:
                progress(name, json.loads(_note(plan, name).read_text())["frames"], there)

        return finish

    with behind() as give:
        for name in names:
            with ExitStack() as held:
                mine = held.enter_context(_try_lock(plan.folder, name))
                if mine or _note(plan, name).is_file():
                    give(compute(name), held)
                else:
                    waiting.append(name)
        # Held by another process: done when its lock is free, and ours to do if that process died.
        for name in waiting:
            with ExitStack() as held:
                held.enter_context(_lock(plan.folder, name))
                give(compute(name), held)


def _predict_sequence(plan: Plan, name: str) -> Callable[[], None]:
    """Predict a sequence. What is returned writes its predictions and then the note that says they are finished."""
    clock = Clock()
    sequence = plan.dataset.load(name)
    if plan.numerics.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    prediction = plan.method.predict(sequence, plan.task, plan.protocol, clock)
    peak = _peak_memory(plan)  # before the next sequence's begins

    def write() -> None:
        start = time.perf_counter()  # not by the clock, which waits for the GPU: that is at the next sequence
        folder = plan.folder / "predictions" / name
        shutil.rmtree(folder, ignore_errors=True)
        plan.task.save(folder, sequence, prediction)
        note = {
            "frames": len(sequence),
            "stages": clock.seconds | {"write": time.perf_counter() - start},
            "shared": clock.shared,
            "counts": clock.counts,
            "peak_memory_mib": peak,
        }
        record.write_atomic(_note(plan, name), json.dumps(note).encode())

    return write


def score(plan: Plan) -> Record:
    """Read every prediction back, score it and write the record. `ValueError` while a sequence is missing."""
    rows: list[dict[str, Any]] = []
    frames: list[dict[str, Any]] = []
    clock = Clock()
    for name in plan.dataset.names():
        if not _note(plan, name).is_file():
            raise ValueError(
                f"{plan.folder}: {name} has no prediction; run the same command again, it goes on there"
            )
        sequence = plan.dataset.load(name)
        with clock("score"):
            prediction = plan.task.read(plan.folder / "predictions" / name, sequence)
            sequence_rows, sequence_frames = plan.task.score(
                sequence, prediction, device=plan.numerics.device
            )
        rows += sequence_rows
        frames += sequence_frames
    numbers = summary.summarise(plan.task.kind, columns(rows))
    data = describe(plan, {k: float(v) for k, v in numbers.items() if not np.isnan(v)}, _cost(plan, clock))
    with _lock(plan.folder, "run"):
        done = record.write(plan.folder, data, {"scores.csv": rows, "frames.csv": frames})
    for lock in (plan.folder / "predictions").glob(".*.lock"):
        lock.unlink(missing_ok=True)
    return done


def columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Rows of one shape as a dict of columns, as `Record.scores()` gives them."""
    return {
        name: np.array([str(r[name]) for r in rows])
        if name in record.TEXT_COLUMNS
        else np.array([np.nan if r[name] is None else r[name] for r in rows], dtype=np.float64)
        for name in rows[0]
    }


def describe(plan: Plan, numbers: dict[str, float], cost: dict[str, Any]) -> dict[str, Any]:
    """The content of `record.json`, but for the tables' sha256 (see docs/architecture.md for the schema)."""
    dataset = plan.dataset
    label = plan.given.get("label")
    return {
        "key": plan.key,
        "signature": plan.signature,
        "created": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "method": {
            "name": f"{plan.method_file.name}{'-' + label if label else ''}",
            "title": plan.title,
            "variant": label,
            "backbone": plan.resolved["method"].get("backbone", {}).get("type"),
            "digest": config.digest(representation(plan.resolved["method"]))[:8],
        },
        "task": {
            "name": plan.task_file.name,
            "title": plan.task_file.title,
            "kind": plan.task.kind,
            "version": plan.task.version,
        },
        "protocol": {
            "name": plan.protocol.name,
            "version": plan.protocol.version,
            "signature": plan.protocol.signature(),
            "settings": plan.protocol.settings(),
        },
        "dataset": describe_dataset(dataset),
        "checkpoint": plan.weights.as_dict(),
        "given": plan.given,
        "resolved": plan.resolved,
        "numerics": plan.numerics.as_dict(),
        "versions": provenance.versions(),
        "git": provenance.git(),
        "machine": provenance.machine(),
        "summary": numbers,
        "seed": (plan.weights.trained or {}).get("seed"),
        "cost": cost,
    }


def describe_dataset(dataset: Any) -> dict[str, Any]:
    """The part of a record that says what was scored on."""
    return {
        "name": dataset.name,
        "sequences": len(dataset.names()),
        "official": dataset.official,
        "synthetic": bool(dataset.synthetic),
        "digest": dataset.digest(),
        "licence": dataset.licence,
        "citation": dataset.citation,
        "url": dataset.url,
        "names": list(dataset.names()),
    }


def _cost(plan: Plan, clock: Clock) -> dict[str, Any]:
    notes = [json.loads(_note(plan, name).read_text()) for name in plan.dataset.names()]
    stages: dict[str, float] = {}
    for seconds in [note["stages"] for note in notes] + [clock.seconds]:
        for stage, value in seconds.items():
            stages[stage] = stages.get(stage, 0.0) + value
    total, frames = sum(stages.values()), sum(note["frames"] for note in notes)
    counts: dict[str, int] = {}
    for note in notes:
        for name, value in note.get("counts", {}).items():
            counts[name] = counts.get(name, 0) + value
    return {
        "seconds": round(total, 4),
        "stages": {k: round(v, 4) for k, v in stages.items()},
        "frames": frames,
        "frames_per_second": round(frames / total, 3) if total else 0.0,
        "peak_memory_mib": max(note["peak_memory_mib"] for note in notes),
        "threads": torch.get_num_threads(),
        # features or neighbours were shared with other runs (a sweep's): no measure of speed
        "shared": any(note.get("shared", False) for note in notes),
        # queries searched, and those that a path of reduced precision computed again in float32
        **counts,
    }


def _peak_memory(plan: Plan) -> float:
    """MiB: of the GPU's allocator on a GPU, else the process's largest resident size so far."""
    if plan.numerics.device.startswith("cuda"):
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def _note(plan: Plan, name: str) -> Path:
    """The file that says a sequence's predictions are finished, and what they cost."""
    return plan.folder / "predictions" / f"{name}.json"


@contextmanager
def _lock(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock `name` of a run's folder, waiting for it; the system frees it when its holder dies."""
    (folder / "predictions").mkdir(parents=True, exist_ok=True)
    with open(folder / "predictions" / f".{name}.lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def _try_lock(folder: Path, name: str) -> Iterator[bool]:
    """Hold the lock `name` if it is free; whether it is held."""
    with open(folder / "predictions" / f".{name}.lock", "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            yield False
            return
        yield True

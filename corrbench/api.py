"""What the commands do, as functions: `corrbench.run(...)` and the others give records, never text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from corrbench import plugins
from corrbench.plan import Plan, make
from corrbench.provenance import Numerics, choose_device
from corrbench.record import Record
from corrbench.run_weights import Weights
from corrbench.runner import Progress, execute
from corrbench.store import parse_size


def sort_files(files: Sequence[str]) -> tuple[list[str], list[str]]:
    """Plugin files or their names, split into methods and tasks by what they hold; at least one of each."""
    methods: list[str] = []
    tasks: list[str] = []
    for name in files:
        path = plugins.find("methods", name)
        if not path.is_file():
            path = plugins.find("tasks", name)
        blocks = plugins.blocks(path)
        if "method" in blocks:
            methods.append(str(path))
        elif "task" in blocks:
            tasks.append(str(path))
        else:
            raise ValueError(f"{path}: holds neither `method = dict(...)` nor `task = dict(...)`")
    if not methods or not tasks:
        raise ValueError(f"at least one method file and one task file are needed, got {', '.join(files)}")
    return methods, tasks


def numerics(
    device: str | None = None, autocast: str | None = None, compile: bool = False, path: str = "auto"
) -> Numerics:
    """The numeric settings of a run on `device` (None: a GPU where there is one)."""
    return Numerics(device=choose_device(device), autocast=autocast, path=path, compile=compile)


def plan(
    method: str | Path,
    task: str | Path,
    *,
    protocol: str | None = None,
    overrides: Sequence[str] = (),
    data: str | Path | None = None,
    sample: bool = True,
    out: str | Path = "runs",
    device: str | None = None,
    autocast: str | None = None,
    compile: bool = False,
    weights: Weights | None = None,
    memory: str | int | None = None,
    **more: Any,
) -> Plan:
    """What a run would be (see `plan.make`), computing nothing: its key, signature, folder, data and weights.

    `memory` ("8GiB", bytes) is the most that feature maps, backbone and neighbour search may take, of the GPU on a GPU.
    No result depends on it, so it is no part of the key.
    """
    made = make(
        method,
        task,
        protocol=protocol,
        overrides=overrides,
        data=Path(data) if data is not None else None,
        sample=sample,
        out=out,
        numerics=numerics(device, autocast, compile),
        weights=weights,
        **more,
    )
    if memory is not None:
        made.method.memory = parse_size(memory)
    return made


def run(
    method: str | Path,
    task: str | Path,
    *,
    when: str = "missing",
    progress: Progress | None = None,
    **settings: Any,
) -> Record:
    """Evaluate a method on a task and return the record; `settings` are those of `plan`.

    A finished record of the same key is returned as it is; an unfinished one goes on where it stopped. With
    `schedule=`, what is missing of the method's training is trained first.
    """
    planned = plan(method, task, **settings)
    if planned.to_train:
        train(planned, progress=False)
        planned = plan(method, task, **settings)
    return execute(planned, when=when, progress=progress)


def train(planned: Plan, *, progress: bool = True, say: Callable[[str], None] = print) -> None:
    """Train the stages that a plan lacks (`Plan.to_train`); interrupted, the next call goes on from a checkpoint."""
    from corrbench.training import cache

    cache.train_missing(
        planned.method_file.data,
        **planned.training,
        device=planned.numerics.device,
        progress=progress,
        say=say,
    )

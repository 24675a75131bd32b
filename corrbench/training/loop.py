"""The training loop: plain torch, one process or several under `torchrun`, resumable to the bit on the CPU."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from corrbench.training import checkpoint, distributed
from corrbench.training.journal import Journal
from corrbench.training.schedule import rate
from corrbench.training.stage import Batch, Part, Stage, StageNetwork

AHEAD = 2  # micro-batches that are read while the network works
CHECK = 10  # updates between looks at the loss values, each of which waits for the device


class Diverged(ValueError):
    """A loss became NaN or infinite."""


class Interrupted(KeyboardInterrupt):
    """Stopped by SIGINT or SIGTERM, after the checkpoint was written."""


@dataclass(frozen=True)
class Outcome:
    """What a finished stage cost. `seconds` and `per_second` (updates) are of this process's own share of the run."""

    updates: int
    resumed_at: int
    seconds: float
    losses: dict[str, float]

    @property
    def per_second(self) -> float:
        done = self.updates - self.resumed_at
        return done / self.seconds if self.seconds > 0 and done else math.nan


def train(
    stage: Stage,
    folder: Path,
    *,
    parent: dict[str, torch.Tensor] | None = None,
    teachers: Sequence[Mapping[str, torch.Tensor]] = (),
    dataset: Any = None,
    seed: int = 0,
    device: str = "cpu",
    digest: str = "",
    save_seconds: float = 120.0,
    save_updates: int | None = None,
    journal: Journal | None = None,
    after: Callable[[int], None] | None = None,
) -> Outcome:
    """Train `stage` to its last update and leave `weights.safetensors` in `folder`; go on from `checkpoint.pt` there.

    It starts from the weights `parent`; `teachers` are what its `learn_from` is given. A checkpoint is written every
    `save_seconds` (or every `save_updates`), on SIGINT and SIGTERM, and at the end, and is deleted once the weights are
    there. `after(update)` is called after each update. `Diverged` names the update and the loss; running out of memory is
    a `ValueError` that names the settings to lower.
    """
    at = torch.device(device)
    torch.manual_seed(seed)
    network = stage.network(parent, seed)
    network.learn_from(teachers)
    network = network.to(at).to(memory_format=torch.channels_last).train()
    distributed.synchronise_batchnorm(network, at)
    optimiser = stage.optimiser_of(network)
    path = folder / "checkpoint.pt"
    start = checkpoint.load(path, network, optimiser, digest, at) if path.is_file() else 0
    lead = distributed.rank() == 0
    folder.mkdir(parents=True, exist_ok=True)
    journal = journal or Journal(None)
    journal.begin(start, stage.updates)
    begun = saved = time.monotonic()
    values: dict[str, float] = {}
    pending: list[tuple[int, dict[str, torch.Tensor]]] = []

    def save(done: int) -> None:
        if lead:
            checkpoint.save(path, done, network, optimiser, digest)

    with (
        _stop_signals() as stopped,
        _Reader(stage, seed, dataset, start) as reader,
        _memory_advice(stage, device),
    ):
        for update in range(start, stage.updates):
            learning_rate = rate(update, stage.updates, stage.lr, stage.warmup, stage.lr_end)
            losses = step(stage, network, optimiser, reader, update, learning_rate, at)
            pending.append((update, losses))
            done = update + 1
            due = save_updates is not None and done % save_updates == 0
            if save_updates is None and time.monotonic() - saved > save_seconds:
                due = True
            stop = distributed.anyone(stopped.is_set(), at)
            if len(pending) >= CHECK or due or stop or done == stage.updates:
                values = _read_losses(pending, at)
                journal.write(done, values, learning_rate)
                pending.clear()
            if due or stop:
                save(done)
                saved = time.monotonic()
            if after is not None:
                after(done)
            if stop and done < stage.updates:
                raise Interrupted(
                    f"stopped after update {done} of {stage.updates}; the same command goes on from there"
                )
    network.finish()
    if lead:
        checkpoint.save_weights(folder / "weights.safetensors", network.backbone)
        path.unlink(missing_ok=True)
    return Outcome(stage.updates, start, time.monotonic() - begun, values)


def step(
    stage: Stage,
    network: StageNetwork,
    optimiser: torch.optim.Optimizer,
    reader: Any,
    update: int,
    learning_rate: float,
    device: torch.device,
) -> dict[str, torch.Tensor]:
    """One update: forward and backward of each micro-batch, gradients averaged over processes, one optimiser step.

    Networks that only gather statistics give values without a gradient.
    """
    for group in optimiser.param_groups:
        group["lr"] = learning_rate
    optimiser.zero_grad(set_to_none=True)
    network.begin()
    sums: dict[str, torch.Tensor] = {}
    for _ in range(stage.accumulate):
        batch = reader.next(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=stage.autocast is not None):
            losses = network(batch)
        total = torch.stack([value.float() for value in losses.values()]).sum() / stage.accumulate
        if total.requires_grad:
            total.backward()
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value.detach() / stage.accumulate
    distributed.average_gradients(p for p in network.parameters() if p.requires_grad)
    optimiser.step()
    return sums


def _read_losses(
    pending: list[tuple[int, dict[str, torch.Tensor]]], device: torch.device
) -> dict[str, float]:
    """Mean of each loss over the updates since the last look; `Diverged` at the first that is not finite."""
    names = list(pending[0][1])
    table = torch.stack([torch.stack([losses[n].float() for n in names]) for _, losses in pending])
    table = (distributed.summed(table) / distributed.world()).cpu()
    finite = table.isfinite()
    if not finite.all():
        row = int((~finite.all(1)).nonzero()[0])
        bad = ", ".join(f"{n} = {table[row, i]:g}" for i, n in enumerate(names) if not finite[row, i])
        raise Diverged(
            f"training diverged at update {pending[row][0]}: {bad}; lower lr, lengthen warmup, or switch autocast off "
            "(the last checkpoint is from before, and is kept)"
        )
    return dict(zip(names, table.mean(0).tolist(), strict=True))


class _Reader:
    """Batches in order, read in a background thread `AHEAD` of the network."""

    def __init__(self, stage: Stage, seed: int, dataset: Any, start: int) -> None:
        self.stage, self.feed = stage, stage.feed(seed, dataset)
        self.parts = _parts(stage, start)
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="read")
        self.queue: list[Future[Batch]] = []

    def next(self, device: torch.device) -> Batch:
        """The next micro-batch, prepared on `device`."""
        while len(self.queue) < AHEAD and (part := next(self.parts, None)) is not None:
            self.queue.append(self.pool.submit(self.feed.fetch, part))
        return self.feed.prepare(self.queue.pop(0).result(), device)

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *error: object) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)


def _parts(stage: Stage, start: int) -> Iterator[Part]:
    for update in range(start, stage.updates):
        yield from stage.parts(update, distributed.rank(), distributed.world())


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Set the event on SIGINT and SIGTERM instead of stopping at once; the handlers before are put back."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = {s: signal.signal(s, lambda *_: stopped.set()) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _memory_advice(stage: Stage, device: str) -> Iterator[None]:
    """Turn running out of memory into one sentence about the settings that need less."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        settings = [
            f"raise accumulate (now {stage.accumulate}; it must divide batch)",
            f"lower batch (now {stage.batch})",
        ]
        if hasattr(stage, "crop"):
            settings.append(f"lower crop (now {stage.crop})")
        if stage.autocast is None:
            settings.append("set autocast to 'bfloat16'")
        raise ValueError(
            f"{type(stage).__name__}: out of memory on {device} ({str(error).splitlines()[0]}); {', or '.join(settings)}"
        ) from None

"""How long a stage takes here: updates a second, recorded from earlier runs of this machine or measured in seconds."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from corrbench import config, provenance
from corrbench.registry import BACKBONES, STAGES, build, lookup
from corrbench.training import checkpoint
from corrbench.training.schedule import rate
from corrbench.training.stage import Batch, Stage

# What does not change the work of an update.
FREE = frozenset(
    {"dataset", "updates", "lr", "lr_end", "warmup", "weight_decay", "momentum", "teacher_weights", "colour", "channels",
     "dropout", "gap", "scale", "quantile", "target", "volume", "score", "threshold", "temperature", "key_momentum",
     "power", "floor"}
)  # fmt: skip
FEW, MORE = 2, 8  # samples in the two measured updates: a step costs so much, and so much a sample


def _file() -> Path:
    from corrbench.training.planning import folder_of_stages

    return folder_of_stages().parent / "speeds.json"


def _key(settings: Mapping[str, Any], device: str) -> str:
    idle = lookup(STAGES, settings["type"]).idle(settings)
    work = {k: v for k, v in settings.items() if k not in FREE | idle}
    if isinstance(work.get("contrast"), Mapping):
        work["contrast"] = {k: v for k, v in work["contrast"].items() if k not in FREE}
    machine = provenance.machine()
    where = machine["gpu"] if device.startswith("cuda") else [machine["cpu"], torch.get_num_threads()]
    return config.digest([work, where])


def record(settings: Mapping[str, Any], device: str, per_second: float) -> None:
    """Keep a measured speed for later estimates."""
    if not math.isfinite(per_second) or per_second <= 0:
        return
    known = _known() | {_key(settings, device): per_second}
    checkpoint.write_text(_file(), json.dumps(known, indent=1))


def of(settings: Mapping[str, Any], device: str) -> tuple[float, str]:
    """(updates a second, `recorded` or `measured`) of a stage on this machine, as busy as it is now."""
    key = _key(settings, device)
    found = _known().get(key)
    if found is not None:
        return float(found), "recorded"
    if key not in _measured:
        _measured[key] = measure(settings, device)
    return _measured[key], "measured"


_measured: dict[str, float] = {}


def _known() -> dict[str, float]:
    try:
        return dict(json.loads(_file().read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def measure(settings: Mapping[str, Any], device: str) -> float:
    """Updates a second from a few small updates on random pixels; reading of data is not in it."""
    plain = dict(settings)
    if plain.get("teacher_weights"):
        plain["teacher_weights"] = None  # any weights take the same time
    whole: Stage = build(STAGES, plain)
    more = _seconds(plain, min(MORE, whole.batch), device)
    if whole.batch <= MORE:
        return 1 / more
    few = _seconds(plain, FEW, device)
    a_sample = max(
        (more - few) / (MORE - FEW), more / MORE / 4
    )  # timing on a busy machine may have it negative
    a_step = max(more - MORE * a_sample, 0.0)
    return 1 / (a_step + whole.batch * a_sample)


def _seconds(settings: Mapping[str, Any], samples: int, device: str) -> float:
    """Seconds of an update of so many samples: the lesser of two, after one to warm up."""
    from corrbench.training.loop import step

    small: Stage = build(
        STAGES, {**settings, "batch": samples, "accumulate": 1} | _small_queue(settings, samples)
    )
    at = torch.device(device)
    times = []
    with torch.random.fork_rng():
        parent = build(BACKBONES, small.backbone).state_dict()
        network = small.network(parent, 0).to(at).to(memory_format=torch.channels_last).train()
        optimiser = small.optimiser_of(network)
        reader = _Same(_moved(small.dummy(samples), at))
        for update in range(3):
            start = time.perf_counter()
            losses = step(small, network, optimiser, reader, update, rate(update, 3, small.lr, 0, 1.0), at)
            torch.stack(list(losses.values())).sum().item()  # waits for the device
            times.append(time.perf_counter() - start)
    return min(times[1:])


class _Same:
    """A reader that always gives the same prepared batch."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def next(self, device: torch.device) -> Batch:
        return self.batch


def _small_queue(settings: Mapping[str, Any], samples: int) -> dict[str, Any]:
    """A queue that the small batch divides, of about the same length; the contrast beside in proportion."""
    changed: dict[str, Any] = {}
    if "queue" in settings:
        changed["queue"] = max(settings["queue"] // samples, 1) * samples
    if isinstance(settings.get("contrast"), Mapping):
        inner = dict(settings["contrast"])
        share = max(samples * inner["batch"] // settings["batch"], 1)
        changed["contrast"] = inner | {"batch": share, "accumulate": 1} | _small_queue(inner, share)
    return changed


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device)
    return {k: _moved(v, device) for k, v in value.items()} if isinstance(value, dict) else value


def words(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`, `6 days`."""
    for limit, size, unit in ((90, 1, "s"), (90 * 60, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.1f} {unit}" if unit == "h" else f"{math.ceil(seconds / size)} {unit}"
    return f"{seconds / 86400:.1f} days"

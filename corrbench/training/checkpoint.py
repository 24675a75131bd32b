"""Checkpoints of a running stage (plain tensors and numbers, read without unpickling) and final weights (safetensors)."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

VERSION = 1


def atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` make a file beside `path`, flush it to the disk and put it in place: readers see all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(part)
        with open(part, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Put `text` in place whole."""

    def write(part: Path) -> None:
        part.write_text(text, encoding="utf-8")

    atomically(path, write)


def save(path: Path, update: int, network: nn.Module, optimiser: torch.optim.Optimizer, digest: str) -> None:
    """Everything that a bit-exact continuation needs after `update` updates.

    Order and augmentation of samples are functions of (seed, update), so the loader's place is `update`; the global
    generators' states are kept for stages of other packages that draw from them.
    """
    state = {
        "version": VERSION,
        "digest": digest,
        "update": update,
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "random": {
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        },
    }
    atomically(path, lambda part: torch.save(state, part))


def load(
    path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, digest: str, device: torch.device
) -> int:
    """Put a checkpoint's state into `network`, `optimiser` and the global generators; the updates done so far.

    `ValueError` for a file that is damaged, of another version, or of another stage.
    """
    state = read(path, device)
    if state["digest"] != digest:
        raise ValueError(
            f"{path}: is of another stage ({state['digest'][:12]}, not {digest[:12]}); delete it"
        )
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    torch.set_rng_state(state["random"]["cpu"].cpu())
    if torch.cuda.is_available() and len(state["random"]["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["random"]["cuda"]])
    return int(state["update"])


def read(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """A checkpoint's content, tensors on `device`; `ValueError` in one sentence when it cannot be used."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"{path}: is no readable checkpoint ({str(error).splitlines()[0]}); delete it, the stage then starts anew"
        ) from None
    if not isinstance(state, dict) or state.get("version") != VERSION:
        raise ValueError(
            f"{path}: is no checkpoint of version {VERSION}; delete it, the stage then starts anew"
        )
    return state


def save_weights(path: Path, backbone: nn.Module) -> None:
    """A backbone's tensors as safetensors, float32, under its own parameter names."""
    tensors = {
        name: value.detach()
        .to("cpu", torch.float32 if value.is_floating_point() else value.dtype)
        .contiguous()
        .clone()
        for name, value in backbone.state_dict().items()
    }
    atomically(path, lambda part: save_file(tensors, part))


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """A stage's tensors; `ValueError` naming the file where it cannot be read."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path}: is no readable safetensors file ({error}); delete its folder to train it again"
        ) from None

"""Weights files as dicts of tensors, without running anything that the file says: .pth, .safetensors, .onnx."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from corrbench.weights.inert import DamagedWeights, read_inert
from corrbench.weights.onnx import read_onnx

__all__ = ["DamagedWeights", "container", "read"]


def read(path: Path | str) -> dict[str, Any]:
    """What the file holds: a dict of tensors, or of dicts of tensors and other entries (a training checkpoint).

    safetensors and ONNX initialisers by their own formats; everything else as torch's, by `torch.load` with
    `weights_only=True`, or, where the file also holds objects which that refuses (argparse namespaces, numpy
    scalars, logs), by a reader that keeps tensors and plain values and puts an inert placeholder for
    everything else. `ValueError` names the file where it is empty, a web page, cut short or not a weights
    file.
    """
    path = Path(path)
    with open(path, "rb") as file:
        head = file.read(512)
    if not head:
        raise ValueError(f"{path} is empty; delete it and fetch it again")
    if head.lstrip()[:1] == b"<":
        raise ValueError(
            f"{path} is a web page, not weights (an error or consent page was saved in their place); delete it and "
            "fetch the file again"
        )
    try:
        content = _read(path)
    except Exception as error:  # whatever the three formats' readers raise, the remedy is the same
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{path} is damaged, cut short or no weights file ({reason}); delete it and fetch it again"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a dict of tensors")
    return content


def container(content: dict[str, Any], key: str, path: Path | str) -> dict[str, torch.Tensor]:
    """The tensors under `key` of a checkpoint's `content` (dots go deeper; empty: the content itself).

    Entries that are no tensors are left out. `ValueError` names the file and the keys it has instead.
    """
    inside: Any = content
    for part in key.split(".") if key else ():
        if not isinstance(inside, dict) or part not in inside:
            have = (
                ", ".join(map(repr, list(inside)[:6])) if isinstance(inside, dict) else type(inside).__name__
            )
            raise ValueError(f"{path} has no entry {key!r}, where its weights should be; it has {have}")
        inside = inside[part]
    tensors = (
        {str(k): v for k, v in inside.items() if isinstance(v, torch.Tensor)}
        if isinstance(inside, dict)
        else {}
    )
    if not tensors:
        raise ValueError(
            f"{path} has no tensors under {key!r}" if key else f"{path} has no tensors at its top level"
        )
    return tensors


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix == ".onnx":
        return read_onnx(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # holds objects other than tensors, or is damaged: the reader tells which
        return read_inert(path)


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise DamagedWeights(str(error)) from error

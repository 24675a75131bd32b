"""Named tensors into a network, strictly in both directions."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from corrbench.zoo import Keys


@dataclass
class _Faults:
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    shapes: list[str] = field(default_factory=list)

    def text(self) -> str:
        parts = []
        for what, faults in vars(self).items():
            if faults:
                more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
                label = {"shapes": "of another shape"}.get(what, what)
                parts.append(f"{len(faults)} {label} ({', '.join(faults[:3])}{more})")
        return "; ".join(parts)


def fill(module: nn.Module, tensors: Mapping[str, torch.Tensor], keys: Keys, path: Path | str) -> None:
    """Copy `tensors`, renamed by `keys`, into `module`'s parameters and buffers; all or nothing.

    Counters of batches seen by batch normalisation may be missing: nothing reads them in evaluation, and
    files from before torch 0.4.1 have none. `ValueError` names the file, and the first of what does not fit.
    """
    wanted = module.state_dict()
    renamed, origin = rename(tensors, keys)
    faults = _Faults()
    built = {_part(key) for key in wanted}
    for key, tensor in renamed.items():
        if key in wanted:
            if tuple(tensor.shape) != tuple(wanted[key].shape):
                faults.shapes.append(f"{origin[key]} {tuple(tensor.shape)} for {tuple(wanted[key].shape)}")
        elif _part(key) in built or not any(fnmatch.fnmatchcase(origin[key], p) for p in keys.ignored):
            faults.unexpected.append(origin[key])
    faults.missing = [k for k in wanted if k not in renamed and not k.endswith(".num_batches_tracked")]
    text = faults.text()
    if text:
        raise ValueError(
            f"{path} does not fit {type(module).__name__}: {text}; check that the backbone's settings and the checkpoint "
            "are those of one network"
        )
    module.load_state_dict({key: tensor for key, tensor in renamed.items() if key in wanted}, strict=False)


def _part(key: str) -> str:
    """The stage or block that a tensor belongs to (`layer3`, `blocks.7`): one that is built has none to spare."""
    first, second, *_ = [*key.split("."), ""]
    return f"{first}.{second}" if second.isdigit() and not first[-1:].isdigit() else first


def rename(tensors: Mapping[str, torch.Tensor], keys: Keys) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """`tensors` under the backbone's names, and for each of these its name in the file.

    Names without the prefix are none of the backbone's: the map's patterns excuse them, or they are an error.
    """
    renamed: dict[str, torch.Tensor] = {}
    origin: dict[str, str] = {}
    for key, tensor in tensors.items():
        new = key
        if key.startswith(keys.prefix):
            new = key.removeprefix(keys.prefix)
            for pattern, replacement in keys.rename:
                new = re.sub(pattern, replacement, new)
        else:
            new = f"(without {keys.prefix}) {key}"
        renamed[new], origin[new] = tensor, key
    for rule in keys.join:
        first = rule["parts"][0]
        for key in [k for k in renamed if first in k]:
            parts = [key.replace(first, part) for part in rule["parts"]]
            if all(part in renamed for part in parts):
                whole = key.replace(first, rule["whole"])
                origin[whole] = origin[key]
                renamed[whole] = torch.cat([renamed.pop(part) for part in parts], rule["dim"])
    return renamed, origin

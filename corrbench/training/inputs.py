"""Inputs of networks in training: frames as an evaluation has them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from corrbench.backbones.colour import to_input
from corrbench.protocol import preset


def as_evaluated(
    frames: Sequence[torch.Tensor], colour: str, resize: str, device: torch.device
) -> list[torch.Tensor]:
    """Network inputs (B, 3, H, W) of uint8 frames (B, h, w, 3) of any sizes, resized as a protocol's `resize` has it."""
    size = preset("stt").replace(resize=resize).input_size
    return [
        to_input(some, colour, device=device, size=size((some.shape[1], some.shape[2]))) for some in frames
    ]

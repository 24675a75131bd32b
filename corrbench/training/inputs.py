"""Inputs of networks in training: frames as an evaluation has them, and colour dropout.

Colour dropout is after MAST (Lai, Lu & Xie, CVPR 2020), with weights as in STT's released code.
"""

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


def drop_channel(frames_B3HW: torch.Tensor, channel: int) -> torch.Tensor:
    """A copy with `channel` zero and the two others multiplied by 1.5, so that the input's expected sum is kept."""
    dropped = frames_B3HW * 1.5
    dropped[:, channel] = 0
    return dropped

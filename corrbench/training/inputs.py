"""The student's input: colour dropout (after MAST: Lai, Lu & Xie, CVPR 2020; weights as in STT's released code)."""

from __future__ import annotations

import torch


def drop_channel(frames_B3HW: torch.Tensor, channel: int) -> torch.Tensor:
    """A copy with `channel` zero and the two others multiplied by 1.5, so that the input's expected sum is kept."""
    dropped = frames_B3HW * 1.5
    dropped[:, channel] = 0
    return dropped

"""Features that lose the mean of their video: what all of its cells have in common tells none of them apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from corrbench.registry import BACKBONES, build


@BACKBONES.register_module(name="Centred")
def centred(backbone: Mapping[str, Any]) -> nn.Module:
    """`backbone` (another backbone's settings), whose features lose the mean over all cells of the video evaluated.

    The network, its checkpoint and what it gives for a frame are as they were; `over_video` takes the mean away. Nothing is
    labelled or trained, but a frame's features then depend on the whole video, its later frames among them. (Centring is
    usual in retrieval: Jégou & Chum, ECCV 2012, there over a training set.)
    """
    network: nn.Module = build(BACKBONES, backbone)
    network.centred = True  # type: ignore[assignment]
    return network


def over_video(backbone: nn.Module, maps_TChw: torch.Tensor) -> torch.Tensor:
    """The features of a video's frames, from what `backbone` gave for each: `centred` in place, or as they are."""
    if not getattr(backbone, "centred", False):
        return maps_TChw
    mean = torch.stack([frame.mean((1, 2)) for frame in maps_TChw]).mean(0)
    for frame in maps_TChw:  # one by one: the maps of a long video may lie in a file
        frame -= mean[:, None, None]
    return maps_TChw

"""Batch normalisation with statistics that are in part those of the video that is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from corrbench.registry import BACKBONES, build

FRAMES = 8  # of a video, that the statistics are of


@BACKBONES.register_module(name="Adapted")
def adapted(backbone: Mapping[str, Any], share: float = 0.4) -> nn.Module:
    """`backbone` (another backbone's settings), whose batch normalisation takes part of its statistics from the video.

    While the features of a video are computed, each mean and variance is `1 - share` of what training left and `share` of
    what `FRAMES` of its frames, evenly apart, have (`to_video`). The network, its checkpoint and its parameters are as
    they were and nothing is labelled or trained, but a frame's features then depend on the whole video, its later frames
    among them. `ValueError` for a backbone without batch normalisation, or a share that is not above 0 and at most 1.

    Li et al., Revisiting batch normalization for practical domain adaptation, ICLR workshop 2017 (share 1); Schneider et
    al., Improving robustness against common corruptions by covariate shift adaptation, NeurIPS 2020 (in part).
    """
    network: nn.Module = build(BACKBONES, backbone)
    return mark(network, share)


def mark(network: nn.Module, share: float) -> nn.Module:
    """`network`, which `to_video` adapts from now on; the errors of `adapted`."""
    if not 0 < share <= 1:
        raise ValueError(f"Adapted: share {share} must be above 0 and at most 1")
    if not _norms(network):
        raise ValueError(f"Adapted: {type(network).__name__} has no batch normalisation to adapt")
    network.adapted = share  # type: ignore[assignment]
    return network


def frames_seen(frames: int) -> list[int]:
    """The frames of a video that the statistics come from: all of a short one, else `FRAMES`, evenly from first to last."""
    count = min(frames, FRAMES)
    return [round(n * (frames - 1) / max(count - 1, 1)) for n in range(count)]


@contextmanager
def to_video(backbone: nn.Module, images: Callable[[], torch.Tensor]) -> Iterator[None]:
    """Within, an `Adapted` network has the statistics of `images()` (B, 3, H, W) in part; afterwards its own again.

    They are what one pass in training mode leaves with `share` as momentum: in it a layer sees what the layers before it
    make of the images when these wholly have the images' statistics. All images go through at once, so this takes the
    activations of `FRAMES` frames. `images` is not called for other networks.
    """
    share = getattr(backbone, "adapted", 0.0)
    if not share:
        yield
        return
    norms = _norms(backbone)
    own = [(norm.momentum, [buffer.clone() for buffer in norm.buffers()]) for norm in norms]
    try:
        for norm in norms:
            norm.train().momentum = share
        with torch.no_grad():
            backbone(images())
        for norm in norms:
            norm.eval()
        yield
    finally:
        for norm, (momentum, buffers) in zip(norms, own, strict=True):
            norm.eval().momentum = momentum
            for now, before in zip(norm.buffers(), buffers, strict=True):
                now.copy_(before)


def _norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    """Its batch normalisations that have running statistics."""
    return [
        part
        for part in network.modules()
        if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None
    ]

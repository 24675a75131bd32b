"""A backbone whose features are joined over stages and surroundings, and whitened: one linear map behind the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from corrbench.backbones.adapted import mark
from corrbench.backbones.colour import drop_channel
from corrbench.registry import BACKBONES, build


@BACKBONES.register_module()
class Whitened(nn.Module):
    """W (x - m) of each cell, where x joins features of `backbone` (another backbone's settings).

    x is the backbone's output, or the outputs of its stages `layers`, finest first, each averaged down to the grid of the
    last one (hypercolumns: Hariharan et al., CVPR 2015); then, for each odd width in `means`, the mean of the last output
    over so many cells across and down, of those that lie on the map. With `dropped`, channels of the input, x joins all
    that of one pass for each of them, which does without it: so STT's second step is trained, which sees one of a and b at
    a time (colour dropout), and not both as a plain pass does. W keeps `directions` of them (None: all). W and m come from
    unlabelled frames (the stage `Whitening`, `training/whitening.py`; Jégou & Chum, Negative evidences and
    co-occurences in image retrieval: the benefit of PCA and whitening, ECCV 2012); without weights W takes the first
    `directions` of x and m is 0. With `centred`, m is instead the mean over all cells of the video that is evaluated: what
    all of them have in common then says nothing (`centred.over_video` takes it away). With `adapted` above 0, batch
    normalisation has that share of its statistics from the video, as an `Adapted` backbone's. `stride` is the backbone's;
    `channels` is `directions`; features may be negative.
    """

    def __init__(
        self,
        backbone: Mapping[str, Any],
        layers: Sequence[int] | None = None,
        means: Sequence[int] = (),
        directions: int | None = None,
        dropped: Sequence[int] = (),
        centred: bool = False,
        adapted: float = 0.0,
    ) -> None:
        super().__init__()
        self.backbone = build(BACKBONES, backbone)
        for what in ("centred", "adapted"):
            if getattr(self.backbone, what, False):
                raise ValueError(
                    f"Whitened: a {what.capitalize()} backbone inside would not be {what}; set {what} here instead"
                )
        self.centred = centred
        self.layers, self.means, self.dropped = tuple(layers or ()), tuple(means), tuple(dropped)
        if any(width < 1 or width % 2 == 0 for width in self.means):
            raise ValueError(f"Whitened: means {list(self.means)} must be odd numbers of cells")
        if any(channel not in (0, 1, 2) for channel in self.dropped):
            raise ValueError(
                f"Whitened: dropped {list(self.dropped)} must be channels of the input: 0, 1 or 2"
            )
        if adapted and len(self.dropped) > 1:
            raise ValueError(
                "Whitened: several passes have statistics of their own; with adapted, drop one channel or none"
            )
        if self.layers and not hasattr(self.backbone, "forward_layers"):
            raise ValueError(f"Whitened: {backbone['type']} has no stages to choose from; leave layers out")
        self.stride, self.multiple = self.backbone.stride, getattr(self.backbone, "multiple", 1)
        with torch.inference_mode():
            joined = self.joined(torch.zeros(1, 3, 8 * self.stride, 8 * self.stride)).shape[1]
        self.channels = joined if directions is None else directions
        if not 1 <= self.channels <= joined:
            raise ValueError(f"Whitened: directions {directions} must be from 1 to {joined}")
        self.whitening = nn.Conv2d(joined, self.channels, 1, bias=not centred)
        self.set(torch.zeros(joined), torch.eye(self.channels, joined))
        if adapted:
            mark(self, adapted)
        self.eval()

    @classmethod
    def idle(cls, settings: Mapping[str, Any]) -> frozenset[str]:
        """Settings that no digest of a trained stage has, as a stage's `idle`: what came later and is not used."""
        return frozenset() if settings.get("adapted") else frozenset({"adapted"})

    def set(self, mean_J: torch.Tensor, matrix_CJ: torch.Tensor) -> None:
        """Let the features be `matrix @ (x - mean)`; of a centred network's, the video gives the mean."""
        with torch.no_grad():
            self.whitening.weight.copy_(matrix_CJ[:, :, None, None])
            if self.whitening.bias is not None:
                self.whitening.bias.copy_(-matrix_CJ @ mean_J)

    def joined(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """The features before the linear map: (B, J, ceil(H / stride), ceil(W / stride))."""
        if not self.dropped:
            return self._joined(x_BCHW)
        return torch.cat([self._joined(drop_channel(x_BCHW, channel)) for channel in self.dropped], 1)

    def _joined(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """What one pass gives to them."""
        maps = self.backbone.forward_layers(x_BCHW, self.layers) if self.layers else [self.backbone(x_BCHW)]
        last = maps[-1]
        parts = [_averaged_down(m, round(m.shape[2] / last.shape[2])) for m in maps]
        parts += [_mean_around(last, width) for width in self.means]
        return torch.cat(parts, 1) if len(parts) > 1 else last

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Feature map (B, channels, ceil(H / stride), ceil(W / stride)), whitened and not normalised.

        The map is never in half precision of its own under autocast: differences small beside the mean are what it is for.
        """
        joined = self.joined(x_BCHW)
        with torch.autocast(x_BCHW.device.type, enabled=False):
            return self.whitening(joined.to(self.whitening.weight.dtype))


def _averaged_down(map_BCHW: torch.Tensor, times: int) -> torch.Tensor:
    return F.avg_pool2d(map_BCHW, times, ceil_mode=True) if times > 1 else map_BCHW


def _mean_around(map_BCHW: torch.Tensor, width: int) -> torch.Tensor:
    """Mean over the cells of the map in the square of `width` cells around each: down, then across."""
    for size in ((width, 1), (1, width)):
        around = size[0] // 2, size[1] // 2
        map_BCHW = F.avg_pool2d(map_BCHW, size, 1, around, count_include_pad=False)
    return map_BCHW

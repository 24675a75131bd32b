"""ResNet-18/34/50 with free strides, stem pooling and output layer; parameter names are torchvision's.

He et al., CVPR 2016. The geometry options are those of the video-correspondence codes: stage strides as in
mmaction (VFS, STT), no stem pooling or a mean instead of a maximum (STT), reflected borders (CRW).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from corrbench.registry import BACKBONES

PaddingMode = Literal["zeros", "reflect"]

_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


def _conv(channels_in: int, channels: int, kernel: int, stride: int, padding_mode: PaddingMode) -> nn.Conv2d:
    return nn.Conv2d(
        channels_in, channels, kernel, stride, kernel // 2, bias=False, padding_mode=padding_mode
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; the first has the stride."""

    expansion = 1

    def __init__(self, channels_in: int, planes: int, stride: int, padding_mode: PaddingMode) -> None:
        super().__init__()
        self.conv1 = _conv(channels_in, planes, 3, stride, padding_mode)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _conv(planes, planes, 3, 1, padding_mode)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _downsample(channels_in, planes, stride, padding_mode)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, channels_in, h, w) to (B, planes, ceil(h / stride), ceil(w / stride)), after the ReLU."""
        short = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(x)).add_(short), inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1; the 3x3 convolution has the stride, as in torchvision and mmaction's `pytorch` style."""

    expansion = 4

    def __init__(self, channels_in: int, planes: int, stride: int, padding_mode: PaddingMode) -> None:
        super().__init__()
        self.conv1 = _conv(channels_in, planes, 1, 1, padding_mode)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _conv(planes, planes, 3, stride, padding_mode)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = _conv(planes, 4 * planes, 1, 1, padding_mode)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample = _downsample(channels_in, 4 * planes, stride, padding_mode)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, channels_in, h, w) to (B, 4 * planes, ceil(h / stride), ceil(w / stride)), after the ReLU."""
        short = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        return F.relu(self.bn3(self.conv3(x)).add_(short), inplace=True)


def _downsample(
    channels_in: int, channels: int, stride: int, padding_mode: PaddingMode
) -> nn.Sequential | None:
    if stride == 1 and channels_in == channels:
        return None
    return nn.Sequential(_conv(channels_in, channels, 1, stride, padding_mode), nn.BatchNorm2d(channels))


@BACKBONES.register_module()
class ResNet(nn.Module):
    """ResNet whose feature map is the output of stage `layer` (1 to 4), after its ReLU.

    `strides`: stride of the first block of each stage. The 7x7 stem convolution has stride 2; `stem_pool`
    after it is `None` (STT, stride 8), `"mean"` (3x3, stride 2, borders counted as zeros: STT, stride 4) or
    `"max"` (3x3, stride 2: torchvision, MoCo, VFS, CRW). `width` is the first stage's planes. `padding_mode`
    `"reflect"` is CRW's. Stages beyond `layer` are not built. Without a checkpoint the weights are
    torchvision's random start (He normal, fan out; batch normalisation at 1 and 0) drawn from `seed` alone.
    Starts in eval mode, where batch normalisation uses its running statistics.

    `stride` is pixels a cell, `channels` those of the feature map; the input (B, in_channels, H, W) has any
    size.
    """

    def __init__(
        self,
        depth: int = 18,
        strides: Sequence[int] = (1, 2, 2, 2),
        stem_pool: str | None = "max",
        layer: int = 4,
        width: int = 64,
        in_channels: int = 3,
        padding_mode: PaddingMode = "zeros",
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check(depth, strides, stem_pool, layer, padding_mode)
        block = Bottleneck if depth >= 50 else BasicBlock
        self.layer, self.stem_pool = layer, stem_pool
        self.conv1 = nn.Conv2d(in_channels, width, 7, 2, 3, bias=False, padding_mode=padding_mode)
        self.bn1 = nn.BatchNorm2d(width)
        self.stride = 2 if stem_pool is None else 4
        channels = width
        for stage in range(layer):
            planes = width * 2**stage
            blocks = []
            for number in range(_BLOCKS[depth][stage]):
                blocks.append(block(channels, planes, strides[stage] if number == 0 else 1, padding_mode))
                channels = planes * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            self.stride *= strides[stage]
        self.channels = channels
        _start(self, seed)
        self.eval()

    def stem(self, x: torch.Tensor) -> torch.Tensor:
        """Convolution, batch normalisation, ReLU and pooling: (B, C, H, W) to (B, width, ...)."""
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        if self.stem_pool == "max":
            return F.max_pool2d(x, 3, 2, 1)
        if self.stem_pool == "mean":
            return F.avg_pool2d(x, 3, 2, 1)  # borders count as zeros, as in the released STT code
        return x

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Feature map (B, channels, ceil(H / stride), ceil(W / stride)) of the input, not normalised."""
        return self.forward_layers(x_BCHW, (self.layer,))[0]

    def forward_layers(self, x_BCHW: torch.Tensor, layers: Sequence[int]) -> list[torch.Tensor]:
        """The outputs of several stages, in the order of `layers` (each from 1 to `layer`), from one pass."""
        if not layers or not all(1 <= wanted <= self.layer for wanted in layers):
            raise ValueError(
                f"layers {tuple(layers)} are not all among 1 to {self.layer}, the stages this ResNet has"
            )
        x, outputs = self.stem(x_BCHW), {}
        for stage in range(1, max(layers) + 1):
            x = outputs[stage] = getattr(self, f"layer{stage}")(x)
        return [outputs[wanted] for wanted in layers]


def _check(
    depth: int, strides: Sequence[int], stem_pool: str | None, layer: int, padding_mode: PaddingMode
) -> None:
    if depth not in _BLOCKS:
        raise ValueError(f"ResNet depth {depth!r} is not known; use one of {', '.join(map(str, _BLOCKS))}")
    if len(strides) != 4 or not all(isinstance(s, int) and s >= 1 for s in strides):
        raise ValueError(
            f"ResNet strides {strides!r} must be four whole numbers, one a stage, each at least 1"
        )
    if stem_pool not in (None, "max", "mean"):
        raise ValueError(f"ResNet stem_pool {stem_pool!r} is not known; use None, 'max' or 'mean'")
    if layer not in (1, 2, 3, 4):
        raise ValueError(
            f"ResNet layer {layer!r} must be 1, 2, 3 or 4, the stage whose output is the feature map"
        )
    if padding_mode not in ("zeros", "reflect"):
        raise ValueError(f"ResNet padding_mode {padding_mode!r} is not known; use 'zeros' or 'reflect'")


def _start(module: nn.Module, seed: int) -> None:
    """He-normal convolutions from a generator of their own, so that nothing but `seed` decides them."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu", generator=generator)

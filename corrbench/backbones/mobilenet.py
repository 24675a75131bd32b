"""MobileNetV2 (Sandler et al., CVPR 2018) up to one of its blocks, at stride 16 or 8; torchvision's network and names."""

from __future__ import annotations

import torch
from torch import nn

from corrbench.registry import BACKBONES

_STRIDES = (2,) * 2 + (4,) * 2 + (8,) * 3 + (16,) * 7 + (32,) * 5  # after each of the 19 blocks


@BACKBONES.register_module()
class MobileNetV2(nn.Module):
    """The output of block `layer` (1 to 19, torchvision's `features[:layer]`), not normalised.

    `stride` lowers the network's own (2 to 32 after that block): blocks that would go beyond it keep their
    resolution, and the depthwise convolutions after them are dilated instead (`dilate`, as DeepLab; every
    second cell then has the values of the undilated network) or left as they are, as the correspondence codes
    do with ResNets. Without a checkpoint the weights are torchvision's random start, drawn from `seed`.

    Input (B, 3, H, W) of any size; output (B, channels, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, layer: int = 14, stride: int = 8, dilate: bool = True, seed: int = 0) -> None:
        from torchvision.models import mobilenet_v2  # half a second that other backbones need not wait for

        super().__init__()
        if not 1 <= layer <= len(_STRIDES):
            raise ValueError(
                f"MobileNetV2 layer {layer!r} must be from 1 to {len(_STRIDES)}, the number of blocks"
            )
        own = _STRIDES[layer - 1]
        if stride not in (2, 4, 8, 16, 32) or stride > own:
            raise ValueError(
                f"MobileNetV2 stride {stride!r} must be a power of 2 from 2 to {own} at layer {layer}"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.features = mobilenet_v2(weights=None).features[:layer]
        self.stride = stride
        _lower_stride(self.features, stride, dilate)
        with torch.inference_mode():
            self.channels = int(self.features.eval()(torch.zeros(1, 3, 32, 32)).shape[1])

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Feature map (B, channels, ceil(H / stride), ceil(W / stride))."""
        return self.features(x_BCHW)


def _lower_stride(features: nn.Module, limit: int, dilate: bool) -> None:
    """Take the strides beyond `limit` away, and dilate the 3x3 convolutions after them in their place."""
    reached = dilation = 1
    for part in features.modules():
        if not isinstance(part, nn.Conv2d) or part.kernel_size == (1, 1):
            continue
        part.dilation, part.padding = (dilation, dilation), (dilation, dilation)
        if part.stride != (2, 2):
            continue
        if reached < limit:
            reached *= 2
        else:
            part.stride = (1, 1)
            dilation *= 2 if dilate else 1

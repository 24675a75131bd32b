"""Networks in the structure in which their authors released them: names and shapes come from here, not from the zoo."""

from __future__ import annotations

import torch
import torchvision
from torch import nn


class ConvModule(nn.Module):
    """mmcv's ConvModule with batch normalisation: `conv`, `bn`, and ReLU where it is active."""

    def __init__(
        self, channels_in: int, channels: int, kernel: int, stride: int = 1, active: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.active = active

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn(self.conv(x))
        return x.relu() if self.active else x


class MMBlock(nn.Module):
    """mmaction's BasicBlock or (expansion 4) Bottleneck, `pytorch` style."""

    def __init__(self, channels_in: int, planes: int, stride: int, expansion: int) -> None:
        super().__init__()
        if expansion == 1:
            self.conv1 = ConvModule(channels_in, planes, 3, stride)
            self.conv2 = ConvModule(planes, planes, 3, active=False)
        else:
            self.conv1 = ConvModule(channels_in, planes, 1)
            self.conv2 = ConvModule(planes, planes, 3, stride)
            self.conv3 = ConvModule(planes, 4 * planes, 1, active=False)
        self.downsample = None
        if stride != 1 or channels_in != planes * expansion:
            self.downsample = ConvModule(channels_in, planes * expansion, 1, stride, active=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        short = x if self.downsample is None else self.downsample(x)
        x = self.conv2(self.conv1(x))
        return ((self.conv3(x) if hasattr(self, "conv3") else x) + short).relu()


class MMResNet(nn.Module):
    """mmaction's ResNet as VFS and STT use it; the output of the third stage."""

    def __init__(self, depth: int, strides: tuple[int, ...], pool: nn.Module) -> None:
        super().__init__()
        expansion = 4 if depth == 50 else 1
        self.conv1 = ConvModule(3, 64, 7, 2)
        self.pool = pool
        channels = 64
        for stage, blocks in enumerate((3, 4, 6, 3) if depth == 50 else (2, 2, 2, 2)):
            layers = []
            for block in range(blocks):
                layers.append(
                    MMBlock(channels, 64 * 2**stage, strides[stage] if block == 0 else 1, expansion)
                )
                channels = 64 * 2**stage * expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer3(self.layer2(self.layer1(self.pool(self.conv1(x)))))


def disturbed(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network in eval mode with batch-normalisation statistics that are not trivial."""
    generator = torch.Generator().manual_seed(seed)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(part.bias, std=0.1, generator=generator)
            nn.init.normal_(part.running_mean, std=0.1, generator=generator)
            nn.init.uniform_(part.running_var, 0.5, 1.5, generator=generator)
    return network.eval()


def third_stage(depth: int, strides: tuple[int, ...] = (1, 2, 1, 1)) -> nn.Module:
    """torchvision's ResNet up to its third stage, with stage strides set by hand."""
    network = disturbed(getattr(torchvision.models, f"resnet{depth}")(), depth)
    for stage, stride in enumerate(strides, 1):
        block = getattr(network, f"layer{stage}")[0]
        (block.conv2 if depth == 50 else block.conv1).stride = (stride, stride)
        if block.downsample is not None:
            block.downsample[0].stride = (stride, stride)
    return network


def run_third_stage(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The output of the third stage of torchvision's ResNet."""
    x = network.maxpool(network.relu(network.bn1(network.conv1(x))))
    return network.layer3(network.layer2(network.layer1(x)))


def dino_shapes(width: int, patch: int, tokens: int, v2: bool) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the released DINO and DINOv2 ViTs with twelve blocks."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, tokens + 1, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
    }
    if v2:
        shapes["mask_token"] = (1, width)
    for block in range(12):
        name = f"blocks.{block}."
        for norm in ("norm1", "norm2"):
            shapes |= {f"{name}{norm}.weight": (width,), f"{name}{norm}.bias": (width,)}
        for linear, (out, into) in {
            "attn.qkv": (3 * width, width),
            "attn.proj": (width, width),
            "mlp.fc1": (4 * width, width),
            "mlp.fc2": (width, 4 * width),
        }.items():
            shapes |= {f"{name}{linear}.weight": (out, into), f"{name}{linear}.bias": (out,)}
        if v2:
            shapes |= {f"{name}ls1.gamma": (width,), f"{name}ls2.gamma": (width,)}
    return shapes | {"norm.weight": (width,), "norm.bias": (width,)}

"""MobileNetV2: torchvision's numbers, and the same at a lower stride."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from corrbench.backbones.mobilenet import MobileNetV2
from corrbench.registry import BACKBONES, build


def _torchvision(layer: int) -> nn.Module:
    torch.manual_seed(0)
    network = torchvision.models.mobilenet_v2().features[:layer].eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.3)
            nn.init.normal_(part.running_mean, std=0.1)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
    return network


def _loaded(theirs: nn.Module, **settings: object) -> MobileNetV2:
    ours = MobileNetV2(**settings)
    ours.features.load_state_dict(theirs.state_dict(), strict=True)
    return ours


@pytest.mark.parametrize(("layer", "stride", "channels"), [(4, 4, 24), (14, 16, 96), (19, 32, 1280)])
@torch.inference_mode()
def test_equals_torchvision_at_its_own_stride(layer: int, stride: int, channels: int) -> None:
    theirs = _torchvision(layer)
    ours = _loaded(theirs, layer=layer, stride=stride)
    x = torch.randn(2, 3, 70, 99)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
    assert (ours.stride, ours.channels) == (stride, channels)
    assert ours(x).shape == (2, channels, -(-70 // stride), -(-99 // stride))


@pytest.mark.parametrize(("layer", "own", "stride"), [(14, 16, 8), (14, 16, 4), (19, 32, 8)])
@torch.inference_mode()
def test_dilated_network_has_the_undilated_values_at_every_second_cell(
    layer: int, own: int, stride: int
) -> None:
    theirs = _torchvision(layer)
    x = torch.randn(1, 3, 96, 128)
    dense = _loaded(theirs, layer=layer, stride=stride)(x)
    assert dense.shape[-2:] == (96 // stride, 128 // stride)
    step = own // stride
    torch.testing.assert_close(dense[:, :, ::step, ::step], theirs(x), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_without_dilation_only_the_strides_change() -> None:
    ours = MobileNetV2(layer=14, stride=8, dilate=False)
    convolutions = [part for part in ours.modules() if isinstance(part, nn.Conv2d)]
    assert all(part.dilation == (1, 1) for part in convolutions)
    assert sum(part.stride == (2, 2) for part in convolutions) == 3
    assert ours(torch.zeros(1, 3, 480, 854)).shape == (1, 96, 60, 107)


def test_seed_decides_the_weights_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(4)
    before = torch.random.get_rng_state()
    first = build(BACKBONES, {"type": "MobileNetV2", "layer": 3, "stride": 4, "seed": 2}).state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    again = MobileNetV2(layer=3, stride=4, seed=2).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer": 20}, "MobileNetV2 layer 20 must be from 1 to 19"),
        ({"layer": 14, "stride": 32}, "MobileNetV2 stride 32 must be a power of 2 from 2 to 16 at layer 14"),
        ({"stride": 6}, "MobileNetV2 stride 6 must be a power of 2"),
    ],
)
def test_bad_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MobileNetV2(**settings)

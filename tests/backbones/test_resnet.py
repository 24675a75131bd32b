"""ResNet: torchvision's numbers at torchvision's geometry, and the geometries of the correspondence codes."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from corrbench.backbones.resnet import ResNet
from corrbench.registry import BACKBONES, build


def _torchvision(depth: int) -> nn.Module:
    """torchvision's network with random weights and batch-normalisation statistics that are not trivial."""
    torch.manual_seed(depth)
    network = getattr(torchvision.models, f"resnet{depth}")().eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.1)
            nn.init.normal_(part.running_mean, std=0.1)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
    return network


def _body(network: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value for key, value in network.state_dict().items() if not key.startswith("fc.")}


@pytest.mark.parametrize("depth", [18, 34, 50])
@torch.inference_mode()
def test_equals_torchvision(depth: int) -> None:
    theirs = _torchvision(depth)
    ours = ResNet(depth=depth)
    ours.load_state_dict(_body(theirs), strict=True)
    x = torch.randn(2, 3, 65, 98)
    theirs.avgpool, theirs.fc = nn.Identity(), nn.Identity()
    expected = theirs(x).view(2, ours.channels, 3, 4)
    torch.testing.assert_close(ours(x), expected, rtol=0, atol=1e-5)
    assert ours.stride == 32


@pytest.mark.parametrize(
    ("settings", "stride"),
    [
        ({"strides": (1, 2, 2, 1), "stem_pool": None, "layer": 3}, 8),  # STT
        ({"strides": (1, 1, 1, 1), "stem_pool": "mean", "layer": 3}, 4),  # STT, stride 4
        ({"strides": (1, 2, 1, 1), "stem_pool": "max", "layer": 3}, 8),  # VFS
        ({"strides": (1, 2, 1, 1), "stem_pool": "max", "layer": 3, "padding_mode": "reflect"}, 8),  # CRW
        ({"strides": (1, 2, 2, 4), "stem_pool": None, "layer": 4}, 32),  # STT while it is trained
    ],
)
@pytest.mark.parametrize("depth", [18, 50])
@torch.inference_mode()
def test_geometries_of_the_correspondence_codes(depth: int, settings: dict, stride: int) -> None:
    """The same weights, torchvision's modules with their strides, pooling and borders changed by hand."""
    theirs = _torchvision(depth)
    for stage, wanted in enumerate(settings["strides"], 1):
        block = getattr(theirs, f"layer{stage}")[0]
        (block.conv2 if depth == 50 else block.conv1).stride = (wanted, wanted)
        if block.downsample is not None:
            block.downsample[0].stride = (wanted, wanted)
    if settings.get("padding_mode"):
        for part in theirs.modules():
            if isinstance(part, nn.Conv2d) and part.padding != (0, 0):
                part.padding_mode = "reflect"
                part._reversed_padding_repeated_twice = [part.padding[0]] * 4
    pools = {None: nn.Identity(), "max": theirs.maxpool, "mean": nn.AvgPool2d(3, 2, 1)}
    theirs.maxpool = pools[settings["stem_pool"]]
    theirs.layer4 = theirs.layer4 if settings["layer"] == 4 else nn.Identity()
    theirs.avgpool, theirs.fc = nn.Identity(), nn.Identity()

    ours = ResNet(depth=depth, **settings)
    wanted_keys = ours.state_dict().keys()
    ours.load_state_dict(
        {key: value for key, value in _body(theirs).items() if key in wanted_keys}, strict=True
    )
    assert ours.stride == stride
    x = torch.randn(1, 3, 49, 70)
    got = ours(x)
    assert got.shape == (1, ours.channels, -(-49 // stride), -(-70 // stride))
    torch.testing.assert_close(got.flatten(1), theirs(x), rtol=1e-5, atol=1e-4)


@torch.inference_mode()
def test_several_layers_from_one_pass() -> None:
    full = ResNet(layer=4, stem_pool=None, strides=(1, 2, 2, 4))
    x = torch.randn(1, 3, 64, 64)
    outputs = full.forward_layers(x, (4, 2, 3))
    assert [tuple(o.shape[1:]) for o in outputs] == [(512, 2, 2), (128, 16, 16), (256, 8, 8)]
    assert torch.equal(outputs[0], full(x))
    with pytest.raises(ValueError, match=r"layers \(5,\) are not all among 1 to 4"):
        full.forward_layers(x, (5,))


def test_seed_decides_the_weights_and_nothing_else_does() -> None:
    torch.manual_seed(1)
    first = ResNet(layer=2, seed=3).state_dict()
    torch.manual_seed(2)
    again, other = ResNet(layer=2, seed=3).state_dict(), ResNet(layer=2, seed=4).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


def test_starts_in_eval_mode_and_can_be_trained() -> None:
    backbone = build(BACKBONES, {"type": "ResNet", "layer": 1, "width": 8})
    assert not any(part.training for part in backbone.modules())
    backbone.train()
    backbone(torch.randn(2, 3, 32, 32)).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in backbone.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth": 19}, "depth 19 is not known; use one of 18, 34, 50"),
        ({"strides": (1, 2, 2)}, "must be four whole numbers"),
        ({"strides": (1, 2, 0, 1)}, "must be four whole numbers"),
        ({"stem_pool": "average"}, "stem_pool 'average' is not known; use None, 'max' or 'mean'"),
        ({"layer": 5}, "layer 5 must be 1, 2, 3 or 4"),
        ({"padding_mode": "circular"}, "padding_mode 'circular' is not known"),
    ],
)
def test_bad_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResNet(**settings)

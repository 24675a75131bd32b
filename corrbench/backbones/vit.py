"""Vision transformers as DINO and DINOv2 release them; parameter names are theirs.

Dosovitskiy et al., ICLR 2021; DINO: Caron et al., ICCV 2021; DINOv2: Oquab et al., TMLR 2024; registers:
Darcet et al., ICLR 2024.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from corrbench.registry import BACKBONES

_WIDTHS = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12), "large": (1024, 16)}
_DEPTHS = {"tiny": 12, "small": 12, "base": 12, "large": 24}


class PatchEmbed(nn.Module):
    """Patches to tokens: one convolution whose stride is its kernel."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)


class LayerScale(nn.Module):
    """A learnt factor a channel (Touvron et al., ICCV 2021)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (..., width) times gamma."""
        return x * self.gamma


class Attention(nn.Module):
    """Multi-head self-attention with one matrix for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def facets(self, x_BNC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values, each (B, heads, N, width / heads)."""
        query, key, value = self.qkv(x_BNC).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return query, key, value

    def forward(self, x_BNC: torch.Tensor) -> torch.Tensor:
        """(B, N, width) to (B, N, width); softmax of q.k over the root of the head's width."""
        mixed = F.scaled_dot_product_attention(*self.facets(x_BNC))
        return self.proj(mixed.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two linear layers with exact GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., width) to (..., width)."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm transformer block, with or without LayerScale."""

    def __init__(self, width: int, heads: int, layer_scale: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.ls1: nn.Module = LayerScale(width) if layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width)
        self.ls2: nn.Module = LayerScale(width) if layer_scale else nn.Identity()

    def forward(self, x_BNC: torch.Tensor) -> torch.Tensor:
        """(B, N, width) to (B, N, width)."""
        x_BNC = x_BNC + self.ls1(self.attn(self.norm1(x_BNC)))
        return x_BNC + self.ls2(self.mlp(self.norm2(x_BNC)))


@BACKBONES.register_module()
class ViT(nn.Module):
    """Vision transformer whose feature map is the patch tokens after block `layer` (1 to depth; None: the last).

    `size` `tiny`, `small`, `base` or `large`; `patch` pixels; `grid` the side of the learnt position grid in
    patches (DINO: 224 / patch, DINOv2: 37); `layer_scale` and `registers` as DINOv2. `normed`: through the
    network's last LayerNorm, as both codes' `get_intermediate_layers` gives them. `facet` `token`, or `key`:
    the keys of block `layer`, heads side by side (Amir et al., 2021). The class token and the registers are
    dropped.

    Positions are brought to the input's grid by bicubic interpolation (a = -0.75, align_corners=False). With
    `offset` 0.1, as DINO and DINOv2 release it, by the scale factor (cells + 0.1) / grid, which moves the
    sampling points a little; with `offset` 0 by the size alone (transformers; DINOv2 with registers, which
    also sets `antialias`). The learnt grid is used as it is when the input has it.

    Input (B, 3, H, W) with sides that are multiples of `patch` (`multiple`); output (B, channels, H / patch,
    W / patch). Without a checkpoint the weights are drawn from `seed` (normal, deviation 0.02).
    """

    def __init__(
        self,
        size: str = "small",
        patch: int = 16,
        grid: int = 14,
        layer_scale: bool = False,
        registers: int = 0,
        offset: float = 0.1,
        antialias: bool = False,
        layer: int | None = None,
        normed: bool = True,
        facet: str = "token",
        seed: int = 0,
    ) -> None:
        super().__init__()
        if size not in _WIDTHS:
            raise ValueError(f"ViT size {size!r} is not known; use one of {', '.join(_WIDTHS)}")
        if facet not in ("token", "key"):
            raise ValueError(f"ViT facet {facet!r} is not known; use 'token' or 'key'")
        depth = _DEPTHS[size]
        if layer is not None and not 1 <= layer <= depth:
            raise ValueError(
                f"ViT layer {layer!r} must be from 1 to {depth}, the number of blocks, or None for the last"
            )
        width, heads = _WIDTHS[size]
        self.stride = self.multiple = self.patch = patch
        self.channels, self.grid, self.registers = width, grid, registers
        self.offset, self.antialias, self.normed, self.facet = offset, antialias, normed, facet
        self.patch_embed = PatchEmbed(patch, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, grid * grid + 1, width))
        if registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, registers, width))
        self.blocks = nn.ModuleList(Block(width, heads, layer_scale) for _ in range(layer or depth))
        if normed and facet == "token":
            self.norm = nn.LayerNorm(width, eps=1e-6)
        _start(self, seed)
        self.eval()

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Feature map (B, channels, H / patch, W / patch), contiguous; `ValueError` where a side is no multiple of patch."""
        height, width = x_BCHW.shape[-2:]
        if height % self.patch or width % self.patch:
            raise ValueError(
                f"ViT with patch {self.patch} needs sides that are multiples of {self.patch}, got {height}x{width}; end "
                f"the protocol's resize rule with ' ceil {self.patch}' or ' floor {self.patch}'"
            )
        rows, columns = height // self.patch, width // self.patch
        x = self.tokens(x_BCHW)
        for block in self.blocks[:-1]:
            x = block(x)
        last = self.blocks[-1]
        if self.facet == "key":
            assert isinstance(last, Block)
            x = last.attn.facets(last.norm1(x))[1].transpose(1, 2).flatten(2)
        else:
            x = last(x)
            x = self.norm(x) if self.normed else x
        patches = x[:, 1 + self.registers :]
        return patches.transpose(1, 2).unflatten(2, (rows, columns)).contiguous()

    def tokens(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """What the first block is given: class token, registers and patches with positions, (B, 1 + registers + h*w, C)."""
        patches = self.patch_embed.proj(x_BCHW)
        positions = self.positions(int(patches.shape[-2]), int(patches.shape[-1]))
        x = patches.flatten(2).transpose(1, 2) + positions
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        if self.registers:
            return torch.cat([first, self.register_tokens.expand(len(x), -1, -1), x], 1)
        return torch.cat([first, x], 1)

    def positions(self, rows: int, columns: int) -> torch.Tensor:
        """The learnt positions of the patches at a grid of rows x columns: (1, rows * columns, C)."""
        learnt = self.pos_embed[:, 1:]
        if (rows, columns) == (self.grid, self.grid):
            return learnt
        square = learnt.transpose(1, 2).unflatten(2, (self.grid, self.grid))
        scale = tuple((cells + self.offset) / self.grid for cells in (rows, columns)) if self.offset else None
        size = None if scale else (rows, columns)
        resized = F.interpolate(
            square, size, scale, mode="bicubic", align_corners=False, antialias=self.antialias
        )
        assert tuple(resized.shape[-2:]) == (rows, columns)
        return resized.flatten(2).transpose(1, 2)


def _start(module: nn.Module, seed: int) -> None:
    """Normal weights of deviation 0.02 (biases 0, norms 1 and 0) from a generator of their own."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.02, generator=generator)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)

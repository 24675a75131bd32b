"""Pairs of views of an image as affine maps: drawn, rendered, and which cell of one lies where in the other.

A view's map is 2x3 and takes view coordinates (x, y) in [-1, 1] to image pixels, measured from the image's top left edge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from corrbench.training.augment import Box

NUMBERS = 10  # uniform draws a pair


def draw(
    size: Sequence[int],
    numbers: torch.Tensor,
    side: Sequence[float],
    zoom: float,
    shift: float,
    turn: float,
    stretch: float,
) -> torch.Tensor:
    """Maps (2, 2, 3) of two views of an image of `size` (h, w) from NUMBERS uniform numbers; see `Dense` for the rest.

    Centres keep half a side from the border; corners of turned views may look beyond it.
    """
    h, w = size
    u = numbers.tolist()
    most = min(h, w) / 2
    middle = most * side[0] * (side[1] / side[0]) ** u[0]
    ratio = zoom ** (2 * u[1] - 1)
    halves = (min(middle * ratio**0.5, most), min(middle / ratio**0.5, most))
    first = (_between(halves[0], w - halves[0], u[2]), _between(halves[0], h - halves[0], u[3]))
    reach = 2 * shift * min(halves)
    second = tuple(
        min(max(c + reach * (2 * n - 1), halves[1]), edge - halves[1])
        for c, n, edge in zip(first, u[4:6], (w, h), strict=True)
    )
    maps = []
    for half, centre, angle, wide in zip(halves, (first, second), u[6:8], u[8:10], strict=True):
        a, s = math.radians(turn * (2 * angle - 1)), stretch ** (wide - 0.5)
        along, across = half * s, half / s
        maps.append(
            [[math.cos(a) * along, -math.sin(a) * across, centre[0]],
             [math.sin(a) * along, math.cos(a) * across, centre[1]]]
        )  # fmt: skip
    return torch.tensor(maps)


def _between(low: float, high: float, share: float) -> float:
    return low + (high - low) * share


def mirrored(maps_V23: torch.Tensor) -> torch.Tensor:
    """The maps of the same views seen in a mirror, left to right."""
    return maps_V23 * maps_V23.new_tensor([-1.0, 1.0, 1.0])


def bounds(maps_V23: torch.Tensor, size: Sequence[int]) -> Box:
    """The part of an image of `size` (h, w) that the views see, with a pixel around it for interpolation."""
    reach = maps_V23[:, :, :2].abs().sum(2)
    low = (maps_V23[:, :, 2] - reach).amin(0).floor().long() - 1
    high = (maps_V23[:, :, 2] + reach).amax(0).ceil().long() + 1
    left, top = (max(int(v), 0) for v in low)
    right, bottom = (min(int(v), edge) for v, edge in zip(high, (size[1], size[0]), strict=True))
    return top, left, bottom - top, right - left


def moved(maps_V23: torch.Tensor, box: Box) -> torch.Tensor:
    """The maps into the crop `box` instead of the whole image."""
    return maps_V23 - maps_V23.new_tensor([[0, 0, box[1]], [0, 0, box[0]]])


def whole(samples: int, side: int) -> torch.Tensor:
    """Maps (samples, 2, 2, 3) of pairs of views that both are the whole of a square image."""
    half = side / 2
    return torch.tensor([[half, 0, half], [0, half, half]]).expand(samples, 2, 2, 3)


def render(
    crops_B3HW: torch.Tensor, sizes_B2: torch.Tensor, maps_BV23: torch.Tensor, out: int
) -> torch.Tensor:
    """float32 (B * V, 3, out, out) in [0, 255]: the views of uint8 images padded to H x W, each of its (h, w) in `sizes`.

    Bilinear at twice the density and averaged in pairs, against aliasing; what lies beyond a border is its reflection.
    """
    b, v = maps_BV23.shape[:2]
    dense = grid(2 * out, 2 * out, maps_BV23.device)
    at = through(maps_BV23.flatten(0, 1), dense[None])
    edge = sizes_B2.flip(1).to(at.dtype).repeat_interleave(v, 0)[:, None, None]  # (w, h)
    at = at.remainder(2 * edge)
    at = torch.minimum(at, 2 * edge - at)  # reflected about the border
    at = torch.minimum(at.clamp(min=0.5), edge - 0.5)
    whole_WH = at.new_tensor([crops_B3HW.shape[3], crops_B3HW.shape[2]])
    at = (at / whole_WH * 2 - 1).view(b, v * 2 * out, 2 * out, 2)
    seen = F.grid_sample(crops_B3HW.float(), at, mode="bilinear", align_corners=False)
    seen = seen.view(b, 3, v, 2 * out, 2 * out).transpose(1, 2).flatten(0, 1)
    return F.avg_pool2d(seen, 2)


def grid(h: int, w: int, device: torch.device | None = None) -> torch.Tensor:
    """(h, w, 2): the centres (x, y) of the cells of an h x w raster over [-1, 1]."""
    y = (torch.arange(h, device=device) + 0.5) / h * 2 - 1
    x = (torch.arange(w, device=device) + 0.5) / w * 2 - 1
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def through(maps_N23: torch.Tensor, points_Nhw2: torch.Tensor) -> torch.Tensor:
    """(N, h, w, 2): the images of points under their maps."""
    linear, shift = maps_N23[:, :, :2], maps_N23[:, :, 2]
    return points_Nhw2 @ linear.transpose(1, 2)[:, None] + shift[:, None, None]


def matches(maps_B223: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """(B, h, w, 2): where the centre of each cell (y, x) of the first view lies in the second, as (column, row).

    In cells of the second view's h x w raster, counted from the centre of its first one: a whole number is a centre.
    """
    h, w = int(size[0]), int(size[1])
    pixels = through(maps_B223[:, 0], grid(h, w, maps_B223.device)[None])
    linear, shift = maps_B223[:, 1, :, :2], maps_B223[:, 1, :, 2]
    at = (pixels - shift[:, None, None]) @ torch.linalg.inv(linear).transpose(1, 2)[:, None]
    return (at + 1) / 2 * at.new_tensor([w, h]) - 0.5

"""Descriptors without learning: averaged Lab, HOG and DAISY, one for every cell of a grid.

A frame whose sides are no multiples of the cell is continued by its border pixels, so an input (H, W) gives
ceil(H / cell) x ceil(W / cell) descriptors, as a convolutional backbone of that stride does.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from corrbench.registry import BACKBONES

_GREY = (0.2125, 0.7154, 0.0721)  # scikit-image's rgb2gray


@BACKBONES.register_module()
class Lab(nn.Module):
    """The colours of a cell: means of `samples` x `samples` equal blocks of it, channel by channel.

    With `samples` 1 a cell is its mean colour (3 channels); with `samples` equal to `cell` it is its raw
    pixels. For inputs in `colour="lab"`; it averages whatever three channels it is given. Input (B, 3, H, W),
    output (B, 3 * samples**2, ceil(H / cell), ceil(W / cell)).
    """

    def __init__(self, cell: int = 8, samples: int = 2) -> None:
        super().__init__()
        _whole("Lab", cell=cell, samples=samples)
        if cell % samples:
            raise ValueError(f"Lab samples {samples} must divide the cell, {cell} pixels")
        self.stride, self.samples, self.channels = cell, samples, 3 * samples**2

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Mean colours (B, channels, h, w); channels are ordered colour, block row, block column."""
        blocks = F.avg_pool2d(_whole_cells(x_BCHW, self.stride), self.stride // self.samples)
        return F.pixel_unshuffle(blocks, self.samples)


@BACKBONES.register_module()
class HOG(nn.Module):
    """Histograms of oriented gradients (Dalal & Triggs, CVPR 2005), the block of cells round every cell.

    The same numbers as `skimage.feature.hog(block_norm="L2-Hys")` of the grey frame: central differences,
    hard bins over 180 degrees, mean magnitude a cell; then `block` x `block` cells are normalised together.
    The frame is continued by (block - 1) / 2 cells of border pixels on every side, so that every cell is the
    middle of a block. For inputs in `colour="raw"`. Input (B, 3, H, W), output (B, block**2 * orientations,
    ceil(H / cell), ceil(W / cell)).
    """

    def __init__(self, cell: int = 8, orientations: int = 9, block: int = 3) -> None:
        super().__init__()
        _whole("HOG", cell=cell, orientations=orientations, block=block)
        if block % 2 == 0:
            raise ValueError(f"HOG block {block} must be odd, so that each cell is the middle of a block")
        self.stride, self.orientations, self.block = cell, orientations, block
        self.channels = block**2 * orientations

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Descriptors (B, channels, h, w); channels are ordered block row, block column, orientation."""
        border = self.block // 2 * self.stride
        grey = F.pad(_whole_cells(_grey(x_BCHW), self.stride), (border,) * 4, mode="replicate")
        histograms = F.avg_pool2d(self._votes(grey), self.stride)
        patches = F.unfold(histograms, self.block)  # (B, orientations * block**2, h * w)
        height, width = (side - self.block + 1 for side in histograms.shape[-2:])
        blocks = patches.unflatten(1, (self.orientations, self.block**2)).transpose(1, 2).flatten(1, 2)
        blocks = _hys(_hys(blocks).clamp_(max=0.2))
        return blocks.unflatten(2, (height, width))

    def _votes(self, grey_B1HW: torch.Tensor) -> torch.Tensor:
        """Gradient magnitude of every pixel in the channel of its orientation: (B, orientations, H, W)."""
        down, right = torch.zeros_like(grey_B1HW), torch.zeros_like(grey_B1HW)
        down[:, :, 1:-1] = grey_B1HW[:, :, 2:] - grey_B1HW[:, :, :-2]
        right[..., 1:-1] = grey_B1HW[..., 2:] - grey_B1HW[..., :-2]
        turn = torch.atan2(down, right).mul_(self.orientations / math.pi).remainder_(self.orientations)
        bins = turn.long().clamp_(max=self.orientations - 1)
        votes = down.new_zeros(len(down), self.orientations, *down.shape[2:])
        return votes.scatter_(1, bins, torch.hypot(down, right))


def _hys(blocks: torch.Tensor) -> torch.Tensor:
    return blocks / (blocks.square().sum(1, keepdim=True) + 1e-10).sqrt()


@BACKBONES.register_module()
class DAISY(nn.Module):
    """DAISY (Tola, Lepetit & Fua, PAMI 2010) centred on every cell, sums to 1 (l1 normalisation).

    The same numbers as `skimage.feature.daisy(step=cell, radius=..., rings=..., histograms=...,
    orientations=...)` of the grey frame continued by its border pixels, in a fraction of the time: the
    Gaussians are evaluated at the sampled points only. The descriptor of cell i is centred on pixel cell * i
    + cell // 2. For inputs in `colour="raw"`. Input (B, 3, H, W), output (B, (rings * histograms + 1) *
    orientations, ceil(H / cell), ceil(W / cell)).
    """

    def __init__(
        self, cell: int = 8, radius: int = 15, rings: int = 3, histograms: int = 8, orientations: int = 8
    ) -> None:
        super().__init__()
        _whole(
            "DAISY", cell=cell, radius=radius, rings=rings, histograms=histograms, orientations=orientations
        )
        if radius < cell // 2 or radius < rings:
            raise ValueError(
                f"DAISY radius {radius} must be at least half the cell ({cell // 2}) and rings ({rings})"
            )
        self.stride, self.radius, self.orientations = cell, radius, orientations
        self.channels = (rings * histograms + 1) * orientations
        self.samples = _daisy_samples(radius, rings, histograms)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Descriptors (B, channels, h, w); channels are ordered centre, ring, direction on it, orientation."""
        grey = _grey(x_BCHW)
        height, width = (math.ceil(side / self.stride) for side in grey.shape[-2:])
        before = self.radius - self.stride // 2
        below, right = (
            cells * self.stride - side + 2 * self.radius - before
            for cells, side in zip((height, width), grey.shape[-2:], strict=True)
        )
        votes = self._votes(F.pad(grey, (before, right, before, below), mode="replicate")[:, 0])
        rings = [self._sample(votes, sigma, offsets, (height, width)) for sigma, offsets in self.samples]
        descriptors = torch.cat(rings, 1).add_(1e-10)
        return descriptors.div_(descriptors.sum(1, keepdim=True))

    def _votes(self, grey: torch.Tensor) -> torch.Tensor:
        """(B, H, W) to (B, orientations, H, W): gradient magnitude times a circular normal weight of its angle."""
        right, down = torch.zeros_like(grey), torch.zeros_like(grey)
        right[..., :-1] = grey.diff(dim=-1)
        down[:, :-1] = grey.diff(dim=-2)
        magnitude, angle = torch.hypot(right, down), torch.atan2(down, right)
        centres = (
            torch.arange(self.orientations, device=grey.device) * (2 * math.pi / self.orientations) - math.pi
        )
        # cos(a - c) from one sine and one cosine a pixel instead of a cosine an orientation.
        weight = torch.cos(angle)[:, None] * torch.cos(centres)[:, None, None]
        weight.addcmul_(torch.sin(angle)[:, None], torch.sin(centres)[:, None, None])
        return weight.mul_(self.orientations / math.pi).exp_().mul_(magnitude[:, None])

    def _sample(
        self, votes: torch.Tensor, sigma: float, offsets: list[tuple[int, int]], cells: tuple[int, int]
    ) -> torch.Tensor:
        """Gaussian-smoothed votes at cell centres plus each (dy, dx): (B, len(offsets) * orientations, h, w)."""
        rows, columns = sorted({dy for dy, _ in offsets}), sorted({dx for _, dx in offsets})
        size, orientations = len(votes), self.orientations
        across = _smooth_last(votes.flatten(0, 1), sigma, columns, self.radius, self.stride, cells[1])
        both = _smooth_last(
            across.transpose(-1, -2).flatten(0, 1), sigma, rows, self.radius, self.stride, cells[0]
        )
        grid = both.view(size, orientations, len(columns), len(rows), cells[1], cells[0]).transpose(-1, -2)
        return torch.cat([grid[:, :, columns.index(dx), rows.index(dy)] for dy, dx in offsets], 1)


def _daisy_samples(radius: int, rings: int, histograms: int) -> list[tuple[float, list[tuple[int, int]]]]:
    """(sigma, offsets (dy, dx)) of the centre and of every ring, as scikit-image lays them out."""
    sigmas = [radius * (ring + 1) / (2 * rings) for ring in range(rings)]
    samples: list[tuple[float, list[tuple[int, int]]]] = [(sigmas[0], [(0, 0)])]
    for ring, sigma in enumerate(sigmas):
        reach = radius * (ring + 1) / rings
        angles = [2 * math.pi * j / histograms for j in range(histograms)]
        samples.append((sigma, [(round(reach * math.sin(a)), round(reach * math.cos(a))) for a in angles]))
    return samples


def _smooth_last(
    x_NHW: torch.Tensor, sigma: float, offsets: list[int], start: int, step: int, count: int
) -> torch.Tensor:
    """Gaussian smoothing of the last axis, at start + step * i + offset only: (N, len(offsets), H, count).

    Cut at 4 sigma and mirrored at the borders with the edge pixel repeated, as
    `scipy.ndimage.gaussian_filter`.
    """
    reach = int(4 * sigma + 0.5)
    span = reach + max(map(abs, offsets))
    taps = torch.arange(-reach, reach + 1, dtype=torch.float64)
    gauss = torch.exp(-0.5 * (taps / sigma) ** 2)
    kernels = torch.zeros(len(offsets), 1, 1, 2 * span + 1, dtype=torch.float64)
    for kernel, offset in zip(kernels, offsets, strict=True):
        kernel[0, 0, span + offset - reach : span + offset + reach + 1] = gauss / gauss.sum()
    first = start - span
    wanted = torch.arange(first, start + step * (count - 1) + span + 1, device=x_NHW.device)
    width = x_NHW.shape[-1]
    mirrored = wanted.remainder(2 * width)
    mirrored = torch.minimum(mirrored, 2 * width - 1 - mirrored)
    return F.conv2d(x_NHW[:, None, :, mirrored], kernels.to(x_NHW), stride=(1, step))


def _grey(x_B3HW: torch.Tensor) -> torch.Tensor:
    """Grey (B, 1, H, W) of RGB, with scikit-image's weights."""
    # One product and sum at a time: equal colours get equal greys to the last bit wherever they lie, so that
    # a gradient of zero is zero (a matrix product rounds differently at its edges).
    red, green, blue = (x_B3HW[:, channel, None] * weight for channel, weight in enumerate(_GREY))
    return red + green + blue


def _whole_cells(x_BCHW: torch.Tensor, cell: int) -> torch.Tensor:
    """The input continued by its border pixels, right and below, to whole cells."""
    height, width = x_BCHW.shape[-2:]
    return F.pad(x_BCHW, (0, -width % cell, 0, -height % cell), mode="replicate")


def _whole(name: str, **settings: int) -> None:
    for key, value in settings.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} {key} {value!r} must be a whole number of at least 1")

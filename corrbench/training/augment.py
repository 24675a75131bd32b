"""Crops, colour jitter, greyscale and blur of whole batches, on any device, from numbers drawn beforehand.

The operations and their order are torchvision's and MoCo's; here each takes per-sample parameters as tensors, so that the
numbers come from the update's own generator and the pixels stay where the network is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

_GREY = (0.2989, 0.587, 0.114)  # ITU-R 601, as torchvision's rgb_to_grayscale
ATTEMPTS = 10

Box = tuple[int, int, int, int]  # top, left, height, width


def random_box(
    size: Sequence[int], numbers: torch.Tensor, area: Sequence[float], aspect: Sequence[float]
) -> Box:
    """A random crop of an image of `size` (h, w): area share uniform, width/height log-uniform, position uniform.

    `numbers` are (ATTEMPTS, 4) uniform in [0, 1): the first attempt that fits counts, as in torchvision's
    RandomResizedCrop; if none does, the largest central box with an allowed aspect.
    """
    h, w = size
    low, high = math.log(aspect[0]), math.log(aspect[1])
    for share, shape, top, left in numbers.tolist():
        pixels = h * w * (area[0] + (area[1] - area[0]) * share)
        ratio = math.exp(low + (high - low) * shape)
        width, height = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < width <= w and 0 < height <= h:
            return int(top * (h - height + 1)), int(left * (w - width + 1)), height, width
    ratio = min(max(w / h, aspect[0]), aspect[1])
    height, width = min(h, round(w / ratio)), min(w, round(h * ratio))
    return (h - height) // 2, (w - width) // 2, max(height, 1), max(width, 1)


def resize_matrix(lengths_B: torch.Tensor, most: int, out: int, antialias: bool) -> torch.Tensor:
    """(B, out, most): rows that resample a line of `lengths[b]` pixels (padded to `most`) to `out`, bilinearly.

    Half-pixel centres; with `antialias` the triangle grows with the reduction, as in Pillow and `F.interpolate`.
    """
    device = lengths_B.device
    length = lengths_B.to(torch.float32).view(-1, 1, 1)
    scale = length / out
    support = scale.clamp(min=1.0) if antialias else torch.ones_like(scale)
    centre = (torch.arange(out, device=device, dtype=torch.float32).view(1, -1, 1) + 0.5) * scale - 0.5
    if not antialias:  # beyond the border lies the border pixel
        centre = torch.minimum(centre.clamp(min=0.0), length - 1)
    at = torch.arange(most, device=device, dtype=torch.float32).view(1, 1, -1)
    weights = (1 - (at - centre).abs() / support).clamp(min=0.0) * (at < length)
    return weights / weights.sum(-1, keepdim=True)


def resize_crops(
    crops_B3HW: torch.Tensor, sizes_B2: torch.Tensor, flip_B: torch.Tensor, out: int, antialias: bool = True
) -> torch.Tensor:
    """float32 (B, 3, out, out) in [0, 255] of uint8 crops padded to a common H x W, each of its own (h, w) in `sizes`.

    Two batched matrix products; rows where `flip` is set are mirrored left to right.
    """
    down = resize_matrix(sizes_B2[:, 0], crops_B3HW.shape[2], out, antialias)
    across = resize_matrix(sizes_B2[:, 1], crops_B3HW.shape[3], out, antialias)
    across = torch.where(flip_B.view(-1, 1, 1), across.flip(1), across)
    return down[:, None] @ (crops_B3HW.float() @ across.transpose(1, 2)[:, None])


def to_frames(images_B3HW: torch.Tensor) -> torch.Tensor:
    """uint8 (B, H, W, 3) of values in [0, 255], rounded: what `backbones.colour.to_input` takes."""
    return images_B3HW.permute(0, 2, 3, 1).add(0.5).clamp_(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class Looks:
    """Photometric parameters of a batch: factors (B, 4) of brightness, contrast, saturation and hue, and the rest."""

    factors: torch.Tensor  # multipliers, and for hue a shift in turns
    order: tuple[int, ...]  # of the four, drawn once a batch
    grey: torch.Tensor  # bool (B,)
    sigma: torch.Tensor  # blur in pixels (B,), 0 for none
    reach: (
        int  # half-width of the blur's kernel: of the recipe, so that a sample does not depend on its batch
    )

    def rows(self, chosen: torch.Tensor) -> Looks:
        """The parameters of some samples."""
        return Looks(self.factors[chosen], self.order, self.grey[chosen], self.sigma[chosen], self.reach)

    def to(self, device: torch.device) -> Looks:
        return Looks(
            self.factors.to(device), self.order, self.grey.to(device), self.sigma.to(device), self.reach
        )


def draw_looks(
    count: int,
    jitter: Sequence[float],
    jitter_share: float,
    grey_share: float,
    blur_share: float,
    blur: Sequence[float],
    generator: torch.Generator,
) -> Looks:
    """Draw the parameters of `count` samples: jitter strengths as torchvision's ColorJitter, shares as probabilities."""
    uniform = torch.rand(count, 4, generator=generator) * 2 - 1
    strength = torch.tensor(list(jitter))
    factors = torch.cat([(1 + uniform[:, :3] * strength[:3]).clamp(min=0), uniform[:, 3:] * strength[3]], 1)
    still = torch.tensor([1.0, 1.0, 1.0, 0.0])
    jittered = torch.rand(count, 1, generator=generator) < jitter_share
    sigma = blur[0] + (blur[1] - blur[0]) * torch.rand(count, generator=generator)
    blurred = torch.rand(count, generator=generator) < blur_share
    return Looks(
        torch.where(jittered, factors, still),
        tuple(torch.randperm(4, generator=generator).tolist()),
        torch.rand(count, generator=generator) < grey_share,
        torch.where(blurred, sigma, torch.zeros(())),
        math.ceil(3 * blur[1]),
    )


def apply_looks(images_B3HW: torch.Tensor, looks: Looks, grey_first: bool = False) -> torch.Tensor:
    """Jitter, greyscale and blur of images in [0, 255] (MoCo v2's order; `grey_first` is v1's: greyscale, then jitter)."""
    images = images_B3HW / 255
    steps = [_brightness, _contrast, _saturation, _hue]
    if grey_first:
        images = _grey_where(images, looks.grey)
    for number in looks.order:
        images = steps[number](images, looks.factors[:, number].view(-1, 1, 1, 1))
    if not grey_first:
        images = _grey_where(images, looks.grey)
    return _blur(images, looks.sigma, looks.reach) * 255


def _grey(images: torch.Tensor) -> torch.Tensor:
    return (images * images.new_tensor(_GREY).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _grey_where(images: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    return torch.where(chosen.view(-1, 1, 1, 1), _grey(images), images)


def _brightness(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return (images * factor).clamp(0, 1)


def _contrast(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    mean = _grey(images).mean((1, 2, 3), keepdim=True)
    return (mean + (images - mean) * factor).clamp(0, 1)


def _saturation(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    grey = _grey(images)
    return (grey + (images - grey) * factor).clamp(0, 1)


def _hue(images: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Turn the hue in HSV space, as torchvision's adjust_hue."""
    if not bool((turns != 0).any()):
        return images
    most, least = images.amax(1), images.amin(1)
    spread = most - least
    safe = torch.where(spread == 0, torch.ones_like(spread), spread)
    r, g, b = ((most[:, None] - images) / safe[:, None]).unbind(1)
    red, green = images[:, 0] == most, images[:, 1] == most
    sector = torch.where(red, b - g, torch.where(green, 2 + r - b, 4 + g - r))
    hue = (torch.where(spread == 0, torch.zeros_like(sector), sector) / 6 + turns[:, 0]) % 1.0
    # Value minus chroma times a trapezoid of the hue: the closed form of HSV to RGB.
    offset = torch.tensor([5.0, 3.0, 1.0], device=images.device).view(1, 3, 1, 1)
    k = (offset + hue[:, None] * 6) % 6
    return most[:, None] - spread[:, None] * torch.minimum(k, 4 - k).clamp(0, 1)


def _blur(images: torch.Tensor, sigma: torch.Tensor, reach: int) -> torch.Tensor:
    """Gaussian blur, separable, a kernel a sample, cut at `reach` pixels; borders reflected."""
    chosen = sigma > 0
    if not bool(chosen.any()):
        return images
    some = images[chosen]
    b, _, h, w = some.shape
    reach = min(reach, h - 1, w - 1)
    at = torch.arange(-reach, reach + 1, device=images.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (at / sigma[chosen].view(-1, 1)).square())
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)
    flat = F.pad(some.reshape(1, b * 3, h, w), (reach,) * 4, mode="reflect")
    flat = F.conv2d(flat, kernel.view(b * 3, 1, -1, 1), groups=b * 3)
    flat = F.conv2d(flat, kernel.view(b * 3, 1, 1, -1), groups=b * 3)
    blurred = images.clone()
    blurred[chosen] = flat.view(b, 3, h, w)
    return blurred

"""Frames to network inputs: resize as OpenCV does on 8-bit images, then one of four colour spaces."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

COLOURS = ("lab", "rgb", "half", "raw")

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LAB_MEAN, _LAB_STD = (50.0, 0.0, 0.0), (50.0, 127.0, 127.0)
# Linear sRGB to XYZ (IEC 61966-2-1, with scikit-image's digits), rows divided by the D65 white.
_XYZ_FROM_RGB = torch.tensor(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]],
    dtype=torch.float64,
) / torch.tensor([[0.95047], [1.0], [1.08883]], dtype=torch.float64)


def _linear_table() -> torch.Tensor:
    """The linear value of each of the 256 sRGB levels, float64."""
    level = torch.arange(256, dtype=torch.float64) / 255
    return torch.where(level > 0.04045, ((level + 0.055) / 1.055) ** 2.4, level / 12.92)


_LINEAR = _linear_table()


def to_input(
    frames_BHW3: np.ndarray | torch.Tensor,
    colour: str,
    device: torch.device | str | None = None,
    size: tuple[int, int] | None = None,
) -> torch.Tensor:
    """Network input float32 (B, 3, H, W) of 8-bit RGB frames (B, h, w, 3).

    `colour`: `lab` (CIE Lab, D65, minus (50, 0, 0) over (50, 127, 127)), `rgb` ([0, 1], ImageNet mean and
    deviation), `half` ([0, 1] minus 0.5 over 0.5) or `raw` ([0, 1]). `size` (H, W) resizes first, on 8-bit
    RGB and back to 8 bits, as STT, VFS and DINO do with OpenCV (`INTER_LINEAR`: bilinear,
    align_corners=False, no anti-aliasing; OpenCV's fixed-point weights may differ by one level). `device` is
    where the work is done and where the result lies; by default where the frames are. `ValueError` for
    another dtype, shape or colour.
    """
    conversion = _CONVERSIONS.get(colour) if isinstance(colour, str) else None
    if conversion is None:
        raise ValueError(f"colour {colour!r} is not known; use one of {', '.join(COLOURS)}")
    frames = torch.as_tensor(frames_BHW3)
    if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(
            f"frames must be uint8 RGB of shape (B, h, w, 3), got {frames.dtype} of {tuple(frames.shape)}"
        )
    frames = frames.to(device) if device is not None else frames
    planes = frames.permute(0, 3, 1, 2)
    if size is not None and tuple(planes.shape[-2:]) != tuple(size):
        planes = resize_bilinear(planes, size)
    return conversion(planes.contiguous())


def drop_channel(frames_B3HW: torch.Tensor, channel: int) -> torch.Tensor:
    """A copy with `channel` zero and the two others multiplied by 1.5, so that the input's expected sum is kept.

    Colour dropout after MAST (Lai, Lu & Xie, CVPR 2020), with weights as in STT's released code.
    """
    dropped = frames_B3HW * 1.5
    dropped[:, channel] = 0
    return dropped


def resize_bilinear(planes_BCHW: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """uint8 (B, C, h, w) to uint8 (B, C, H, W): bilinear, half-pixel centres, no anti-aliasing, rounded."""
    resized = F.interpolate(
        planes_BCHW.float(), size=tuple(size), mode="bilinear", align_corners=False, antialias=False
    )
    return resized.add_(0.5).clamp_(0, 255).to(torch.uint8)


def rgb_to_lab(planes_B3HW: torch.Tensor) -> torch.Tensor:
    """CIE Lab float32 (B, 3, H, W), L in [0, 100], of uint8 sRGB: scikit-image's `rgb2lab` to 1e-4."""
    device = planes_B3HW.device
    # 8-bit input has 256 levels: a table replaces the power of 2.4 for every pixel.
    linear = _LINEAR.to(torch.float32).to(device)[planes_B3HW.long()]
    matrix = _XYZ_FROM_RGB.to(torch.float32).to(device)
    xyz = torch.einsum("rc,bchw->brhw", matrix, linear)
    small = xyz * 7.787 + 16.0 / 116.0
    f = torch.where(xyz > 0.008856, xyz.clamp_(min=1e-12).pow_(1.0 / 3.0), small)
    lab = torch.empty_like(f)
    torch.mul(f[:, 1], 116.0, out=lab[:, 0]).sub_(16.0)
    torch.sub(f[:, 0], f[:, 1], out=lab[:, 1]).mul_(500.0)
    torch.sub(f[:, 1], f[:, 2], out=lab[:, 2]).mul_(200.0)
    return lab


def lab_input(planes_B3HW: torch.Tensor) -> torch.Tensor:
    """STT's network input: Lab minus (50, 0, 0) over (50, 127, 127), float32 (B, 3, H, W) of uint8 RGB."""
    return _normalise(rgb_to_lab(planes_B3HW), _LAB_MEAN, _LAB_STD)


def _normalise(planes: torch.Tensor, mean: tuple[float, ...], deviation: tuple[float, ...]) -> torch.Tensor:
    shape = (1, len(mean), 1, 1)
    return planes.sub_(planes.new_tensor(mean).view(shape)).div_(planes.new_tensor(deviation).view(shape))


def _rgb_input(planes: torch.Tensor) -> torch.Tensor:
    return _normalise(planes.float().div_(255), _IMAGENET_MEAN, _IMAGENET_STD)


def _half_input(planes: torch.Tensor) -> torch.Tensor:
    return _normalise(planes.float().div_(255), (0.5,) * 3, (0.5,) * 3)


def _raw_input(planes: torch.Tensor) -> torch.Tensor:
    return planes.float().div_(255)


_CONVERSIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "lab": lab_input,
    "rgb": _rgb_input,
    "half": _half_input,
    "raw": _raw_input,
}

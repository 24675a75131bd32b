"""The photographs that scikit-image ships in its package, and surfaces cut from them.

All are free to use: astronaut (NASA, public domain); chelsea, coffee, brick, grass, gravel, camera and
motorcycle (CC0); coins, horse, ihc and moon (no known restrictions). Only PNG files are used, which every
decoder reads alike. Nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from PIL import Image
from scipy import ndimage

from corrbench.datasets.rendering_sampling import bilinear

PHOTOS = {
    "astronaut": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    "brick": "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
    "camera": "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
    "chelsea": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    "coffee": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "coins": "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba",
    "grass": "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
    "gravel": "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12",
    "horse": "c7fb60789fe394c485f842291ea3b21e50d140f39d6dcb5fb9917cc178225455",
    "ihc": "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef",
    "moon": "78739619d11f7eb9c165bb5d2efd4772cee557812ec847532dbb1d92ef71f577",
    "motorcycle_left": "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
}

Colour = tuple[float, float, float]


@cache
def photo(name: str) -> np.ndarray:
    """A photograph as float32 `(h, w, 3)`, 0 to 255 (grey ones have three equal channels)."""
    file = resources.files("skimage").joinpath(f"data/{name}.png")
    data = file.read_bytes() if file.is_file() else b""
    if hashlib.sha256(data).hexdigest() != PHOTOS[name]:
        raise ValueError(
            f"{file}: not the photograph that the synthetic benchmark is rendered from (scikit-image 0.24 to "
            "0.26 ship it in their wheels); reinstall scikit-image"
        )
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"), np.float32)


def resized(pixels: np.ndarray, scale: float) -> np.ndarray:
    """Pixels `(h, w, C)` scaled, low-pass filtered before shrinking."""
    if scale < 1:
        sigma = 0.45 * (1 / scale**2 - 1) ** 0.5
        pixels = ndimage.gaussian_filter(pixels, (sigma, sigma, 0))
    h, w = round(pixels.shape[0] * scale), round(pixels.shape[1] * scale)
    y, x = np.meshgrid((np.arange(h) + 0.5) / scale - 0.5, (np.arange(w) + 0.5) / scale - 0.5, indexing="ij")
    channels = np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32)
    return bilinear(channels, x, y, mirror=True)


def tinted(pixels: np.ndarray, dark: Colour, bright: Colour, contrast: float = 1.0) -> np.ndarray:
    """A grey photograph's tones `(h, w, 1)` spread between two colours."""
    grey = pixels[..., 0].astype(np.float64)
    middle = (
        round(float(grey.mean()) * 64) / 64
    )  # how numpy sums differs between versions: drop the last digits
    tone = np.clip(0.5 + contrast * (grey - middle) / 128.0, 0.0, 1.0)[..., None]
    return np.asarray(dark) * (1 - tone) + np.asarray(bright) * tone


@dataclass(frozen=True, eq=False)
class Surface:
    """A photograph on an object's plane: `channels` float32 `(3, h, w)`, `centre` the texel at the plane's origin."""

    channels: np.ndarray
    centre: tuple[float, float]

    def at(self, ux: np.ndarray, uy: np.ndarray) -> np.ndarray:
        """Colours at plane points, float32 `(..., 3)`; bilinear, mirrored at the borders."""
        return bilinear(self.channels, ux + self.centre[0], uy + self.centre[1], mirror=True)


@cache
def surface(
    name: str,
    scale: float = 1.0,
    centre: tuple[float, float] | None = None,
    tint: tuple[Colour, Colour] | None = None,
    contrast: float = 1.0,
    gain: Colour = (1.0, 1.0, 1.0),
) -> Surface:
    """The photograph `name`, scaled; `centre` in the photograph's own pixels (its middle by default)."""
    pixels = photo(name)
    if tint is not None:
        assert np.array_equal(pixels[..., 0], pixels[..., 2]), f"{name} is not grey"
        pixels = tinted(resized(pixels[..., :1], scale), *tint, contrast)
    else:
        pixels = resized(pixels, scale)
    pixels = np.clip(pixels * np.asarray(gain), 0, 255)
    h, w = pixels.shape[:2]
    at = (w / 2, h / 2) if centre is None else (centre[0] * scale, centre[1] * scale)
    return Surface(np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32), at)

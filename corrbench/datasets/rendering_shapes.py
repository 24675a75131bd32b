"""Outlines of objects as signed maps: pixels to the outline, positive inside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from corrbench.datasets.rendering_sampling import bilinear

Point = tuple[float, float]


@dataclass(frozen=True)
class Capsule:
    """A tapered limb from the plane's origin to (0, length), with a radius at either end."""

    length: float
    start: float
    end: float

    def inside(self, ux: np.ndarray, uy: np.ndarray) -> np.ndarray:
        along = np.clip(uy / self.length, 0.0, 1.0)
        return (
            self.start + (self.end - self.start) * along - np.sqrt(ux * ux + (uy - along * self.length) ** 2)
        )

    def box(self) -> tuple[float, float, float, float]:
        r = max(self.start, self.end)
        return -r, -r, r, self.length + r


@dataclass(frozen=True, eq=False)
class Outline:
    """A signed map float32 on a grid of one plane pixel; `origin` is the plane point of its first cell."""

    signed: np.ndarray
    origin: Point

    def inside(self, ux: np.ndarray, uy: np.ndarray) -> np.ndarray:
        return bilinear(self.signed[None], ux - self.origin[0], uy - self.origin[1], mirror=False)[..., 0]

    def box(self) -> tuple[float, float, float, float]:
        h, w = self.signed.shape
        return self.origin[0], self.origin[1], self.origin[0] + w - 1, self.origin[1] + h - 1


Shape = Capsule | Outline


def signed_map(inside: np.ndarray, smooth: float = 1.2) -> np.ndarray:
    """Signed distance of a boolean grid, smoothed so that the outline has no stairs."""
    distance = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    return ndimage.gaussian_filter(distance.astype(np.float64), smooth).astype(np.float32)


def closed_curve(points: Sequence[Point], steps: int = 8) -> np.ndarray:
    """A Catmull-Rom curve through the points, closed: `(n, 2)`."""
    p = np.asarray(points, np.float64)
    before, after, beyond = np.roll(p, 1, 0), np.roll(p, -1, 0), np.roll(p, -2, 0)
    t = (np.arange(steps) / steps)[:, None, None]
    curve = 0.5 * (
        2 * p
        + (after - before) * t
        + (2 * before - 5 * p + 4 * after - beyond) * t * t
        + (3 * p - before - 3 * after + beyond) * t * t * t
    )
    return curve.transpose(1, 0, 2).reshape(-1, 2)


def from_points(points: Sequence[Point] | np.ndarray, smooth: float = 1.2, margin: int = 6) -> Outline:
    """The inside of a closed polygon (even-odd rule)."""
    p = np.asarray(points, np.float64)
    x0, y0 = (math.floor(v) - margin for v in p.min(0))
    x1, y1 = (math.ceil(v) + margin for v in p.max(0))
    x = np.arange(x0, x1 + 1, dtype=np.float64)[None, :]
    y = np.arange(y0, y1 + 1, dtype=np.float64)[:, None]
    inside = np.zeros((y.shape[0], x.shape[1]), bool)
    for (ax, ay), (bx, by) in zip(p, np.roll(p, -1, 0), strict=True):
        if ay == by:
            continue
        crossed = (ay > y) != (by > y)
        inside ^= crossed & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    return Outline(signed_map(inside, smooth), (x0, y0))


def blob(radius: float, draws: np.ndarray, roughness: float = 0.25, stretch: float = 1.0) -> Outline:
    """A smooth random closed shape; `draws` are ten uniform numbers."""
    angles = np.arange(96) * (2 * math.pi / 96)
    r = np.ones(96)
    for k in range(2, 7):
        r += roughness / (k - 0.6) * (draws[k - 2] - 0.2) * np.cos(k * angles + 2 * math.pi * draws[k + 3])
    return from_points(
        np.stack([radius * stretch * r * np.cos(angles), radius / stretch * r * np.sin(angles)], 1)
    )


def ellipse(width: float, height: float) -> Outline:
    """An ellipse with these half axes."""
    angles = np.arange(96) * (2 * math.pi / 96)
    return from_points(np.stack([width * np.cos(angles), height * np.sin(angles)], 1))


def bar(width: float, height: float) -> Outline:
    """An upright rectangle with these half sides."""
    return from_points([(-width, -height), (width, -height), (width, height), (-width, height)])


def from_grid(inside: np.ndarray, scale: float) -> Outline:
    """A boolean picture as a shape around its centre, `scale` plane pixels a picture pixel."""
    signed = signed_map(np.pad(inside, 12))
    h, w = signed.shape
    height, width = round(h * scale), round(w * scale)
    y, x = np.meshgrid(np.arange(height) / scale, np.arange(width) / scale, indexing="ij")
    sampled = bilinear(signed[None], x, y, mirror=False)[..., 0] * np.float32(scale)
    return Outline(sampled, (-width / 2, -height / 2))

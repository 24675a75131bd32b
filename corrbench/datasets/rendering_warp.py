"""Motions of a plane with an exact inverse: affine maps, with smooth elastic waves on top.

An object lives in its own plane, coordinates u = (x, y) in pixels at scale 1 around its centre. A `Warp` says
where the plane lies in the image at one moment; a motion is a function of time (in frames) that returns a
`Warp`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

FIXED_POINT_STEPS = 24  # the waves contract by less than 0.5 a step: below 1e-5 pixels


@dataclass(frozen=True)
class Wave:
    """Displacement `amplitude * sin(frequency . p + phase)`, in pixels; `speed` moves the phase a frame."""

    amplitude: tuple[float, float]
    frequency: tuple[float, float]
    phase: float = 0.0
    speed: float = 0.0

    def __post_init__(self) -> None:
        steep = math.hypot(*self.amplitude) * math.hypot(*self.frequency)
        assert steep < 0.5, f"a wave of steepness {steep} folds"

    def at(self, time: float) -> Wave:
        return Wave(self.amplitude, self.frequency, self.phase + self.speed * time)


@dataclass(frozen=True)
class Warp:
    """image = matrix @ p + offset, with u = p + sum of the waves at p."""

    matrix: tuple[float, float, float, float]
    offset: tuple[float, float]
    waves: tuple[Wave, ...] = ()

    def to_plane(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Image points to plane points (exact)."""
        a, b, c, d = self.matrix
        determinant = a * d - b * c
        x, y = x - self.offset[0], y - self.offset[1]
        px, py = (d * x - b * y) / determinant, (a * y - c * x) / determinant
        dx, dy = self._waves(px, py)
        return px + dx, py + dy

    def to_image(self, ux: np.ndarray, uy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Plane points to image points; the waves are undone by fixed-point iteration."""
        px, py = ux, uy
        for _ in range(FIXED_POINT_STEPS if self.waves else 0):
            dx, dy = self._waves(px, py)
            px, py = ux - dx, uy - dy
        a, b, c, d = self.matrix
        return a * px + b * py + self.offset[0], c * px + d * py + self.offset[1]

    def scale(self) -> float:
        """Image pixels a plane pixel (geometric mean of both directions)."""
        a, b, c, d = self.matrix
        return math.sqrt(abs(a * d - b * c))

    def reach(self) -> float:
        """How far the waves can move a point, in plane pixels."""
        return sum(math.hypot(*wave.amplitude) for wave in self.waves)

    def after(self, inner: Warp) -> Warp:
        """This affine map after another one: plane -> inner -> image."""
        assert len(self.waves + inner.waves) == 0, "only affine maps can be chained"
        a, b, c, d = self.matrix
        e, f, g, h = inner.matrix
        x, y = inner.offset
        return Warp(
            (a * e + b * g, a * f + b * h, c * e + d * g, c * f + d * h),
            (a * x + b * y + self.offset[0], c * x + d * y + self.offset[1]),
        )

    def _waves(self, px: np.ndarray, py: np.ndarray) -> tuple[np.ndarray | float, np.ndarray | float]:
        dx: np.ndarray | float = 0.0
        dy: np.ndarray | float = 0.0
        for wave in self.waves:
            swing = np.sin(wave.frequency[0] * px + wave.frequency[1] * py + wave.phase)
            dx = dx + wave.amplitude[0] * swing
            dy = dy + wave.amplitude[1] * swing
        return dx, dy


def turned(
    angle: float, scale: float = 1.0, offset: tuple[float, float] = (0.0, 0.0), mirror: int = 1
) -> Warp:
    """Rotation by `angle` (radians, clockwise in the image), scaling, mirrored left-right for mirror=-1."""
    c, s = math.cos(angle) * scale, math.sin(angle) * scale
    return Warp((c * mirror, -s, s * mirror, c), offset)


@dataclass(frozen=True)
class Drift:
    """A motion: straight drift, sway, rotation, rocking, zoom, and elastic waves; angles in radians, times in frames."""

    start: tuple[float, float]
    velocity: tuple[float, float] = (0.0, 0.0)
    sway: tuple[float, float] = (0.0, 0.0)
    period: float = 16.0
    phase: float = 0.0
    angle: float = 0.0
    spin: float = 0.0
    rock: float = 0.0
    scale: float = 1.0
    zoom: float = 0.0
    squash: float = 0.0
    mirror: int = 1
    waves: tuple[Wave, ...] = ()

    def __call__(self, time: float) -> Warp:
        swing = math.sin(2 * math.pi * time / self.period + self.phase)
        rest = math.sin(self.phase)  # so that frame 0 starts at `start`, `angle` and `scale`
        x = self.start[0] + self.velocity[0] * time + self.sway[0] * (swing - rest)
        y = self.start[1] + self.velocity[1] * time + self.sway[1] * (swing - rest)
        turn = turned(
            self.angle + self.spin * time + self.rock * (swing - rest),
            self.scale * math.exp(self.zoom * time),
            mirror=self.mirror,
        )
        wide, high = math.exp(self.squash * (swing - rest)), math.exp(-self.squash * (swing - rest))
        a, b, c, d = turn.matrix
        return Warp((a * wide, b * high, c * wide, d * high), (x, y), tuple(w.at(time) for w in self.waves))

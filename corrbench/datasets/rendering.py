"""Layers of cut-out photographs, moved exactly, painted back to front: frames, masks, parts and optical flow."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from corrbench.datasets.rendering_photos import Surface
from corrbench.datasets.rendering_shapes import Shape
from corrbench.datasets.rendering_warp import Warp

Motion = Callable[[float], Warp]
BLUR_SAMPLES = 5
TIE_BIAS = 3e-4  # a mean of two whole numbers ends in .5 exactly: keep it off the rounding edge


@dataclass(frozen=True, eq=False)
class Layer:
    """A surface with an outline (None: fills the frame) and a motion.

    `label` is its object number (0: background, or an occluder that no label names), `part` its class number.
    `shade` darkens the last so many pixels towards the outline; `soft` is half the width of the edge; a layer
    that is not `solid` (a shadow) tints what lies below and owns no pixel.
    """

    surface: Surface
    motion: Motion
    shape: Shape | None = None
    label: int = 0
    part: int = 0
    shade: float = 0.0
    soft: float = 0.6
    opacity: float = 1.0
    solid: bool = True


@dataclass(frozen=True)
class Light:
    """Lighting over time: exposure and colour swings, a darkening drift, and a band of shadow that sweeps the frame."""

    swing: float = 0.0
    period: float = 20.0
    fade: float = 0.0
    warmth: float = 0.0
    band: float = 0.0
    band_width: float = 90.0
    band_speed: float = 6.0

    def gain(self, time: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Factor `(h, w, 3)`, or `(3,)` where it is the same everywhere, at pixels x, y."""
        swing = math.sin(2 * math.pi * time / self.period)
        level = math.exp(self.swing * swing - self.fade * time)
        colour = np.asarray([1 + self.warmth * swing, 1.0, 1 - self.warmth * swing], np.float32)
        if self.band == 0:
            return np.float32(level) * colour
        wave = np.sin((0.8 * x + 0.6 * y - self.band_speed * time) * (math.pi / self.band_width))
        shadow = 1 - self.band * np.clip(wave * 2 - 0.4, 0, 1)
        return (level * shadow).astype(np.float32)[..., None] * colour


@dataclass(frozen=True, eq=False)
class Scene:
    """What is rendered: layers back to front, `size` (h, w), `frames`, lighting, shutter (0 to 1 frames), noise."""

    name: str
    size: tuple[int, int]
    frames: int
    layers: tuple[Layer, ...]
    light: Light = Light()
    shutter: float = 0.0
    noise: float = 2.0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Frame:
    """`image` uint8 `(h, w, 3)`; `mask` object numbers, `parts` class numbers, uint8 `(h, w)`."""

    image: np.ndarray
    mask: np.ndarray
    parts: np.ndarray


def render_frame(scene: Scene, t: int) -> Frame:
    """Frame t. Masks are those of the moment t, also where the shutter blurs the image around it."""
    h, w = scene.size
    x, y = _pixels(scene)
    samples = BLUR_SAMPLES if scene.shutter > 0 else 1
    image = np.zeros((h, w, 3), np.float32)
    top = np.zeros((h, w), np.int16)
    for s in range(samples):
        middle = s == samples // 2
        moment = t + scene.shutter * (s - samples // 2) / samples
        image += _paint(scene, moment, x, y, top if middle else None)
    image *= scene.light.gain(t, x, y) / np.float32(samples)
    image += np.float32(scene.noise) * _noise(scene.seed * 1000 + t, image.shape)
    labels = np.asarray([layer.label for layer in scene.layers], np.uint8)
    parts = np.asarray([layer.part for layer in scene.layers], np.uint8)
    rounded = np.clip(np.floor(image + np.float32(0.5 + TIE_BIAS)), 0, 255).astype(np.uint8)
    return Frame(rounded, labels[top], parts[top])


def _pixels(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    h, w = scene.size
    x, y = np.meshgrid(np.arange(w, dtype=np.float64), np.arange(h, dtype=np.float64))
    return x, y


def top_layers(scene: Scene, time: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Number of the front-most solid layer at each image point."""
    top = np.zeros(x.shape, np.int16)
    for number, layer in enumerate(scene.layers):
        if layer.shape is None or not layer.solid:
            continue
        warp = layer.motion(time)
        near = _near(layer, warp, x, y)
        if near.any():
            inside = layer.shape.inside(*warp.to_plane(x[near], y[near])) > 0
            top[near] = np.where(inside, np.int16(number), top[near])
    return top


def flow(scene: Scene, t: int, later: int) -> tuple[np.ndarray, np.ndarray]:
    """Optical flow from frame t to frame `later`: float32 `(h, w, 2)` (x, y) pixels, and where it is visible there.

    A pixel is visible when its surface point lies inside the later frame and on the front-most layer.
    """
    h, w = scene.size
    x, y = _pixels(scene)
    top = top_layers(scene, t, x, y)
    to_x, to_y = x.copy(), y.copy()
    for number in np.unique(top):
        on, layer = top == number, scene.layers[number]
        to_x[on], to_y[on] = layer.motion(later).to_image(*layer.motion(t).to_plane(x[on], y[on]))
    visible = (to_x >= 0) & (to_x <= w - 1) & (to_y >= 0) & (to_y <= h - 1)
    visible &= top_layers(scene, later, to_x, to_y) == top
    return np.stack([to_x - x, to_y - y], -1).astype(np.float32), visible


def _paint(scene: Scene, time: float, x: np.ndarray, y: np.ndarray, top: np.ndarray | None) -> np.ndarray:
    """The layers painted over each other, float32 `(h, w, 3)`; notes the front-most solid ones in `top`."""
    canvas = np.zeros((*x.shape, 3), np.float32)
    for number, layer in enumerate(scene.layers):
        warp = layer.motion(time)
        rows, columns = _window(layer, warp, x.shape)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        ux, uy = warp.to_plane(x[rows, columns], y[rows, columns])
        if layer.shape is None:
            canvas[rows, columns] = layer.surface.at(ux, uy)
            continue
        depth = layer.shape.inside(ux, uy)
        if top is not None and layer.solid:
            top[rows, columns][depth > 0] = number
        cover = np.clip(0.5 + depth * warp.scale() / (2 * layer.soft), 0, 1).astype(np.float32)
        cover = (cover * np.float32(layer.opacity))[..., None]
        colour = layer.surface.at(ux, uy)
        if layer.shade > 0:
            round_off = np.clip(depth / layer.shade, 0, 1)
            colour *= (0.55 + 0.45 * round_off * (2 - round_off)).astype(np.float32)[..., None]
        canvas[rows, columns] += (colour - canvas[rows, columns]) * cover
    return canvas


def _corners(layer: Layer, warp: Warp) -> tuple[float, float, float, float]:
    """Bounding box in the image of a layer's outline, waves and soft edge included."""
    assert layer.shape is not None
    x0, y0, x1, y1 = layer.shape.box()
    m = warp.reach() + 2 * layer.soft + 2
    cx = np.asarray([x0 - m, x1 + m, x0 - m, x1 + m])
    cy = np.asarray([y0 - m, y0 - m, y1 + m, y1 + m])
    px, py = Warp(warp.matrix, warp.offset).to_image(cx, cy)
    return float(px.min()), float(py.min()), float(px.max()), float(py.max())


def _near(layer: Layer, warp: Warp, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x0, y0, x1, y1 = _corners(layer, warp)
    return (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)


def _window(layer: Layer, warp: Warp, size: tuple[int, ...]) -> tuple[slice, slice]:
    if layer.shape is None:
        return slice(0, size[0]), slice(0, size[1])
    x0, y0, x1, y1 = _corners(layer, warp)
    return (
        slice(max(0, math.floor(y0)), min(size[0], math.ceil(y1) + 1)),
        slice(max(0, math.floor(x0)), min(size[1], math.ceil(x1) + 1)),
    )


def uniform(seed: int, count: int) -> np.ndarray:
    """Uniform numbers in [0, 1) from PCG64's raw bits, which numpy keeps the same for ever (its `random` it may not)."""
    return (np.random.PCG64(seed).random_raw(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _noise(seed: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Triangular noise of standard deviation 1: the sum of two of the six ten-bit pieces of a random word."""
    h, w, channels = shape
    raw = np.random.PCG64(seed).random_raw(h * w)
    out = np.empty((h * w, channels), np.float32)
    for c in range(channels):
        pieces = (raw >> np.uint64(20 * c)).astype(np.uint32)
        out[:, c] = (pieces & np.uint32(1023)) + (pieces >> np.uint32(10) & np.uint32(1023))
    out -= np.float32(1023)
    out *= np.float32(1 / math.sqrt((1024**2 - 1) / 6))
    return out.reshape(shape)

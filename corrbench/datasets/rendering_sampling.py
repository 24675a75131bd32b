"""Bilinear sampling in numpy: exact single operations, so that every machine gets the same bits."""

from __future__ import annotations

import numpy as np


def bilinear(channels: np.ndarray, x: np.ndarray, y: np.ndarray, mirror: bool) -> np.ndarray:
    """`channels` float32 `(C, h, w)` at points x, y (texels): float32 `(..., C)`.

    Beyond the border the texture is mirrored, or repeats its last texel where `mirror` is False.
    """
    count, h, w = channels.shape
    left, top = np.floor(x), np.floor(y)
    across, down = (x - left).astype(np.float32), (y - top).astype(np.float32)
    x0, y0 = left.astype(np.int32), top.astype(np.int32)
    fold = _mirrored if mirror else _clamped
    x1, y1 = fold(x0 + 1, w), fold(y0 + 1, h) * np.int32(w)
    x0, y0 = fold(x0, w), fold(y0, h) * np.int32(w)
    corners = y0 + x0, y0 + x1, y1 + x0, y1 + x1
    out = np.empty((*x.shape, count), np.float32)
    for c in range(count):
        texels = channels[c].ravel()
        a, b, below_a, below_b = (texels.take(corner) for corner in corners)
        a += (b - a) * across
        below_a += (below_b - below_a) * across
        a += (below_a - a) * down
        out[..., c] = a
    return out


def _mirrored(index: np.ndarray, count: int) -> np.ndarray:
    if index.size == 0 or (index.min() >= 0 and index.max() < count):
        return index
    period = np.int32(2 * (count - 1))
    index = np.mod(index, period)
    return np.minimum(index, period - index)


def _clamped(index: np.ndarray, count: int) -> np.ndarray:
    return np.clip(index, 0, count - 1)

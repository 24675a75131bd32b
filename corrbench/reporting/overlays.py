"""Predictions drawn over frames: a few stills and a strip of small frames, as WebP. NumPy and Pillow only.

Masks and parts are filled and outlined in the colour of their id, the annotation is a white line. Joints
are dots, joined where the body joins them; a line leads from each to its annotated place, which is a
white ring.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Sequence as Many
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from corrbench.reporting.svg import PALETTE

STILL, STRIP = 420, 240  # widths in pixels
FRAMES = 14
# joined joints of JHMDB's puppet; joints of other sets that are numbered ("tail 0", "tail 3") are joined
# in order
BONES = (
    ("neck", "face"), ("neck", "belly"), ("neck", "right shoulder"), ("neck", "left shoulder"),
    ("right shoulder", "right elbow"), ("right elbow", "right wrist"), ("left shoulder", "left elbow"),
    ("left elbow", "left wrist"), ("belly", "right hip"), ("belly", "left hip"), ("right hip", "right knee"),
    ("right knee", "right ankle"), ("left hip", "left knee"), ("left knee", "left ankle"),
)  # fmt: skip


def stills(sequence: Any, prediction: np.ndarray) -> tuple[tuple[str, bytes], ...]:
    """First, middle and last frame with the prediction over it: (title, WebP) each."""
    last = len(sequence) - 1
    picked = {"first frame (given)": 0, f"frame {last // 2}": last // 2, f"last frame ({last})": last}
    return tuple((title, webp(draw(sequence, prediction, t, STILL), 72)) for title, t in picked.items())


def strip(sequence: Any, prediction: np.ndarray, frames: int = FRAMES) -> tuple[bytes, int, tuple[int, int]]:
    """Frames spread over the sequence, one below the other: WebP, how many, and the size (h, w) of one."""
    picked = np.unique(np.linspace(0, len(sequence) - 1, min(frames, len(sequence))).round().astype(int))
    drawn = [np.asarray(draw(sequence, prediction, int(t), STRIP)) for t in picked]
    return webp(Image.fromarray(np.concatenate(drawn)), 58), len(drawn), drawn[0].shape[:2]


def draw(sequence: Any, prediction: np.ndarray, t: int, width: int) -> Image.Image:
    """Frame t, `width` pixels wide, with masks uint8 (T, h, w) or joints float (T, J, 2) over it."""
    h, w = sequence.size
    size = (width, max(1, round(h * width / w)))
    picture = Image.fromarray(sequence.frame(t)).resize(size, Image.Resampling.BILINEAR)
    if prediction.ndim == 3 and prediction.shape[-1] == 2 and prediction.dtype.kind == "f":
        return _joints(picture, prediction[t], sequence.label(t), sequence.objects, width / w)
    return _masks(picture, prediction[t], sequence.label(t))


def webp(picture: Image.Image, quality: int) -> bytes:
    """The picture as lossy WebP."""
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()


def bones(names: Many[str]) -> tuple[tuple[int, int], ...]:
    """Pairs of joints to join: JHMDB's, and neighbours among joints named alike with rising numbers."""
    place = {name: i for i, name in enumerate(names)}
    found = [(place[a], place[b]) for a, b in BONES if a in place and b in place]
    families: dict[str, list[tuple[int, int]]] = {}
    for name, i in place.items():
        match = re.fullmatch(r"(.*?)\s*(\d+)", name)
        if match:
            families.setdefault(match[1], []).append((int(match[2]), i))
    for family in families.values():
        found += [(a, b) for (_, a), (_, b) in itertools.pairwise(sorted(family))]
    return tuple(found)


def side_colour(name: str) -> tuple[int, int, int]:
    """Left joints in orange, right ones in blue, the others in green."""
    return _rgb(PALETTE[1] if "left" in name else PALETTE[0] if "right" in name else PALETTE[2])


def _masks(picture: Image.Image, mask: np.ndarray, truth: np.ndarray | None) -> Image.Image:
    ids = np.asarray(Image.fromarray(mask).resize(picture.size, Image.Resampling.NEAREST))
    pixels = np.asarray(picture).astype(np.float32)
    colours = np.array([_rgb(PALETTE[(i - 1) % len(PALETTE)]) for i in range(256)], np.float32)
    inside, edge = (ids > 0) & (ids < 255), _edges(ids)
    pixels[inside] = 0.5 * pixels[inside] + 0.5 * colours[ids[inside]]
    pixels[edge & inside] = colours[ids[edge & inside]]
    if truth is not None:
        known = np.where(truth == 255, 0, truth).astype(np.uint8)
        small = np.asarray(Image.fromarray(known).resize(picture.size, Image.Resampling.NEAREST))
        pixels[_edges(small) & (small > 0)] = 255
    return Image.fromarray(pixels.round().astype(np.uint8))


def _joints(
    picture: Image.Image, xy: np.ndarray, truth: np.ndarray | None, names: Many[str], scale: float
) -> Image.Image:
    large = picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.BILINEAR)  # smooth lines
    pen = ImageDraw.Draw(large)
    there = (xy >= 0).all(axis=1) & np.isfinite(xy).all(axis=1)
    at = (xy + 0.5) * 2 * scale
    for a, b in bones(names):
        if there[a] and there[b]:
            pen.line([tuple(at[a]), tuple(at[b])], fill=(235, 235, 235), width=3)
    for i, name in enumerate(names):
        goal = None if truth is None or not np.isfinite(truth[i]).all() else (truth[i] + 0.5) * 2 * scale
        if goal is not None:
            pen.ellipse(_around(goal, 6), outline=(255, 255, 255), width=2)
        if there[i]:
            if goal is not None:
                pen.line([tuple(at[i]), tuple(goal)], fill=side_colour(name), width=2)
            pen.ellipse(_around(at[i], 5), fill=side_colour(name), outline=(0, 0, 0))
    return large.resize(picture.size, Image.Resampling.LANCZOS)


def _edges(ids: np.ndarray) -> np.ndarray:
    """Pixels whose right or lower neighbour has another id, and those neighbours."""
    edge = np.zeros(ids.shape, bool)
    down, right = ids[1:] != ids[:-1], ids[:, 1:] != ids[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge


def _around(point: np.ndarray, radius: int) -> tuple[float, float, float, float]:
    return (point[0] - radius, point[1] - radius, point[0] + radius, point[1] + radius)


def _rgb(words: str) -> tuple[int, int, int]:
    return int(words[1:3], 16), int(words[3:5], 16), int(words[5:7], 16)

"""More video for training than there is: photographs that move by a made-up motion, and mixtures of data sets."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from corrbench.datasets.rendering_sampling import bilinear
from corrbench.datasets.unlabelled import Photos
from corrbench.registry import DATASETS, build

BENDS = 4  # control points a side of the bending


@DATASETS.register_module()
class MovingPhotos:
    """Each photograph below `folders` as a video of `frames` frames: a smooth motion of the whole image, drawn from `seed`.

    From the first frame to the last it turns by up to `turn` degrees, grows or shrinks by a factor of up to `zoom`, moves by
    up to `shift` and bends by about `bend` (both times the short side). Each frame has a noise of its own, of
    standard deviation `noise` in levels of 255. What lies beyond the border is its reflection. Nothing is drawn again:
    the same frame is the same pixels every time.
    """

    kind = "videos"

    def __init__(
        self,
        folders: Sequence[str],
        root: str | None = None,
        side: int | None = None,
        frames: int = 16,
        turn: float = 20.0,
        zoom: float = 1.3,
        shift: float = 0.25,
        bend: float = 0.03,
        noise: float = 2.0,
        seed: int = 0,
    ) -> None:
        if frames < 2 or zoom < 1:
            raise ValueError(f"MovingPhotos: frames {frames} must be 2 or more, and zoom {zoom} 1 or more")
        self.photos = Photos(folders, root, side)
        self.name = f"{self.photos.name} (moving)"
        self.length, self.turn, self.zoom, self.shift = frames, turn, zoom, shift
        self.bend, self.noise, self.seed = bend, noise, seed
        self._photo = lru_cache(maxsize=64)(self.photos.read)

    def __len__(self) -> int:
        return len(self.photos)

    def frames(self, video: int) -> int:
        """How many frames a video has."""
        return self.length

    def read(self, video: int, frame: int) -> np.ndarray:
        """Frame of a video as uint8 (h, w, 3) RGB."""
        photo = self._photo(video)
        h, w = photo.shape[:2]
        y, x = self.places(video, frame, (h, w))
        channels = photo.transpose(2, 0, 1).astype(np.float32)
        seen = bilinear(channels, _reflected(x, w), _reflected(y, h), mirror=False)
        draw = np.random.default_rng([self.seed, 1, video, frame])
        seen += self.noise * draw.standard_normal(photo.shape, np.float32)
        return np.clip(np.rint(seen), 0, 255).astype(np.uint8)

    def places(self, video: int, frame: int, size: Sequence[int]) -> np.ndarray:
        """(2, h, w): the row and column of the photograph that each pixel of a frame shows."""
        from scipy import ndimage

        draw = np.random.default_rng([self.seed, 0, video])
        turn, zoom, direction, distance = draw.uniform([-1, -1, 0, 0], [1, 1, 2 * math.pi, 1])
        bends_2BB = draw.uniform(-1, 1, (2, BENDS, BENDS))
        when = frame / (self.length - 1) - 0.5  # the photograph as it is in the middle of the video
        h, w = size
        short = min(h, w)
        y, x = np.meshgrid(np.arange(h) - (h - 1) / 2, np.arange(w) - (w - 1) / 2, indexing="ij")
        angle, scale = math.radians(self.turn) * turn * when, self.zoom ** (zoom * when)
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        moved = np.stack([cos * y + sin * x, cos * x - sin * y])
        step = self.shift * short * distance * when
        moved += (step * np.array([math.sin(direction), math.cos(direction)]))[:, None, None]
        control = np.meshgrid(*(np.linspace(0, BENDS - 1, n) for n in (h, w)), indexing="ij")
        for axis in range(2):
            bent = ndimage.map_coordinates(bends_2BB[axis], control, order=3, mode="nearest")
            moved[axis] += 2 * self.bend * short * when * bent
        return moved + np.array([(h - 1) / 2, (w - 1) / 2])[:, None, None]

    def digest(self) -> str:
        """sha256 of the photographs' digest and the motion's settings."""
        motion = [self.length, self.turn, self.zoom, self.shift, self.bend, self.noise, self.seed]
        return hashlib.sha256(f"{self.photos.digest()} {motion}".encode()).hexdigest()


def _reflected(at: np.ndarray, size: int) -> np.ndarray:
    """Pixel coordinates reflected about the edges of an axis of `size` pixels, and kept on their centres."""
    folded = np.mod(at + 0.5, 2 * size)
    return np.clip(np.minimum(folded, 2 * size - folded) - 0.5, 0, size - 1)


@DATASETS.register_module()
class MixedVideos:
    """Several data sets of videos as one, each as often in an epoch as `times` says (default: once)."""

    kind = "videos"

    def __init__(
        self, parts: Sequence[Mapping[str, Any]], times: Sequence[int] | None = None, root: str | None = None
    ) -> None:
        self.times = tuple(times or [1] * len(parts))
        if len(self.times) != len(parts) or not all(isinstance(n, int) and n > 0 for n in self.times):
            raise ValueError(
                f"MixedVideos: times {list(self.times)} must be one whole number above 0 for each of {len(parts)} parts"
            )
        below = {} if root is None else {"root": root}
        self.parts = tuple(build(DATASETS, dict(part) | below) for part in parts)
        self.name = " + ".join(part.name for part in self.parts)

    def __len__(self) -> int:
        return sum(n * len(part) for n, part in zip(self.times, self.parts, strict=True))

    def frames(self, video: int) -> int:
        """How many frames a video has."""
        part, number = self._find(video)
        return part.frames(number)

    def read(self, video: int, frame: int) -> np.ndarray:
        """Frame of a video as uint8 (h, w, 3) RGB."""
        part, number = self._find(video)
        return part.read(number, frame)

    def _find(self, video: int) -> tuple[Any, int]:
        """The part that a video is of, and its number in there."""
        left = video
        for n, part in zip(self.times, self.parts, strict=True):
            if left < n * len(part):
                return part, left % len(part)
            left -= n * len(part)
        raise IndexError(video)

    def digest(self) -> str:
        """sha256 of the parts' digests and how often each comes."""
        parts = [(n, part.digest()) for n, part in zip(self.times, self.parts, strict=True)]
        return hashlib.sha256(repr(parts).encode()).hexdigest()

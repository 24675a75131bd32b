"""A sequence: frames, the labels of the frames that have one, and the names of what is labelled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from corrbench.datasets.images import read_image, read_index_mask


@dataclass(frozen=True, eq=False)
class Sequence:
    """One video of a data set, read lazily, and strictly: every frame and mask must have the sequence's size.

    `frames` are image files or decoded frames, uint8 `(T, h, w, 3)` RGB. `labels` has an entry a frame: a
    mask file (read by `read_label`), or a decoded label, or None where the frame is not annotated; an array
    `(T, ...)` will do. `objects` names what is labelled: object ids "1", "2", ... (an object's index value is
    its place + 1), joint names, or class names. `extra` holds what one task alone needs (mask areas,
    visibility, ...).
    """

    name: str
    frames: tuple[Path, ...] | np.ndarray
    size: tuple[int, int]
    labels: tuple[Path | np.ndarray | None, ...] | np.ndarray
    objects: tuple[str, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)
    read_label: Callable[[Path, tuple[int, int]], np.ndarray] = read_index_mask

    def __post_init__(self) -> None:
        if len(self.frames) != len(self.labels):
            raise ValueError(
                f"{self.name}: {len(self.frames)} frames but {len(self.labels)} labels; "
                "give one label a frame, None where a frame is not annotated"
            )

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def frame_names(self) -> tuple[str, ...]:
        """What each frame is called: its file's name without ending, or 00000, 00001, ... for decoded frames."""
        return tuple(f.stem if isinstance(f, Path) else f"{t:05d}" for t, f in enumerate(self.frames))

    def frame(self, t: int) -> np.ndarray:
        """Frame t as uint8 `(h, w, 3)` RGB; `ValueError` naming the file where it cannot be read exactly."""
        frame = self.frames[self._checked(t)]
        return read_image(frame, self.size) if isinstance(frame, Path) else frame

    def label(self, t: int) -> np.ndarray | None:
        """Label of frame t: uint8 mask `(h, w)`, or float32 `(J, 2)` xy pixels, or None (not annotated)."""
        label = self.labels[self._checked(t)]
        return self.read_label(label, self.size) if isinstance(label, Path) else label

    def _checked(self, t: int) -> int:
        if not 0 <= t < len(self):
            raise IndexError(f"{self.name} has the frames 0 to {len(self) - 1}, not {t}")
        return t


def read_frames(sequence: Sequence, frames: Iterable[int] | None = None, threads: int = 2) -> np.ndarray:
    """Frames (all of them, or those numbers) as uint8 `(T, h, w, 3)`, decoded in `threads` threads."""
    numbers = list(range(len(sequence)) if frames is None else frames)
    out = np.empty((len(numbers), *sequence.size, 3), np.uint8)

    def decode(place: int) -> None:
        out[place] = sequence.frame(numbers[place])

    if threads <= 1 or len(numbers) <= 1:
        for place in range(len(numbers)):
            decode(place)
    else:
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(decode, range(len(numbers))):
                pass
    return out

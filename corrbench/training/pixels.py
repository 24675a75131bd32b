"""Decoded images in memory, and crops of them as padded batches: the CPU's half of the data path."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from corrbench.training.augment import Box

KEEP_MIB = 8192
THREADS = min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)

Key = tuple[int, ...]


class Pixels:
    """Images by key, decoded once and kept as long as `keep_mib` lasts; the others are decoded again, in threads.

    Decoding releases the interpreter lock, so threads of one process do; nothing is pickled or copied between processes.
    """

    def __init__(self, read: Callable[..., np.ndarray], keep_mib: int = KEEP_MIB) -> None:
        self.read = read
        self.left = keep_mib * 2**20
        self.kept: dict[Key, np.ndarray] = {}

    def get(self, keys: Sequence[Key]) -> list[np.ndarray]:
        """The images of `keys`, uint8 (h, w, 3) each, in that order."""
        missing = sorted({key for key in keys if key not in self.kept})
        fresh: dict[Key, np.ndarray] = {}
        if missing:
            found = _pool().map(lambda key: self.read(*key), missing)
            fresh = dict(zip(missing, found, strict=True))
            for key, image in fresh.items():
                if image.nbytes <= self.left:
                    self.left -= image.nbytes
                    self.kept[key] = image
        return [fresh[key] if key in fresh else self.kept[key] for key in keys]


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="decode")


@functools.lru_cache(maxsize=4)
def shared(dataset: object) -> Pixels:
    """The one store of a data set object, so that its images are decoded once however many stages use it."""
    return Pixels(dataset.read)  # type: ignore[attr-defined]


def check_one_size(images: Sequence[np.ndarray], name: str, video: int) -> None:
    """`ValueError` that names the data set and the video unless all of its frames have one size."""
    if len({image.shape for image in images}) > 1:
        raise ValueError(f"{name}: video {video} changes its frame size; remove it")


def cut(images: Sequence[np.ndarray], boxes: Sequence[Box]) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 (B, 3, H, W), the crops padded with zeros to the largest, and their sizes (B, 2)."""
    height, width = max(box[2] for box in boxes), max(box[3] for box in boxes)
    crops = np.zeros((len(boxes), 3, height, width), np.uint8)
    for place, (image, (top, left, h, w)) in enumerate(zip(images, boxes, strict=True)):
        crops[place, :, :h, :w] = image[top : top + h, left : left + w].transpose(2, 0, 1)
    return torch.from_numpy(crops), torch.tensor([box[2:] for box in boxes])

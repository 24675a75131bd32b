"""VIP: masks of human parts in videos of several people, the field's part propagation benchmark.

The release's own layout, of which the field uses `VIP_Fine`'s validation videos: `lists/val_videos.txt`,
`Images/<video>/*.jpg` and `Annotations/Category_ids/<video>/*.png`, where a frame and its mask share a
number. STT's code reads masks from `Annotations/<video>`, so that is taken too. The release holds every 25th
frame or so of each video, and all of them are annotated.
"""

from __future__ import annotations

from collections.abc import Sequence as Names
from functools import cached_property
from pathlib import Path

import numpy as np

from corrbench.datasets.davis import read_list
from corrbench.datasets.digests import combined, file_digests
from corrbench.datasets.images import image_size, read_index_mask
from corrbench.datasets.origins import ORIGINS
from corrbench.datasets.rendered import read_mark
from corrbench.datasets.roots import find_root
from corrbench.datasets.sequence import Sequence
from corrbench.registry import DATASETS
from corrbench.words import did_you_mean

CLASSES = (
    "background", "hat", "hair", "sun-glasses", "upper-clothes", "dress", "coat", "socks", "pants", "gloves",
    "scarf", "skirt", "torso-skin", "face", "right-arm", "left-arm", "right-leg", "left-leg", "right-shoe",
    "left-shoe",
)  # fmt: skip
IGNORE = 255


@DATASETS.register_module()
class VIP:
    """The videos of VIP_Fine's validation list that are on this machine; `official` is how many the list has.

    A sequence's `objects` are the 20 class names, background first: a class is its number. A rendered copy
    says synthetic.
    """

    kind = "parts"
    folder = "VIP"

    def __init__(self, root: str | Path | None = None, sequences: Names[str] | None = None) -> None:
        origin = ORIGINS[self.folder]
        self.root = find_root(self.folder, root)
        self.licence, self.citation, self.url = origin.licence, origin.citation, origin.url
        self.name = "VIP_Fine val"
        self.fine = self.root / "VIP_Fine"
        self.images = _existing(self.fine / "Images")
        masks = _existing(self.fine / "Annotations")
        self.masks = masks / "Category_ids" if (masks / "Category_ids").is_dir() else masks
        listed = read_list(self.fine / "lists" / "val_videos.txt")
        self.official = len(listed)
        there = tuple(name for name in listed if self._present(name))
        if not there:
            raise ValueError(
                f"{self.images}: none of the {len(listed)} videos of "
                f"{self.fine / 'lists' / 'val_videos.txt'} is here; unpack the images of VIP_Fine"
            )
        self.mark = read_mark(self.root)
        self.synthetic = self.mark is not None
        if self.mark is not None:
            self.name = self.mark.name
            self.licence, self.citation, self.url = self.mark.licence, self.mark.citation, self.mark.url
        self._names = there if sequences is None else _subset(there, sequences, self.name)

    def names(self) -> tuple[str, ...]:
        """The videos, in the order of the list."""
        return self._names

    def load(self, name: str) -> Sequence:
        """One video; labels are uint8 masks of class numbers, 255 where nothing is to be counted.

        `ValueError` for a frame without a mask, a mask without a frame, and (on reading it) a mask with a
        number that is no class.
        """
        if name not in self._names:
            raise ValueError(
                f"{name!r} is not a video of {self.name}.{did_you_mean(name, list(self._names))}"
            )
        frames, masks = self._pairs(name)
        return Sequence(name, frames, image_size(frames[0]), masks, CLASSES, read_label=read_part_mask)

    def digest(self) -> str:
        """sha256 over names, frame counts and the content of every mask and frame; not of order or place.

        A rendered benchmark counts by its pixels, which are the same everywhere; PNG encoders differ.
        """
        return self._digest

    @cached_property
    def _digest(self) -> str:
        if self.mark is not None:
            return combined(f"{name} {self.mark.content[name]}" for name in sorted(self._names))
        parts = []
        for name in sorted(self._names):
            frames, masks = self._pairs(name)
            parts.append(f"{name} {len(frames)} {combined(file_digests([*masks, *frames]))}")
        return combined(parts)

    def files(self, name: str) -> tuple[Path, ...]:
        """Every file that a video is read from: masks first, then frames."""
        frames, masks = self._pairs(name)
        return (*masks, *frames)

    def _present(self, name: str) -> bool:
        """Whether a video is here; `ValueError` where only its frames or only its masks are."""
        here = [folder / name for folder in (self.images, self.masks) if (folder / name).is_dir()]
        if len(here) == 1:
            lacking = (self.masks if here[0].parent == self.images else self.images) / name
            raise ValueError(
                f"{lacking}: this folder is missing, though {here[0]} is there; complete the copy"
            )
        return bool(here)

    def _pairs(self, name: str) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        """Frames and masks of a video by number."""
        frames = _files(self.images / name, (".jpg", ".png"), "frame")
        masks = _files(self.masks / name, (".png",), "mask")
        for stem in sorted(frames.keys() ^ masks.keys()):
            lacking, other = (self.masks, frames) if stem in frames else (self.images, masks)
            raise ValueError(f"{other[stem]}: has no counterpart in {lacking / name}; complete the copy")
        return tuple(frames.values()), tuple(masks[stem] for stem in frames)


def read_part_mask(path: Path, size: tuple[int, int]) -> np.ndarray:
    """A mask of class numbers, uint8 `(h, w)`; `ValueError` naming the file for a number that is no class."""
    mask = read_index_mask(path, size)
    highest = int(np.where(mask == IGNORE, 0, mask).max())
    if highest >= len(CLASSES):
        raise ValueError(
            f"{path}: holds the class {highest}, but VIP has {len(CLASSES)}, 0 to {len(CLASSES) - 1}, and "
            f"{IGNORE} for pixels left out; use the masks of Annotations/Category_ids"
        )
    return mask


def _files(folder: Path, endings: tuple[str, ...], role: str) -> dict[str, Path]:
    """Stem -> file, in the order of the stems."""
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in endings and not p.name.startswith("."))
    if not found:
        raise ValueError(f"{folder}: no {role} in it ({' or '.join(endings)}); complete the copy")
    stems = {path.stem: path for path in found}
    if len(stems) < len(found):
        raise ValueError(f"{folder}: holds a {role} in two formats; keep one")
    return stems


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise ValueError(f"{folder}: this folder of VIP_Fine is missing; complete the copy")
    return folder


def _subset(there: tuple[str, ...], wanted: Names[str], of: str) -> tuple[str, ...]:
    if isinstance(wanted, str) or not wanted:
        raise ValueError(f"sequences={wanted!r}: give a list of videos of {of}, or None for all")
    for name in wanted:
        if name not in there:
            raise ValueError(f"{name!r} is not a video of {of} here.{did_you_mean(name, list(there))}")
    return tuple(name for name in there if name in set(wanted))

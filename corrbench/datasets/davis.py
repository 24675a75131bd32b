"""DAVIS 2016 and 2017: video object segmentation, and everything else in DAVIS's own layout.

`JPEGImages/<resolution>/<sequence>/%05d.jpg`, `Annotations/<resolution>/<sequence>/%05d.png` (palette
indices: 0 background, 1.. objects, 255 void) and `ImageSets/<year>/<split>.txt` with a sequence name a line.
"""

from __future__ import annotations

import json
from collections.abc import Sequence as Names
from functools import cache, cached_property
from importlib import resources
from pathlib import Path

import numpy as np

from corrbench.datasets.digests import combined, file_digests
from corrbench.datasets.images import image_size, read_index_mask
from corrbench.datasets.origins import ORIGINS
from corrbench.datasets.rendered import read_mark
from corrbench.datasets.roots import find_root
from corrbench.datasets.sequence import Sequence
from corrbench.registry import DATASETS, did_you_mean

VOID = 255
FRAME_ENDINGS = (".jpg", ".png")


@DATASETS.register_module()
class DAVIS:
    """DAVIS of one `year` (2016: all objects of a frame are one), `split` (val, train) and `resolution`.

    `sequences` takes a subset of the split's list. Sequences keep the official order; `official` is how many
    the official list has, so that a copy with fewer shows. A list with a name that DAVIS does not have is
    called "own sequences in DAVIS layout". In a rendered folder the name says synthetic.
    """

    kind = "vos"
    folder = "DAVIS"

    def __init__(
        self,
        root: str | Path | None = None,
        year: int = 2017,
        split: str = "val",
        resolution: str = "480p",
        sequences: Names[str] | None = None,
    ) -> None:
        if (year, split) not in official_lists():
            known = ", ".join(f"{y} {s}" for y, s in official_lists())
            raise ValueError(f"DAVIS has annotations for {known}; not for year={year!r} split={split!r}")
        origin = ORIGINS[self.folder]
        self.root = find_root(self.folder, root)
        self.year, self.split, self.resolution = year, split, resolution
        self.licence, self.citation, self.url = origin.licence, origin.citation, origin.url
        self._frames = _existing(self.root / "JPEGImages" / resolution, resolution)
        self._masks = _existing(self.root / "Annotations" / resolution, resolution)
        listed, official = self._listed(), official_lists()[year, split]
        self.official = len(official)
        self.name = f"DAVIS-{year} {split}" + ("" if resolution == "480p" else f" {resolution}")
        self.mark = read_mark(self.root)
        self.synthetic = self.mark is not None
        if self.mark is not None:
            self.name, self.official = self.mark.name, len(self.mark.content)
            self.licence, self.citation, self.url = self.mark.licence, self.mark.citation, self.mark.url
        elif set(listed) <= set(official):
            listed = tuple(name for name in official if name in listed)
        else:
            self.name, self.official = "own sequences in DAVIS layout", len(listed)
        self._names = listed if sequences is None else _subset(listed, sequences, self.name)
        self._check_folders()

    def names(self) -> tuple[str, ...]:
        """Sequence names, in official order."""
        return self._names

    def load(self, name: str) -> Sequence:
        """One sequence; `ValueError` where its frames and masks are not all there, numbered 00000 onwards.

        `objects` are the ids 1 to the highest in the first mask, as the DAVIS evaluation counts them;
        `extra["absent"]` those among them that the first mask lacks, which nothing can propagate.
        """
        if name not in self._names:
            raise ValueError(
                f"{name!r} is not a sequence of {self.name}.{did_you_mean(name, list(self._names))}"
            )
        frames = numbered_files(self._frames / name, FRAME_ENDINGS, "frame")
        masks = numbered_files(self._masks / name, (".png",), "mask")
        if len(frames) != len(masks):
            longer, shorter = (frames, masks) if len(frames) > len(masks) else (masks, frames)
            raise ValueError(
                f"{name}: {len(frames)} frames but {len(masks)} masks; {longer[len(shorter)]} has no "
                f"counterpart in {shorter[0].parent}; complete the copy (`corrbench data verify davis`)"
            )
        size = image_size(frames[0])
        first = read_index_mask(masks[0], size)
        ids = [int(i) for i in np.unique(first) if 0 < i < VOID]
        if self.year == 2016:
            # The 2016 release writes its one object as 255, the 2017 release writes ids and keeps 255 for
            # void.
            read = merged_mask if ids else binary_mask
            ids = [1] if (read(masks[0], size) == 1).any() else []
        else:
            read = read_index_mask
        if not ids:
            raise ValueError(f"{masks[0]}: no object in the first frame, so there is nothing to propagate")
        objects = tuple(str(i) for i in range(1, max(ids) + 1))
        absent = tuple(i for i in objects if int(i) not in ids)
        return Sequence(name, frames, size, masks, objects, {"absent": absent}, read)

    def digest(self) -> str:
        """sha256 over names, frame counts and the content of every frame and mask; not of order or place.

        A rendered benchmark counts by its pixels, which are the same everywhere; PNG encoders differ.
        """
        return self._digest

    @cached_property
    def _digest(self) -> str:
        if self.mark is not None:
            return combined(
                [f"year {self.year}", *(f"{n} {self.mark.content[n]}" for n in sorted(self._names))]
            )
        parts = [f"year {self.year}"]
        for name in sorted(self._names):
            sequence = self.load(name)
            files = [f for f in (*sequence.frames, *sequence.labels) if isinstance(f, Path)]
            parts.append(f"{name} {len(sequence)} {combined(file_digests(files))}")
        return combined(parts)

    def _listed(self) -> tuple[str, ...]:
        """The sequences that ImageSets lists; the official list where there is no such file."""
        path = self.root / "ImageSets" / str(self.year) / f"{self.split}.txt"
        official = official_lists()[self.year, self.split]
        if path.is_file():
            return read_list(path)
        if not any((self._frames / name).is_dir() for name in official):
            raise ValueError(f"{path}: this list of sequences is missing; unpack it with the rest of DAVIS")
        return official

    def _check_folders(self) -> None:
        for name in self._names:
            for folder in (self._frames / name, self._masks / name):
                if not folder.is_dir():
                    raise ValueError(
                        f"{folder}: this folder of the sequence {name!r} is missing; complete the copy, or "
                        f"name only sequences that are there in ImageSets/{self.year}/{self.split}.txt or "
                        "sequences="
                    )


def read_list(path: Path) -> tuple[str, ...]:
    """Sequence names of a list, one a line; `ValueError` for an empty list, a repeated name, a path."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: this list of sequences cannot be read ({error}); write a name a line"
        ) from None
    names = tuple(line for line in lines if line)
    if not names:
        raise ValueError(f"{path}: this list of sequences is empty; write a sequence name a line")
    for name in names:
        if name in (".", "..") or any(c in "/\\\0" for c in name):
            raise ValueError(
                f"{path}: {name!r} is not a sequence name; write the bare folder name, one a line"
            )
        if names.count(name) > 1:
            raise ValueError(f"{path}: names the sequence {name!r} twice; keep one")
    return names


def numbered_files(folder: Path, endings: tuple[str, ...], role: str) -> tuple[Path, ...]:
    """`00000`, `00001`, ... of one ending in `folder`; `ValueError` naming the first that is missing."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: this folder of {role}s is missing; complete the copy")
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in endings and not p.name.startswith("."))
    if not files:
        raise ValueError(
            f"{folder}: no {role} in it (looked for 00000{' or 00000'.join(endings)}); complete the copy"
        )
    ending = files[0].suffix
    for t, path in enumerate(files):
        if path.name != f"{t:05d}{ending}":
            raise ValueError(
                f"{folder / f'{t:05d}{ending}'}: this {role} is missing ({path.name} stands in its place); "
                f"{role}s are numbered 00000, 00001, ... without a gap"
            )
    return tuple(files)


def merged_mask(path: Path, size: tuple[int, int]) -> np.ndarray:
    """A mask with all objects as one: 0, 1, and 255 void."""
    mask = read_index_mask(path, size)
    return np.where(mask == VOID, VOID, mask > 0).astype(np.uint8)


def binary_mask(path: Path, size: tuple[int, int]) -> np.ndarray:
    """A mask of the 2016 release: 0 and 255, where 255 is the object."""
    return (read_index_mask(path, size) > 0).astype(np.uint8)


@cache
def official_lists() -> dict[tuple[int, str], tuple[str, ...]]:
    """The official lists by (year, split)."""
    text = (
        resources.files("corrbench.datasets")
        .joinpath("manifests/davis_lists.json")
        .read_text(encoding="utf-8")
    )
    lists = json.loads(text)
    return {(int(year), split): tuple(names) for year, of in lists.items() for split, names in of.items()}


def _existing(folder: Path, resolution: str) -> Path:
    if not folder.is_dir():
        there = (
            sorted(p.name for p in folder.parent.iterdir() if p.is_dir()) if folder.parent.is_dir() else []
        )
        raise ValueError(
            f"{folder}: no folder for resolution={resolution!r}; this copy has {', '.join(there) or 'none'}"
        )
    return folder


def _subset(listed: tuple[str, ...], wanted: Names[str], name: str) -> tuple[str, ...]:
    if isinstance(wanted, str) or not wanted:
        raise ValueError(f"sequences={wanted!r}: give a list of sequence names of {name}, or None for all")
    for sequence in wanted:
        if sequence not in listed:
            raise ValueError(
                f"{sequence!r} is not a sequence of {name}.{did_you_mean(sequence, list(listed))}"
            )
    return tuple(s for s in listed if s in set(wanted))

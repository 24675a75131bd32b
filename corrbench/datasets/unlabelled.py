"""Unlabelled photographs and videos, for training: whatever images and videos lie below some folders."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from corrbench.datasets.roots import DataMissing, find_root
from corrbench.datasets.videos import read_video
from corrbench.registry import DATASETS

IMAGES = frozenset({".jpg", ".jpeg", ".png"})
VIDEOS = frozenset({".mp4", ".avi", ".mkv", ".mov", ".webm"})


@DATASETS.register_module()
class Photos:
    """Every JPEG and PNG below `folders` (names below a data root, or paths), in order of name.

    `side`: larger images are kept at this short side. `DataMissing` when none of `folders` is there.
    """

    kind = "photos"

    def __init__(self, folders: Sequence[str], root: str | None = None, side: int | None = None) -> None:
        self.side = side
        self.roots, self.name = _roots(folders, root)
        self.files = tuple(
            path for place in self.roots for path in _walk(place) if path.suffix.lower() in IMAGES
        )
        if not self.files:
            raise ValueError(f"{self.roots[0]}: holds no .jpg or .png image; point at a folder that does")

    def __len__(self) -> int:
        return len(self.files)

    def read(self, number: int) -> np.ndarray:
        """Image `number` as uint8 (h, w, 3) RGB."""
        return read_photo(self.files[number], self.side)

    def digest(self) -> str:
        """sha256 of names and byte sizes: contents are not read, the sets are too large."""
        return _digest(self.roots, self.files, self.side)


@DATASETS.register_module()
class Videos:
    """Every video below `folders`: a folder that holds images is one (frames in order of name), a video file is one.

    `side` as for `Photos`. Video files are read through PyAV, whole; unpack large sets into frames. Videos of fewer
    than two frames are left out.
    """

    kind = "videos"

    def __init__(self, folders: Sequence[str], root: str | None = None, side: int | None = None) -> None:
        self.side = side
        self.roots, self.name = _roots(folders, root)
        groups: dict[Path, list[Path]] = {}
        files = [path for place in self.roots for path in _walk(place)]
        for path in files:
            if path.suffix.lower() in IMAGES:
                groups.setdefault(path.parent, []).append(path)
            elif path.suffix.lower() in VIDEOS:
                groups[path] = [path]
        self.videos = tuple(tuple(g) for g in groups.values() if len(g) > 1 or g[0].suffix.lower() in VIDEOS)
        if not self.videos:
            raise ValueError(
                f"{self.roots[0]}: holds no folder of frames and no video file; point at a folder that does"
            )
        self._decoded: dict[Path, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.videos)

    def frames(self, video: int) -> int:
        """How many frames a video has."""
        files = self.videos[video]
        return len(files) if files[0].suffix.lower() in IMAGES else len(self._video(files[0]))

    def read(self, video: int, frame: int) -> np.ndarray:
        """Frame of a video as uint8 (h, w, 3) RGB."""
        files = self.videos[video]
        if files[0].suffix.lower() in IMAGES:
            return read_photo(files[frame], self.side)
        return self._video(files[0])[frame]

    def _video(self, path: Path) -> np.ndarray:
        if path not in self._decoded:
            frames = read_video(path)
            self._decoded[path] = np.stack([_reduced(Image.fromarray(f), self.side) for f in frames])
        return self._decoded[path]

    def digest(self) -> str:
        """sha256 of names and byte sizes, as `Photos.digest`."""
        return _digest(self.roots, [path for video in self.videos for path in video], self.side)


def read_photo(path: Path, side: int | None = None) -> np.ndarray:
    """An image of any mode as uint8 (h, w, 3) RGB, reduced to short side `side` where larger; EXIF turns are ignored."""
    try:
        with Image.open(path) as image:
            if side is not None:
                image.draft(
                    "RGB", (side, side)
                )  # JPEG: decode at a half, a quarter or an eighth where that is enough
            return _reduced(image.convert("RGB"), side)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path}: is damaged or not an image ({error}); fetch it again or delete it"
        ) from None


def _reduced(image: Image.Image, side: int | None) -> np.ndarray:
    short = min(image.size)
    if side is not None and short > side:
        size = (round(image.width * side / short), round(image.height * side / short))
        image = image.resize(size, Image.Resampling.BILINEAR)
    return np.array(image)


def _roots(folders: Sequence[str], root: str | None) -> tuple[tuple[Path, ...], str]:
    """The folders that are there and their names; `DataMissing` when one is not."""
    if isinstance(folders, str) or not folders:
        raise ValueError(f"folders must be a list of folder names, got {folders!r}")
    found = []
    for folder in folders:
        head, _, rest = folder.partition("/")
        if head:  # below a data root
            found.append(find_root(head, root, required=()) / rest)
        else:
            found.append(Path(folder))
        if not found[-1].is_dir():
            raise DataMissing(f"{found[-1]}: there is no such folder of training data")
    return tuple(found), " + ".join(Path(folder).name for folder in folders)


def _walk(root: Path) -> list[Path]:
    """Every file below `root`, sorted folder by folder, links followed."""
    found = []
    for folder, below, files in os.walk(root, followlinks=True):
        below.sort()
        found += [Path(folder) / name for name in sorted(files) if not name.startswith(".")]
    return found


def _digest(roots: Sequence[Path], files: Sequence[Path], side: int | None) -> str:
    digest = hashlib.sha256(f"side {side}\n".encode())
    at = 0
    for path in files:
        while not path.is_relative_to(roots[at]):
            at += 1
        digest.update(f"{at} {path.relative_to(roots[at])} {path.stat().st_size}\n".encode())
    return digest.hexdigest()

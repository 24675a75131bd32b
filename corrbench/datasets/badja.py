"""BADJA: joints of animals on DAVIS sequences, annotated about every fifth frame.

The authors' `joint_annotations/<sequence>.json` beside the frames and masks of DAVIS, either in BADJA's own
`DAVIS` folder, where its README has them unpacked, or in a DAVIS folder next to it. The files place joints as
(row, column) in frames of 1920x1080; here they are scaled to the frames that are read. The sequences are the
seven of DAVIS, in the order of the papers' tables: those of the `extra_videos` are not freely to be had in
full.
"""

from __future__ import annotations

import json
from collections.abc import Sequence as Names
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from corrbench.datasets.digests import combined, file_digests
from corrbench.datasets.images import image_size, read_index_mask
from corrbench.datasets.origins import ORIGINS
from corrbench.datasets.roots import find_root
from corrbench.datasets.sequence import Sequence
from corrbench.registry import DATASETS
from corrbench.words import did_you_mean

SEQUENCES = ("bear", "camel", "cows", "dog-agility", "dog", "horsejump-high", "horsejump-low")
# The 20 joints that the authors evaluate, by their number in the file and their name in the authors' catalogue.
# That catalogue names 35 the right and 36 the left ear, its comments the other way round; the names follow the code.
JOINTS = {
    8: "upper right 1", 9: "upper right 2", 10: "upper right 3",
    12: "upper left 1", 13: "upper left 2", 14: "upper left 3", 15: "neck",
    18: "lower right 1", 19: "lower right 2", 20: "lower right 3",
    22: "lower left 1", 23: "lower left 2", 24: "lower left 3",
    25: "tail 0", 28: "tail 3", 31: "tail 6", 32: "jaw", 33: "nose", 35: "right ear", 36: "left ear",
}  # fmt: skip
JOINTS_IN_FILE = 37
# (joint, the joint it hangs on) by place among the 20, for drawing.
BONES = (
    (0, 6), (1, 0), (2, 1), (3, 6), (4, 3), (5, 4), (7, 13), (8, 7), (9, 8), (10, 13), (11, 10), (12, 11),
    (13, 6), (14, 13), (15, 14), (16, 6), (17, 16), (18, 6), (19, 6),
)  # fmt: skip
ORIGINAL_SIZE = (1080, 1920)


@dataclass(frozen=True)
class Annotation:
    """The joints of one frame: float32 `(20, 2)` xy pixels of the 1920x1080 original, NaN where not visible."""

    frame: int
    joints: np.ndarray


@DATASETS.register_module()
class BADJA:
    """The BADJA sequences of which annotation, frames and masks are on this machine, of the seven on DAVIS.

    `resolution` is DAVIS's (480p or Full-Resolution). A sequence runs from its first annotated frame to its
    last; `extra["area"]` is the number of pixels of the animal's mask `(T,)`, NaN where a frame is not
    annotated.
    """

    kind = "pose"
    folder = "BADJA"
    synthetic = False

    def __init__(
        self, root: str | Path | None = None, resolution: str = "480p", sequences: Names[str] | None = None
    ) -> None:
        origin = ORIGINS[self.folder]
        self.root = find_root(self.folder, root)
        self.licence, self.citation, self.url = origin.licence, origin.citation, origin.url
        self.name = "BADJA (DAVIS sequences)" + ("" if resolution == "480p" else f" {resolution}")
        self.official = len(SEQUENCES)
        self.resolution = resolution
        places = (self.root / "DAVIS", self.root.parent / "DAVIS")
        self._davis = {
            name: place
            for name in SEQUENCES
            for place in reversed(places)
            if self._label_file(name).is_file()
            and (place / "JPEGImages" / resolution / name).is_dir()
            and (place / "Annotations" / resolution / name).is_dir()
        }
        if not self._davis:
            raise ValueError(
                f"{self.root}: no sequence has its annotation here and its {resolution} frames and masks in "
                f"{places[0]} or {places[1]}; unpack DAVIS there"
            )
        there = tuple(name for name in SEQUENCES if name in self._davis)
        self._names = there if sequences is None else _subset(there, sequences, self.name)

    def names(self) -> tuple[str, ...]:
        """The sequences, in the order of the papers' tables."""
        return self._names

    def load(self, name: str) -> Sequence:
        """One sequence; labels are float32 `(20, 2)` xy pixels, NaN for a joint not visible, None between them.

        `ValueError` for a damaged annotation, a missing frame or mask, and an empty mask.
        """
        annotations, frames, masks = self._parts(name)
        size = image_size(frames[0])
        scale = np.array([size[1] / ORIGINAL_SIZE[1], size[0] / ORIGINAL_SIZE[0]], np.float32)
        start = annotations[0].frame
        labels: list[np.ndarray | None] = [None] * len(frames)
        area = np.full(len(frames), np.nan)
        for annotation in annotations:
            t = annotation.frame - start
            labels[t] = annotation.joints * scale
            area[t] = mask_area(masks[t], size)
        extra: dict[str, Any] = {"bones": BONES, "area": area}
        return Sequence(name, frames, size, tuple(labels), tuple(JOINTS.values()), extra)

    def digest(self) -> str:
        """sha256 over names, frame counts and the content of annotations, frames and annotated frames' masks."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        parts = [f"resolution {self.resolution}"]
        for name in sorted(self._names):
            parts.append(f"{name} {len(self._parts(name)[1])} {combined(file_digests(self.files(name)))}")
        return combined(parts)

    def files(self, name: str) -> tuple[Path, ...]:
        """Every file that a sequence is read from: annotation, frames, masks of annotated frames."""
        annotations, frames, masks = self._parts(name)
        used = [masks[a.frame - annotations[0].frame] for a in annotations]
        return (self._label_file(name), *frames, *used)

    def _label_file(self, name: str) -> Path:
        return self.root / "joint_annotations" / f"{name}.json"

    def _parts(self, name: str) -> tuple[tuple[Annotation, ...], tuple[Path, ...], tuple[Path, ...]]:
        """Annotations, frames and masks from the first annotated frame to the last."""
        if name not in self._names:
            raise ValueError(
                f"{name!r} is not a sequence of {self.name}.{did_you_mean(name, list(self._names))}"
            )
        annotations = read_annotations(self._label_file(name))
        span = range(annotations[0].frame, annotations[-1].frame + 1)
        frames = tuple(
            self._davis[name] / "JPEGImages" / self.resolution / name / f"{t:05d}.jpg" for t in span
        )
        masks = tuple(
            self._davis[name] / "Annotations" / self.resolution / name / f"{t:05d}.png" for t in span
        )
        used = (*frames, *(masks[a.frame - span.start] for a in annotations))
        for path in used:
            if not path.is_file():
                raise ValueError(
                    f"{path}: missing, though {self._label_file(name)} needs it; complete the copy"
                )
        return annotations, frames, masks


def read_annotations(path: str | Path) -> tuple[Annotation, ...]:
    """The annotated frames of one of the authors' files, by frame number; `ValueError` naming the file otherwise."""
    path = Path(path)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a JSON file that can be read ({error}); fetch it again") from None
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path}: expected a list with an entry a frame, as the authors publish it")
    annotations = sorted(
        (_annotation(path, n, entry) for n, entry in enumerate(entries)), key=lambda a: a.frame
    )
    for before, after in pairwise(annotations):
        if before.frame == after.frame:
            raise ValueError(f"{path}: annotates frame {after.frame:05d} twice; fetch it again")
    return tuple(annotations)


def _annotation(path: Path, number: int, entry: Any) -> Annotation:
    where = f"{path}: entry {number}"
    if not isinstance(entry, dict) or not {"image_path", "joints", "visibility"} <= entry.keys():
        raise ValueError(f"{where} lacks image_path, joints or visibility; fetch the authors' file again")
    stem = Path(str(entry["image_path"])).stem
    if not stem.isdigit():
        raise ValueError(f"{where}: image_path {entry['image_path']!r} does not end in a frame number")
    joints, visible = entry["joints"], entry["visibility"]
    if not (
        isinstance(joints, list)
        and isinstance(visible, list)
        and len(joints) == len(visible) == JOINTS_IN_FILE
    ):
        raise ValueError(
            f"{where} has not {JOINTS_IN_FILE} joints and as many visibility flags; fetch it again"
        )
    points = np.full((len(JOINTS), 2), np.nan, np.float32)
    for place, joint in enumerate(JOINTS):
        if not isinstance(visible[joint], bool):
            raise ValueError(
                f"{where}, joint {joint}: visibility is {visible[joint]!r}, expected true or false"
            )
        if visible[joint]:
            points[place] = _point(f"{where}, joint {joint}", joints[joint])
    return Annotation(int(stem), points)


def _point(where: str, row_column: Any) -> tuple[float, float]:
    """(x, y) of one visible joint."""
    if not (
        isinstance(row_column, list)
        and len(row_column) == 2
        and all(isinstance(v, int | float) and not isinstance(v, bool) for v in row_column)
        and 0 <= row_column[0] < ORIGINAL_SIZE[0]
        and 0 <= row_column[1] < ORIGINAL_SIZE[1]
    ):
        raise ValueError(
            f"{where}: {row_column!r} is no (row, column) in a frame of 1920x1080; fetch it again"
        )
    return float(row_column[1]), float(row_column[0])


def mask_area(path: Path, size: tuple[int, int]) -> int:
    """Pixels of a mask that are not background, whatever number they have; `ValueError` where there is none."""
    area = int(np.count_nonzero(read_index_mask(path, size)))
    if area == 0:
        raise ValueError(
            f"{path}: the mask is empty, so it gives no length to measure distances in; fetch it again"
        )
    return area


def _subset(there: tuple[str, ...], wanted: Names[str], of: str) -> tuple[str, ...]:
    if isinstance(wanted, str) or not wanted:
        raise ValueError(f"sequences={wanted!r}: give a list of sequences of {of}, or None for all")
    for name in wanted:
        if name not in there:
            raise ValueError(f"{name!r} is not a sequence of {of} here.{did_you_mean(name, list(there))}")
    return tuple(name for name in there if name in set(wanted))

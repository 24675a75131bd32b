"""JHMDB: 15 joints of one person in clips of about 34 frames, the field's pose propagation benchmark.

The official layout: `joint_positions/<class>/<clip>/joint_positions.mat`, and frames as
`Rename_Images/<class>/<clip>/00001.png` or as the original `ReCompress_Videos/<class>/<clip>.avi`. The clips
are those of the test list of split 1 (268), in the order of the list that UVC, CRW and STT use.
"""

from __future__ import annotations

from collections.abc import Sequence as Names
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from corrbench.datasets.digests import combined, file_digests
from corrbench.datasets.images import image_size
from corrbench.datasets.origins import ORIGINS
from corrbench.datasets.rendered import read_mark
from corrbench.datasets.roots import find_root
from corrbench.datasets.sequence import Sequence
from corrbench.datasets.videos import read_video
from corrbench.registry import DATASETS
from corrbench.words import did_you_mean

JOINTS = (
    "neck", "belly", "face", "right shoulder", "left shoulder", "right hip", "left hip", "right elbow",
    "left elbow", "right knee", "left knee", "right wrist", "left wrist", "right ankle", "left ankle",
)  # fmt: skip
# (joint, the joint it hangs on) by number, for drawing.
BONES = (
    (1, 0), (2, 0), (3, 0), (4, 0), (5, 1), (6, 1), (7, 3), (8, 4), (9, 5), (10, 6), (11, 7), (12, 8), (13, 9), (14, 10),
)  # fmt: skip
MATLAB_ORIGIN = 1.0  # the pixel at the top left is (1, 1) in the files and (0, 0) here
NOT_LISTED = "JHMDB layout, no clip of split-1 test"
LABELS, IMAGES, VIDEOS = "joint_positions", "Rename_Images", "ReCompress_Videos"


@DATASETS.register_module()
class JHMDB:
    """The clips of JHMDB's split-1 test list that are on this machine; `official` is how many the list has.

    `frames` says where frames come from: `png` (Rename_Images), `avi` (ReCompress_Videos, which needs PyAV),
    or `auto`, the first of the two that is there. A folder with none of the listed clips is used whole and
    called "JHMDB layout, no clip of split-1 test"; a rendered one says synthetic. A sequence is called by its
    clip, without the class.
    """

    kind = "pose"
    folder = "JHMDB"

    def __init__(
        self, root: str | Path | None = None, frames: str = "auto", sequences: Names[str] | None = None
    ) -> None:
        if frames not in ("auto", "png", "avi"):
            raise ValueError(f"JHMDB frames={frames!r}: expected auto, png or avi")
        origin = ORIGINS[self.folder]
        self.root = find_root(self.folder, root)
        self.licence, self.citation, self.url = origin.licence, origin.citation, origin.url
        self.name, self.official = "JHMDB split-1 test", len(split_1_list())
        self.frames = self._settle(frames)
        there = {path.name: f"{path.parent.name}/{path.name}" for path in sorted(self._clip_folders())}
        listed = {clip.partition("/")[2]: clip for clip in split_1_list()}
        clips = {name: clip for name, clip in listed.items() if there.get(name) == clip}
        self.mark = read_mark(self.root)
        self.synthetic = self.mark is not None
        if self.mark is not None:
            clips, self.name, self.official = there, self.mark.name, len(there)
            self.licence, self.citation, self.url = self.mark.licence, self.mark.citation, self.mark.url
        elif not clips:
            clips, self.name, self.official = there, NOT_LISTED, len(there)
        self._clips = clips if sequences is None else _subset(clips, sequences, self.name)
        for clip in self._clips.values():
            self._check(clip)

    def names(self) -> tuple[str, ...]:
        """The clips, in the order of the list."""
        return tuple(self._clips)

    def load(self, name: str) -> Sequence:
        """One clip, as many frames as are annotated; labels float32 `(15, 2)` xy pixels from (0, 0) at the top left.

        `ValueError` for a damaged label file, for a gap in the frames' numbers and for fewer frames than
        labels.
        """
        if name not in self._clips:
            raise ValueError(f"{name!r} is not a clip of {self.name}.{did_you_mean(name, list(self._clips))}")
        clip = self._clips[name]
        labels = read_joint_positions(self._label_file(clip))
        extra: dict[str, Any] = {"bones": BONES}
        source = self._frame_source(clip)
        if self.frames == "avi":
            decoded = read_video(source)
            if len(decoded) < len(labels):
                raise ValueError(
                    f"{source}: has {len(decoded)} frames for {len(labels)} labels; fetch it again"
                )
            return Sequence(name, decoded[: len(labels)], decoded.shape[1:3], labels, JOINTS, extra)
        files = numbered_from_1(source)
        if len(files) < len(labels):
            raise ValueError(
                f"{source}: has {len(files)} frames, but {self._label_file(clip)} labels {len(labels)}; "
                "complete the copy"
            )
        return Sequence(name, files[: len(labels)], image_size(files[0]), labels, JOINTS, extra)

    def digest(self) -> str:
        """sha256 over names, frame counts and the content of every label file and frame; not of order or place.

        A rendered benchmark counts by its pixels, which are the same everywhere; PNG encoders differ.
        """
        return self._digest

    @cached_property
    def _digest(self) -> str:
        if self.mark is not None:
            return combined(f"{name} {self.mark.content[name]}" for name in sorted(self._clips))
        parts = [f"frames {self.frames}"]
        for name, clip in sorted(self._clips.items()):
            count = len(read_joint_positions(self._label_file(clip)))
            source = self._frame_source(clip)
            files = [source] if self.frames == "avi" else list(numbered_from_1(source)[:count])
            parts.append(f"{name} {count} {combined(file_digests([self._label_file(clip), *files]))}")
        return combined(parts)

    def files(self, name: str) -> tuple[Path, ...]:
        """Every file that a clip is read from: labels first, then frames."""
        clip = self._clips[name]
        source = self._frame_source(clip)
        return (self._label_file(clip), *((source,) if self.frames == "avi" else numbered_from_1(source)))

    def _settle(self, frames: str) -> str:
        """`png` or `avi` for the `frames` that were asked for."""
        folders = {"png": self.root / IMAGES, "avi": self.root / VIDEOS}
        for kind, folder in folders.items():
            if frames in ("auto", kind) and folder.is_dir():
                return kind
        wanted = " or ".join(str(folders[kind]) for kind in (folders if frames == "auto" else [frames]))
        raise ValueError(f"{wanted}: the frames of JHMDB are missing; unpack them beside {LABELS}")

    def _clip_folders(self) -> list[Path]:
        return [path for path in (self.root / LABELS).glob("*/*") if path.is_dir()]

    def _label_file(self, clip: str) -> Path:
        return self.root / LABELS / clip / "joint_positions.mat"

    def _frame_source(self, clip: str) -> Path:
        return self.root / VIDEOS / f"{clip}.avi" if self.frames == "avi" else self.root / IMAGES / clip

    def _check(self, clip: str) -> None:
        source = self._frame_source(clip)
        if not source.exists():
            raise ValueError(f"{source}: the clip has labels but no frames here; complete the copy")


def read_joint_positions(path: str | Path, joints: int = len(JOINTS)) -> np.ndarray:
    """The joints of a `joint_positions.mat` as float32 `(T, joints, 2)` xy, 0-based (the file is 1-based).

    Reads `pos_img`, 2 x joints x T; joints outside the frame are kept. `ValueError` naming the file where
    that is missing, of another shape or type, or not finite.
    """
    path = Path(path)
    position = load_matlab(path, "pos_img")
    if position.ndim == 2:  # Matlab drops a last axis of one frame
        position = position[:, :, None]
    if position.ndim != 3 or position.shape[:2] != (2, joints) or position.shape[2] < 1:
        raise ValueError(
            f"{path}: pos_img is {'x'.join(map(str, position.shape))}, expected 2x{joints}xT: x and y of "
            f"{joints} joints in T frames"
        )
    if not np.isfinite(position).all():
        raise ValueError(f"{path}: pos_img holds values that are not finite; fetch the file again")
    return np.ascontiguousarray(position.transpose(2, 1, 0) - MATLAB_ORIGIN, dtype=np.float32)


def load_matlab(path: Path, name: str) -> np.ndarray:
    """The numeric array `name` of a Matlab file as float64; `ValueError` naming the file for anything else."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    if not path.is_file():
        raise ValueError(f"{path}: this label file is missing; complete the copy")
    try:
        content = loadmat(path, variable_names=[name])
    except (OSError, MatReadError, ValueError, TypeError, NotImplementedError, KeyError, IndexError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: not a Matlab 5 file that can be read ({reason}); fetch it again") from None
    if name not in content:
        raise ValueError(f"{path}: has no variable {name}; expected a {path.name} as JHMDB publishes it")
    array = content[name]
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise ValueError(f"{path}: {name} is not an array of real numbers; fetch the file again")
    return array.astype(np.float64)


def numbered_from_1(folder: Path) -> tuple[Path, ...]:
    """`00001.png`, `00002.png`, ... of `folder`; `ValueError` naming the first that is missing."""
    files = sorted(p for p in folder.iterdir() if p.suffix == ".png" and not p.name.startswith("."))
    if not files:
        raise ValueError(f"{folder}: no frame in it (looked for 00001.png); complete the copy")
    for t, path in enumerate(files, start=1):
        if path.name != f"{t:05d}.png":
            raise ValueError(
                f"{folder / f'{t:05d}.png'}: this frame is missing ({path.name} stands in its place); "
                "frames are numbered 00001, 00002, ... without a gap"
            )
    return tuple(files)


@cache
def split_1_list() -> tuple[str, ...]:
    """The 268 clips of the test list of split 1 as `<class>/<clip>`."""
    text = resources.files("corrbench.datasets").joinpath("manifests/jhmdb_split1_test.txt")
    return tuple(text.read_text(encoding="utf-8").split())


def _subset(clips: dict[str, str], wanted: Names[str], of: str) -> dict[str, str]:
    if isinstance(wanted, str) or not wanted:
        raise ValueError(f"sequences={wanted!r}: give a list of clips of {of}, or None for all")
    for name in wanted:
        if name not in clips:
            raise ValueError(f"{name!r} is not a clip of {of} here.{did_you_mean(name, list(clips))}")
    return {name: clip for name, clip in clips.items() if name in set(wanted)}

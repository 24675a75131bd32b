"""The synthetic benchmark's frames and labels as files, in DAVIS's, JHMDB's and VIP's own layouts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from corrbench.datasets.rendering import Frame, Scene, flow, render_frame, top_layers
from corrbench.datasets.synthetic_people import CLIPS, PART_SCENES, Clip
from corrbench.datasets.synthetic_scenes import SCENES
from corrbench.indexed_png import encode

QUICK = 1  # zlib level: twice as fast as the default, a tenth larger
MATLAB_ORIGIN = 1.0
THREADS = 4


def write_davis(root: Path, with_flow: bool = False) -> dict[str, str]:
    """`JPEGImages/480p`, `Annotations/480p` and the lists; returns the digest of each sequence's content."""
    content = {}
    for name, make in SCENES.items():
        scene = make()
        frames = root / "JPEGImages" / "480p" / name
        masks = root / "Annotations" / "480p" / name
        _folders(frames, masks)
        content[name] = _written(scene, frames, masks, lambda frame: frame.mask, "{:05d}")
        if with_flow:
            _folders(root / "Flow" / name)
            for t in range(scene.frames - 1):
                write_flo(root / "Flow" / name / f"{t:05d}.flo", flow(scene, t, t + 1)[0])
    for year in ("2016", "2017"):
        _list(root / "ImageSets" / year / "val.txt", list(SCENES))
    return content


def write_jhmdb(root: Path) -> dict[str, str]:
    """`Rename_Images/synthetic`, `joint_positions/synthetic`; joints in Matlab's 1-based pixels, and their visibility."""
    from scipy.io import savemat

    content = {}
    for name, make in CLIPS.items():
        clip = make()
        frames = root / "Rename_Images" / "synthetic" / name
        labels = root / "joint_positions" / "synthetic" / name
        _folders(frames, labels)
        pixels = _written(clip.scene, frames, None, lambda frame: frame.mask, "{:05d}", first=1)
        position, visible = joints(clip)
        rounded = np.round(position, 3)  # thousandths of a pixel: the same on every machine
        savemat(
            labels / "joint_positions.mat",
            {"pos_img": rounded.transpose(2, 1, 0) + MATLAB_ORIGIN, "visible": visible.T.astype(np.uint8)},
        )
        joint_text = "\n".join(f"{v:.3f}" for v in (rounded + 0.0).ravel())
        content[name] = _digest([pixels.encode(), joint_text.encode(), visible.astype(np.uint8).tobytes()])
    return content


def write_vip(root: Path) -> dict[str, str]:
    """`VIP_Fine` with `Images`, `Annotations/Category_ids` and `lists/val_videos.txt`."""
    content, fine = {}, root / "VIP_Fine"
    for name, make in PART_SCENES.items():
        frames, masks = fine / "Images" / name, fine / "Annotations" / "Category_ids" / name
        _folders(frames, masks)
        content[name] = _written(
            make(), frames, masks, lambda frame: frame.parts, "{:012d}", first=1, step=25
        )
    _list(fine / "lists" / "val_videos.txt", list(PART_SCENES))
    return content


def joints(clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    """Joints of all frames: float64 `(T, 15, 2)` xy, and bool `(T, 15)` where the figure's own surface shows there."""
    scene = clip.scene
    h, w = scene.size
    position = np.stack([clip.figure.joints(t) for t in range(scene.frames)])
    labels = np.asarray([layer.label for layer in scene.layers])
    visible = np.zeros(position.shape[:2], bool)
    for t in range(scene.frames):
        x, y = position[t, :, 0], position[t, :, 1]
        inside = (x >= 0) & (x <= w - 1) & (y >= 0) & (y <= h - 1)
        visible[t] = inside & (labels[top_layers(scene, t, x, y)] == clip.figure.label)
    return position, visible


def write_flo(path: Path, field: np.ndarray) -> None:
    """Optical flow `(h, w, 2)` in Middlebury's format."""
    h, w = field.shape[:2]
    with open(path, "wb") as stream:
        stream.write(b"PIEH" + np.asarray([w, h], "<i4").tobytes())
        stream.write(field.astype("<f4").tobytes())


def _written(
    scene: Scene,
    frames: Path,
    masks: Path | None,
    label: Callable[[Frame], np.ndarray],
    pattern: str,
    first: int = 0,
    step: int = 1,
) -> str:
    """Render and write a scene; sha256 over its pixels and labels."""

    def one(t: int) -> str:
        frame = render_frame(scene, t)
        name = pattern.format(first + t * step) + ".png"
        Image.fromarray(frame.image).save(frames / name, compress_level=QUICK)
        if masks is not None:
            (masks / name).write_bytes(encode(label(frame)))
        return _digest([frame.image.tobytes(), label(frame).tobytes()])

    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        digests: Iterator[str] = pool.map(one, range(scene.frames))
        return _digest([f"{scene.size} {scene.frames}".encode(), *(d.encode() for d in digests)])


def _digest(parts: list[bytes]) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()


def _folders(*folders: Path) -> None:
    for folder in folders:
        folder.mkdir(parents=True)


def _list(path: Path, names: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")

"""`corrbench score` on joints and part masks that somebody else's code wrote: as strict as on our own."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from corrbench import external
from corrbench.datasets.jhmdb import JOINTS

SIZE = (24, 32)
CLIPS = ("golf/one", "jump/two")


def pos(seed: int, frames: int = 3) -> np.ndarray:
    """`pos_img`: 2 x 15 x frames from 1, all inside the frame."""
    return np.random.default_rng(seed).uniform(3, 22, (2, 15, frames))


@pytest.fixture
def jhmdb(tmp_path):
    root = tmp_path / "JHMDB"
    for seed, clip in enumerate(CLIPS):
        (root / "Rename_Images" / clip).mkdir(parents=True)
        for t in range(3):
            Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(
                root / f"Rename_Images/{clip}/{t + 1:05d}.png"
            )
        (root / "joint_positions" / clip).mkdir(parents=True)
        savemat(root / "joint_positions" / clip / "joint_positions.mat", {"pos_img": pos(seed)})
    return root


def test_joints_in_matlab_files(jhmdb, tmp_path):
    found = external.score(jhmdb / "joint_positions", "tasks/jhmdb.py", data=jhmdb)
    assert found.sequences == ("one", "two")
    assert found.summary["PCK@0.1"] == 100.0  # the annotation itself
    assert found.summary["lost"] == 0.0
    theirs = tmp_path / "theirs"
    shutil.copytree(jhmdb / "joint_positions", theirs)
    lost = pos(1)
    lost[:, 4, 1] = 0  # (0, 0) from 1 is (-1, -1) from 0
    savemat(theirs / "jump/two/joint_positions.mat", {"pos_img": lost})
    found = external.score(theirs, "tasks/jhmdb.py", data=jhmdb)
    assert found.summary["PCK@0.1"] == 100.0
    assert found.summary["lost"] == pytest.approx(100 / 6 / 15)
    assert found.summary["PCK@0.1 (lost = miss)"] == pytest.approx(100 - 100 / 6 / 15)


def test_joints_in_tables(jhmdb, tmp_path):
    for seed, clip in enumerate(CLIPS):
        folder = tmp_path / "csv" / clip.partition("/")[2]
        folder.mkdir(parents=True)
        rows = ["sequence,frame,joint,x,y"]
        for t, j in np.ndindex(3, 15):
            x, y = pos(seed)[:, j, t] - 1
            rows.append(f"{folder.name},{t},{JOINTS[j]},{x + 30},{y}")
        (folder / "joints.csv").write_text("\n".join(rows) + "\n")
    found = external.score(tmp_path / "csv", "tasks/jhmdb.py", data=jhmdb)
    assert found.summary["PCK@0.5"] == 0.0  # 30 px away: more than half of any box in this frame
    path = tmp_path / "csv" / "one" / "joints.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(ValueError, match=r"one/joints\.csv: 1 of 45 rows missing"):
        external.score(tmp_path / "csv", "tasks/jhmdb.py", data=jhmdb)


def test_joints_that_cannot_be_scored(jhmdb, tmp_path):
    theirs = tmp_path / "theirs"
    shutil.copytree(jhmdb / "joint_positions", theirs)
    savemat(theirs / "golf/one/joint_positions.mat", {"pos_img": pos(0, frames=2)})
    with pytest.raises(
        ValueError, match=r"golf/one/joint_positions\.mat: pos_img is .*expected numbers \(2, 15, 3\)"
    ):
        external.score(theirs, "tasks/jhmdb.py", data=jhmdb)
    shutil.rmtree(theirs / "golf/one")
    with pytest.raises(ValueError, match=r"1 of 2 sequences are missing \(one\)"):
        external.score(theirs, "tasks/jhmdb.py", data=jhmdb)


@pytest.fixture
def vip(tmp_path):
    fine = tmp_path / "VIP" / "VIP_Fine"
    for folder in ("Images", "Annotations/Category_ids"):
        (fine / folder / "videos1").mkdir(parents=True)
    (fine / "lists").mkdir()
    (fine / "lists" / "val_videos.txt").write_text("videos1\n")
    for t in (1, 26):
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(fine / f"Images/videos1/{t:012d}.jpg")
        mask = np.zeros(SIZE, np.uint8)
        mask[:12], mask[12:18], mask[23] = 3, 7, 255
        Image.fromarray(mask).save(fine / f"Annotations/Category_ids/videos1/{t:012d}.png")
    return fine


def test_part_masks(vip, tmp_path):
    theirs = tmp_path / "theirs" / "videos1"
    theirs.mkdir(parents=True)
    for t in (1, 26):
        mask = np.zeros(SIZE, np.uint8)
        mask[:12] = 3  # class 7 is missed: it is background
        Image.fromarray(mask).save(theirs / f"{t:012d}.png")
    found = external.score(theirs.parent, "tasks/vip.py", data=vip.parent.parent)
    assert found.summary["mIoU"] == pytest.approx((100 * 5 / 11 + 100 + 0) / 3)
    Image.fromarray(np.full(SIZE, 20, np.uint8)).save(theirs / f"{26:012d}.png")
    with pytest.raises(ValueError, match=r"000000000026\.png"):
        external.score(theirs.parent, "tasks/vip.py", data=vip.parent.parent)
    (theirs / f"{26:012d}.png").unlink()
    with pytest.raises(ValueError, match="1 of 2 frames missing"):
        external.score(theirs.parent, "tasks/vip.py", data=vip.parent.parent)

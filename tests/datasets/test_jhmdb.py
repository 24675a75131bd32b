"""JHMDB's official layout: frames as PNG and as video, 1-based joints, the test list, and files that are wrong."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from corrbench.datasets import jhmdb
from corrbench.datasets.jhmdb import JHMDB

SIZE = (24, 32)


def joints(frames: int, seed: int = 0) -> np.ndarray:
    """`pos_img` as the files have it: 2 x 15 x T, 1-based, some joints outside the frame."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-3, 30, (2, 15, frames)) + 1.0


def write_clip(root: Path, clip: str, frames: int, labels: int, pos: np.ndarray | None = None) -> np.ndarray:
    folder = root / "Rename_Images" / clip
    folder.mkdir(parents=True)
    for t in range(frames):
        Image.fromarray(np.full((*SIZE, 3), t, np.uint8)).save(folder / f"{t + 1:05d}.png")
    pos = joints(labels) if pos is None else pos
    where = root / "joint_positions" / clip
    where.mkdir(parents=True)
    savemat(where / "joint_positions.mat", {"pos_img": pos, "scale": np.ones((1, labels))})
    return pos


@pytest.fixture
def root(tmp_path):
    """Two clips of the test list, one with more frames than labels, and one clip that the list does not have."""
    root = tmp_path / "JHMDB"
    listed = jhmdb.split_1_list()
    write_clip(root, listed[3], frames=6, labels=4)
    write_clip(root, listed[0], frames=3, labels=3)
    write_clip(root, "golf/some_training_clip_golf", frames=2, labels=2)
    return root


def test_the_list_is_split_1_in_its_order():
    clips = jhmdb.split_1_list()
    assert len(clips) == len(set(clips)) == 268
    assert len({clip.partition("/")[2] for clip in clips}) == 268  # so a clip's own name will do
    assert len({clip.partition("/")[0] for clip in clips}) == 21
    assert clips[0] == "swing_baseball/HowtoswingaBaseballbat_swing_baseball_f_nm_np1_le_bad_0"


def test_bones_are_a_tree_over_the_fifteen_joints():
    assert len(jhmdb.JOINTS) == 15
    assert sorted(joint for joint, _ in jhmdb.BONES) == list(range(1, 15))  # all but the neck, the root
    for joint, parent in jhmdb.BONES:
        sides = {jhmdb.JOINTS[j].split()[0] for j in (joint, parent)} & {"left", "right"}
        assert len(sides) <= 1, (joint, parent)


def test_clips_of_the_list_are_read_in_its_order_and_cut_to_their_labels(root):
    data = JHMDB(root)
    listed = jhmdb.split_1_list()
    assert data.names() == tuple(listed[i].partition("/")[2] for i in (0, 3))
    assert (len(data.names()), data.official, data.kind, data.synthetic) == (2, 268, "pose", False)
    assert data.name == "JHMDB split-1 test"
    clip = data.load(data.names()[1])
    assert len(clip) == 4
    assert clip.size == SIZE
    assert clip.objects == jhmdb.JOINTS
    assert clip.frame(2)[0, 0].tolist() == [2, 2, 2]
    expected = joints(4).transpose(2, 1, 0) - 1
    for t in range(4):
        assert clip.label(t).dtype == np.float32
        np.testing.assert_allclose(clip.label(t), expected[t], atol=1e-5)
    assert (clip.labels < 0).any()  # a joint out of the frame stays where it is


def test_the_parent_folder_will_do_and_a_subset_can_be_named(root):
    name = JHMDB(root.parent).names()[1]
    assert JHMDB(root.parent, sequences=[name]).names() == (name,)
    with pytest.raises(ValueError, match="is not a clip of JHMDB"):
        JHMDB(root, sequences=["no_such_clip"])
    with pytest.raises(ValueError, match="is not a clip of JHMDB"):
        JHMDB(root).load("some_training_clip_golf")


def test_clips_outside_the_list_are_not_called_by_its_name(tmp_path):
    root = tmp_path / "JHMDB"
    write_clip(root, "golf/mine", frames=2, labels=2)
    data = JHMDB(root)
    assert data.name == "JHMDB layout, no clip of split-1 test"
    assert (data.names(), data.official) == (("mine",), 1)


def test_digest_is_of_content_and_not_of_place(root, tmp_path):
    before = JHMDB(root).digest()
    root.rename(tmp_path / "elsewhere")
    moved = JHMDB(tmp_path / "elsewhere")
    assert moved.digest() == before
    name = moved.names()[0]
    assert JHMDB(tmp_path / "elsewhere", sequences=[name]).digest() != before
    label = moved.files(name)[0]
    savemat(label, {"pos_img": joints(3, seed=1)})
    assert JHMDB(tmp_path / "elsewhere").digest() != before


def test_frames_beyond_the_labels_do_not_count_in_the_digest(root):
    before = JHMDB(root).digest()
    clip = root / "Rename_Images" / jhmdb.split_1_list()[3]
    (clip / "00006.png").unlink()
    assert JHMDB(root).digest() == before
    Image.fromarray(np.full((*SIZE, 3), 200, np.uint8)).save(clip / "00002.png")
    assert JHMDB(root).digest() != before


def test_videos_are_decoded_where_the_images_are_not_unpacked(root):
    av = pytest.importorskip("av")
    clip = jhmdb.split_1_list()[3]
    path = root / "ReCompress_Videos" / f"{clip}.avi"
    path.parent.mkdir(parents=True)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)  # lossless, so that pixels can be compared
        stream.height, stream.width = SIZE
        stream.pix_fmt = "bgr0"
        for t in range(6):
            frame = av.VideoFrame.from_ndarray(np.full((*SIZE, 3), 40 * t, np.uint8), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert JHMDB(root).frames == "png"
    with pytest.raises(ValueError, match="no frames here"):
        JHMDB(root, frames="avi")  # the other clip has no video
    name = clip.partition("/")[2]
    data = JHMDB(root, frames="avi", sequences=[name])
    sequence = data.load(name)
    assert (len(sequence), sequence.size) == (4, SIZE)
    assert sequence.frame_names == ("00000", "00001", "00002", "00003")
    assert [int(sequence.frame(t).mean()) for t in range(4)] == [0, 40, 80, 120]
    assert data.digest() != JHMDB(root, sequences=[name]).digest()
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ValueError, match=re.escape(str(path))):
        data.load(name)


def test_frames_must_be_png_or_avi(root):
    with pytest.raises(ValueError, match="expected auto, png or avi"):
        JHMDB(root, frames="jpg")
    (root / "Rename_Images").rename(root / "images")
    with pytest.raises(ValueError, match="frames of JHMDB are missing"):
        JHMDB(root)


def break_nothing(root, clip):
    pass


def fewer_frames(root, clip):
    (root / "Rename_Images" / clip / "00003.png").unlink()


def gap(root, clip):
    (root / "Rename_Images" / clip / "00002.png").unlink()


def no_frames(root, clip):
    for path in (root / "Rename_Images" / clip).iterdir():
        path.unlink()


def label(content):
    def change(root, clip):
        path = root / "joint_positions" / clip / "joint_positions.mat"
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is None:
            path.write_bytes(path.read_bytes()[:150])
        else:
            savemat(path, content)

    return change


NAN = joints(3)
NAN[1, 4, 2] = np.nan
WRONG = {
    "fewer frames than labels": (fewer_frames, "has 2 frames, but .* labels 3"),
    "a gap in the numbers": (gap, r"00002\.png: this frame is missing"),
    "an empty folder": (no_frames, "no frame in it"),
    "an empty label file": (label(b""), "not a Matlab 5 file"),
    "text for a label file": (label(b"joints, they said\n" * 20), "not a Matlab 5 file"),
    "a truncated label file": (label(None), "not a Matlab 5 file"),
    "no pos_img": (label({"pos_world": joints(3)}), "no variable pos_img"),
    "another count of joints": (label({"pos_img": joints(3)[:, :14]}), "is 2x14x3, expected 2x15xT"),
    "axes in another order": (label({"pos_img": joints(3).transpose(1, 0, 2)}), "is 15x2x3, expected"),
    "words": (label({"pos_img": np.array(["left", "right"], dtype=object)}), "not an array of real numbers"),
    "complex numbers": (label({"pos_img": joints(3) * 1j}), "not an array of real numbers"),
    "values that are not finite": (label({"pos_img": NAN}), "not finite"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_refused_in_one_sentence_that_names_them(root, case):
    change, words = WRONG[case]
    clip = jhmdb.split_1_list()[0]
    change(root, clip)
    with pytest.raises(ValueError, match=words) as error:
        JHMDB(root).load(clip.partition("/")[2])
    assert clip in str(error.value)
    assert "\n" not in str(error.value)


def test_one_frame_survives_matlabs_dropped_axis(tmp_path):
    path = tmp_path / "joint_positions.mat"
    savemat(path, {"pos_img": joints(1)[:, :, 0]})
    assert jhmdb.read_joint_positions(path).shape == (1, 15, 2)


def test_labels_without_frames_and_frames_without_labels(root):
    clip = jhmdb.split_1_list()[0]
    label_file = root / "joint_positions" / clip / "joint_positions.mat"
    label_file.unlink()
    with pytest.raises(ValueError, match="this label file is missing"):
        JHMDB(root).load(clip.partition("/")[2])
    no_frames(root, clip)
    (root / "Rename_Images" / clip).rmdir()
    with pytest.raises(ValueError, match="no frames here"):
        JHMDB(root)


def test_real_clips_are_read(real_data):
    data = JHMDB(real_data)
    for name in data.names():
        clip = data.load(name)
        assert clip.size == (240, 320)
        assert clip.frame(len(clip) - 1).shape == (240, 320, 3)
        assert np.isfinite(clip.labels).all()
        assert clip.labels.shape == (len(clip), 15, 2)
        spine = np.linalg.norm(clip.labels[:, 0] - clip.labels[:, 1], axis=-1)  # neck to belly
        face = np.linalg.norm(clip.labels[:, 0] - clip.labels[:, 2], axis=-1)
        assert (spine.mean() > face.mean()).all()  # the joints are in the order that the names say

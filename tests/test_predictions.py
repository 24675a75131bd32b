"""Predictions come back as they were written, appear whole or not at all, and bad ones get one clear sentence."""

from __future__ import annotations

import errno
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from corrbench import indexed_png, predictions

SIZE = (24, 37)
NAMES = ("00000", "00001", "00002", "00003")
JOINTS = ("neck", "left, hand")  # a comma must survive the table


def masks(top: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, top + 1, (len(NAMES), *SIZE), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    predictions.write_masks(tmp_path / "dog", masks(), NAMES)
    return tmp_path / "dog"


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.parent.iterdir() if path.name.startswith(".")]


# ---- masks


@pytest.mark.parametrize("top", [1, 3, 15, 16, 254, 255])
def test_masks_come_back_as_written(tmp_path: Path, top: int) -> None:
    predictions.write_masks(tmp_path / "dog", masks(top), NAMES, fsync=True)
    found = predictions.read_masks(tmp_path / "dog", NAMES, SIZE, top)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, masks(top))
    assert hidden(tmp_path / "dog") == []


def test_files_are_indexed_with_the_davis_palette(folder: Path) -> None:
    with Image.open(folder / "00000.png") as image:
        assert image.mode == "P"
        colours = np.array(image.getpalette()).reshape(-1, 3)
        np.testing.assert_array_equal(np.asarray(image), masks()[0])
    known = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128)]
    assert [tuple(colour) for colour in colours[:6].tolist()] == known
    whole = np.frombuffer(indexed_png.davis_palette(), np.uint8).reshape(256, 3)
    assert len({tuple(colour) for colour in whole.tolist()}) == 256
    assert tuple(whole[255]) == (224, 224, 192)


def test_greyscale_ids_and_other_bit_depths_are_read(folder: Path) -> None:
    Image.fromarray(masks()[0]).save(folder / "00000.png")
    four_bits = Image.fromarray(masks()[1])
    four_bits.putpalette(indexed_png.davis_palette())
    four_bits.save(folder / "00001.png", bits=4)
    np.testing.assert_array_equal(predictions.read_masks(folder, NAMES, SIZE, 3), masks())


def test_writing_again_replaces_the_folder_and_leaves_nothing_else(folder: Path) -> None:
    (folder / "stale.png").write_bytes(b"x")
    predictions.write_masks(folder, masks()[::-1], NAMES)
    assert sorted(path.name for path in folder.iterdir()) == [f"{name}.png" for name in NAMES]
    np.testing.assert_array_equal(predictions.read_masks(folder, NAMES, SIZE, 3), masks()[::-1])
    assert hidden(folder) == []


def test_a_full_disk_leaves_no_half_written_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = predictions._write, []

    def full_at_the_third(path: Path, data: bytes, fsync: bool) -> None:
        calls.append(path)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, data, fsync)

    monkeypatch.setattr(predictions, "_write", full_at_the_third)
    with pytest.raises(OSError, match=r"disk or quota is full; free some space .*dog") as caught:
        predictions.write_masks(tmp_path / "dog", masks(), NAMES)
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_the_predictions_that_were_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes, fsync: bool) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(predictions, "_write", full)
    with pytest.raises(OSError, match="disk or quota is full"):
        predictions.write_masks(folder, masks() * 0, NAMES)
    np.testing.assert_array_equal(predictions.read_masks(folder, NAMES, SIZE, 3), masks())


def test_kill_minus_nine_leaves_no_folder_and_the_next_attempt_ends_well(tmp_path: Path) -> None:
    code = f"""
import os, signal
import numpy as np
from corrbench import predictions
real, done = predictions._write, []
def dying(path, data, fsync):
    real(path, data, fsync)
    done.append(path)
    if len(done) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
predictions._write = dying
predictions.write_masks({str(tmp_path / "dog")!r}, np.zeros((4, 24, 37), np.uint8), {NAMES!r})
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert not (tmp_path / "dog").exists()
    assert hidden(tmp_path / "dog") == [".dog.partial"]
    predictions.write_masks(tmp_path / "dog", masks(), NAMES)
    np.testing.assert_array_equal(predictions.read_masks(tmp_path / "dog", NAMES, SIZE, 3), masks())
    assert hidden(tmp_path / "dog") == []


@pytest.mark.parametrize("bad", [np.zeros((3, 4)), np.zeros((2, 3, 4), np.uint8), np.zeros((3, 4), np.int64)])
def test_only_uint8_masks_are_encoded(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"a mask is uint8 \(h, w\), got"):
        indexed_png.encode(bad)


def test_as_many_names_as_masks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"3 frame names for masks of shape \(4, 24, 37\)"):
        predictions.write_masks(tmp_path / "dog", masks(), NAMES[:3])
    assert list(tmp_path.iterdir()) == []


# ---- bad masks: each gets one sentence that names the file, what was expected and the remedy


def _save(mode: str, values: np.ndarray | None = None) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        array = masks()[1] if values is None else values
        Image.fromarray(array).convert(mode).save(path, "PNG")

    return save


def _sixteen_bits(path: Path) -> None:
    Image.fromarray(masks()[1].astype(np.uint16)).save(path)


def _flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 20] ^= 0x55
    path.write_bytes(data)


def _bad_deflate(path: Path) -> None:
    """Checksums in order, content not: what a broken encoder writes."""
    data = path.read_bytes()
    at = data.index(b"IDAT") - 4
    length = struct.unpack(">I", data[at : at + 4])[0]
    body = b"IDAT" + bytes(length)
    chunk = data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
    path.write_bytes(data[:at] + chunk + data[at + 12 + length :])


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _jpeg(path: Path) -> None:
    Image.fromarray(masks()[1]).save(path, "JPEG")


def _other_size(path: Path) -> None:
    path.write_bytes(indexed_png.encode(np.zeros((SIZE[1], SIZE[0]), np.uint8)))


def _void(path: Path) -> None:
    mask = masks()[1]
    mask[:5] = 255
    path.write_bytes(indexed_png.encode(mask))


PHOTO = np.arange(SIZE[0] * SIZE[1], dtype=np.int64).reshape(SIZE).astype(np.uint8)
BAD_MASKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "RGB": (_save("RGB"), "an RGB PNG, expected an indexed PNG.*save the ids themselves with a palette"),
    "RGBA": (_save("RGBA"), "an RGBA PNG, expected an indexed PNG"),
    "grey and alpha": (_save("LA"), "a greyscale-and-alpha PNG, expected an indexed PNG"),
    "16 bits": (_sixteen_bits, "16 bits a pixel, expected an indexed PNG of 8 bits; save the ids as uint8"),
    "0 and 255": (
        _save("L", (masks()[1] > 1) * np.uint8(255)),
        "unknown id 255; ids here go from 0 .* to 3; .*save 1",
    ),
    "photograph": (_save("L", PHOTO), "unknown id 4, 5, 6, 7, 8, 9, ...;.*photograph or a soft mask"),
    "void": (_void, "unknown id 255; .*number objects as the first frame's annotation does; 255"),
    "unknown id": (
        lambda p: p.write_bytes(indexed_png.encode(masks(5)[1])),
        "unknown id 4, 5; ids here go from 0",
    ),
    "size": (_other_size, r"37 x 24 \(height x width\), expected 24 x 37; predict at the annotation's size"),
    "empty": (lambda p: p.write_bytes(b""), r"empty file \(0 bytes\), expected an indexed PNG; write"),
    "truncated": (_cut, r"truncated PNG \(\d+ bytes\); write this frame again"),
    "flipped byte": (_flip_a_byte, r"corrupt PNG \(a checksum does not match\); write this frame again"),
    "bad deflate": (_bad_deflate, r"corrupt PNG \(.+\); write this frame again"),
    "JPEG": (_jpeg, "a JPEG file, expected an indexed PNG; save masks losslessly"),
    "text": (lambda p: p.write_text("not found"), "not a PNG file, expected an indexed PNG"),
    "a signature alone": (lambda p: p.write_bytes(indexed_png.SIGNATURE), "truncated PNG"),
}


@pytest.mark.parametrize("case", BAD_MASKS)
def test_a_bad_mask_is_named_for_what_it_is(folder: Path, case: str) -> None:
    spoil, message = BAD_MASKS[case]
    spoil(folder / "00001.png")
    with pytest.raises(ValueError, match=message) as caught:
        predictions.read_masks(folder, NAMES, SIZE, 3)
    assert str(caught.value).startswith(f"{folder / '00001.png'}: ")
    assert "\n" not in str(caught.value)


def test_a_folder_in_place_of_a_mask(folder: Path) -> None:
    (folder / "00001.png").unlink()
    (folder / "00001.png").mkdir()
    with pytest.raises(ValueError, match=r"00001.png: cannot be read \(Is a directory\)"):
        predictions.read_masks(folder, NAMES, SIZE, 3)


# ---- folders


def test_missing_extra_and_renamed_frames(folder: Path) -> None:
    (folder / "00002.png").rename(folder / "00009.png")
    with pytest.raises(ValueError, match=r"dog: frames are named 00009, expected 00002; name them as"):
        predictions.read_masks(folder, NAMES, SIZE, 3)
    (folder / "00001.png").unlink()
    with pytest.raises(ValueError, match=r"dog: 2 of 4 frames missing \(00001, 00002\); predict every frame"):
        predictions.read_masks(folder, NAMES, SIZE, 3)
    with pytest.raises(
        ValueError, match=r"dog: 1 frames that the sequence does not have \(00009\); remove them"
    ):
        predictions.read_masks(folder, NAMES, SIZE, 3, may_lack=("00001", "00002"))
    with pytest.raises(ValueError, match=r"cat: no folder for this sequence; expected 4 PNGs"):
        predictions.read_masks(folder.parent / "cat", NAMES, SIZE, 3)


def test_frames_that_no_score_uses_may_be_absent_but_not_wrong(folder: Path) -> None:
    ends = (NAMES[0], NAMES[-1])
    (folder / "00003.png").unlink()
    found = predictions.read_masks(folder, NAMES, SIZE, 3, may_lack=ends)
    np.testing.assert_array_equal(found[:3], masks()[:3])
    assert not found[3].any()
    (folder / "00000.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"00000.png: empty file"):
        predictions.read_masks(folder, NAMES, SIZE, 3, may_lack=ends)


def test_a_whole_folder_is_checked_before_any_of_it_is_scored(folder: Path) -> None:
    root = folder.parent
    predictions.write_masks(root / "extra", masks(), NAMES)
    (root / ".hidden").mkdir()
    assert predictions.check_predictions(root, {"dog": NAMES}) == ("extra",)
    with pytest.raises(ValueError, match=r"1 of 2 sequences missing \(cat\); predict them too"):
        predictions.check_predictions(root, {"dog": NAMES, "cat": NAMES})
    with pytest.raises(ValueError, match=r"1 of 1 sequences missing \(dog\); it holds PNGs itself"):
        predictions.check_predictions(folder, {"dog": NAMES})
    with pytest.raises(ValueError, match="no such folder; give the folder that holds"):
        predictions.check_predictions(root / "nowhere", {"dog": NAMES})
    outer = root / "outer"
    predictions.write_masks(outer / "480p" / "dog", masks(), NAMES)
    with pytest.raises(ValueError, match=r"sequences missing \(dog\); give .*480p instead"):
        predictions.check_predictions(outer, {"dog": NAMES})
    (folder / "00003.png").unlink()
    assert predictions.check_predictions(root, {"dog": NAMES}, may_lack={"dog": ("00003",)}) == (
        "extra",
        "outer",
    )
    with pytest.raises(ValueError, match=r"dog: 1 of 4 frames missing \(00003\)"):
        predictions.check_predictions(root, {"dog": NAMES})


# ---- joints


def places(frames: int = 5) -> np.ndarray:
    xy = (np.random.default_rng(1).random((frames, 2, 2)) * 300 - 10).astype(np.float32)
    xy[2, 1] = -1
    return xy


def test_joints_come_back_to_the_last_bit(tmp_path: Path) -> None:
    predictions.write_joints(tmp_path / "clip", places(), JOINTS)
    found = predictions.read_joints(tmp_path / "clip", 5, JOINTS)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, places())
    assert (tmp_path / "clip" / "joints.csv").read_text().startswith("sequence,frame,joint,x,y\nclip,0,neck,")


def test_matlab_joints_count_from_one(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    savemat(
        tmp_path / "clip" / "joint_positions.mat", {"pos_img": places().astype(float).transpose(2, 1, 0) + 1}
    )
    found = predictions.read_joints(tmp_path / "clip", 5, JOINTS)
    np.testing.assert_allclose(found, places(), atol=1e-5)
    assert found[2, 1].tolist() == [-1, -1]  # (0, 0) there


BAD_TABLES: dict[str, tuple[Callable[[str], str], str]] = {
    "header": (
        lambda t: t.replace("sequence,", "clip,", 1),
        "first line is clip,frame,joint,x,y, expected sequence",
    ),
    "empty": (lambda t: "", "first line is absent, expected sequence,frame,joint,x,y"),
    "fields": (lambda t: t + "clip,0,neck,1\n", "line 12: 4 fields, expected 5"),
    "sequence": (lambda t: t.replace("clip,1", "walk,1", 1), "line 4: sequence 'walk', expected 'clip'"),
    "joint": (lambda t: t.replace("neck", "nose", 1), "line 2: unknown joint 'nose'; expected one of neck"),
    "frame": (
        lambda t: t.replace("clip,4", "clip,5", 1),
        "line 10: frame '5', expected 0 to 4; frames count from 0",
    ),
    "negative frame": (lambda t: t.replace("clip,4", "clip,-1", 1), "line 10: frame '-1', expected 0 to 4"),
    "nan": (
        lambda t: t + "clip,0,neck,nan,1\n",
        r"line 12: place \(nan, 1\) is not two numbers; a lost joint",
    ),
    "word": (lambda t: t + "clip,0,neck,left,1\n", r"line 12: place \(left, 1\) is not two numbers"),
    "twice": (lambda t: t + "clip,0,neck,1,1\n", "line 12: frame 0 has joint 'neck' twice; keep one"),
    "absent": (
        lambda t: "\n".join(t.split("\n")[:9]) + "\n",
        "2 of 10 rows missing, the first is frame 4 joint 'neck'",
    ),
    "quotes": (lambda t: t + '"clip,0', r"cannot be read as CSV \(.*\); write it again"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table_of_joints_is_named_for_what_it_is(tmp_path: Path, case: str) -> None:
    predictions.write_joints(tmp_path / "clip", places(), JOINTS)
    path = tmp_path / "clip" / "joints.csv"
    spoil, message = BAD_TABLES[case]
    path.write_text(spoil(path.read_text()))
    with pytest.raises(ValueError, match=message) as caught:
        predictions.read_joints(tmp_path / "clip", 5, JOINTS)
    assert str(caught.value).startswith(str(path))


def test_bad_matlab_files(tmp_path: Path) -> None:
    path = tmp_path / "clip" / "joint_positions.mat"
    path.parent.mkdir()
    with pytest.raises(ValueError, match=r"clip: neither joints.csv nor joint_positions.mat"):
        predictions.read_joints(path.parent, 5, JOINTS)
    good = places().astype(float).transpose(2, 1, 0) + 1
    for content, message in (
        ({"other": good}, r"no variable pos_img; expected one of shape \(2, 2, 5\)"),
        ({"pos_img": good[:, :, :4]}, r"pos_img is float64 \(2, 2, 4\), expected numbers \(2, 2, 5\)"),
        ({"pos_img": good * np.nan}, r"not finite; a lost joint is \(0, 0\)"),
        ({"pos_img": "text"}, r"expected numbers \(2, 2, 5\)"),
    ):
        savemat(path, content)
        with pytest.raises(ValueError, match=message):
            predictions.read_joints(path.parent, 5, JOINTS)
    for data in (b"", b"MATLAB 5.0 MAT-file" + bytes(200), b"\x80\x04\x95 not a pickle either"):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"joint_positions.mat: cannot be read as a MATLAB file"):
            predictions.read_joints(path.parent, 5, JOINTS)
    header = b"MATLAB 7.3 MAT-file".ljust(124, b" ") + b"\x00\x02IM"
    path.write_bytes(header + b"\x89HDF\r\n\x1a\n" + bytes(500))
    with pytest.raises(ValueError, match=r"a MATLAB 7.3 file; save it with -v7"):
        predictions.read_joints(path.parent, 5, JOINTS)


@pytest.mark.parametrize("bad", [np.full((5, 2, 2), np.nan), np.zeros((5, 3, 2)), np.zeros((5, 2))])
def test_only_finite_joints_are_written(tmp_path: Path, bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"joints must be finite \(T, 2, 2\)"):
        predictions.write_joints(tmp_path / "clip", bad, JOINTS)
    assert list(tmp_path.iterdir()) == []

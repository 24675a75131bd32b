"""BADJA's annotation files: (row, column) in 1920x1080 originals, flags, sparse frames, and files that are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corrbench.datasets import badja
from corrbench.datasets.badja import BADJA

SIZE = (48, 85)


def entry(name: str, frame: int, visible: set[int]) -> dict[str, object]:
    """Joint j at row 10 + frame, column 20 * j."""
    return {
        "image_path": f"DAVIS/JPEGImages/Full-Resolution/{name}/{frame:05d}.jpg",
        "segmentation_path": f"DAVIS/Annotations/Full-Resolution/{name}/{frame:05d}.png",
        "visibility": [j in visible for j in range(37)],
        "joints": [[10 + frame, 20 * j] if j in visible else [0, 0] for j in range(37)],
    }


def write_davis(davis: Path, name: str, frames: int, index: int) -> None:
    for kind in ("JPEGImages", "Annotations"):
        (davis / kind / "480p" / name).mkdir(parents=True)
    for t in range(frames):
        Image.fromarray(np.full((*SIZE, 3), t, np.uint8)).save(
            davis / "JPEGImages/480p" / name / f"{t:05d}.jpg"
        )
        mask = np.zeros(SIZE, np.uint8)
        mask[: t + 1, :10] = index
        Image.fromarray(mask).save(davis / "Annotations/480p" / name / f"{t:05d}.png")


@pytest.fixture
def data(tmp_path):
    """`bear` in BADJA's own DAVIS folder, `dog` in the one beside it; `camel` has frames but no annotation."""
    root = tmp_path / "BADJA"
    (root / "joint_annotations").mkdir(parents=True)
    write_davis(root / "DAVIS", "bear", 9, index=255)
    write_davis(tmp_path / "DAVIS", "dog", 4, index=1)
    write_davis(tmp_path / "DAVIS", "camel", 4, index=1)
    # Not in the order of frames, and with a joint (34, chin) that is not one of the twenty.
    bear = [entry("bear", 7, {8, 9, 12}), entry("bear", 2, {8, 9, 34}), entry("bear", 4, {9, 36})]
    (root / "joint_annotations" / "bear.json").write_text(json.dumps(bear))
    (root / "joint_annotations" / "dog.json").write_text(
        json.dumps([entry("dog", 0, {31}), entry("dog", 3, {31})])
    )
    (root / "joint_annotations" / "cat_jump.json").write_text("not read")
    return root


def test_twenty_joints_of_the_authors_catalogue():
    assert len(badja.JOINTS) == len(set(badja.JOINTS.values())) == 20
    assert sorted(joint for joint, _ in badja.BONES) == [
        j for j in range(20) if j != 6
    ]  # all but the neck, the root
    names = list(badja.JOINTS.values())
    for joint, parent in badja.BONES:
        sides = {word for j in (joint, parent) for word in names[j].split()} & {"left", "right"}
        assert len(sides) <= 1, (names[joint], names[parent])


def test_sequences_run_from_the_first_annotated_frame_to_the_last(data):
    found = BADJA(data)
    assert found.names() == ("bear", "dog")
    assert (found.official, found.name, found.kind) == (7, "BADJA (DAVIS sequences)", "pose")
    bear = found.load("bear")
    assert (len(bear), bear.size) == (6, SIZE)  # frames 2 to 7
    assert abs(int(bear.frame(0).mean()) - 2) <= 1
    assert [t for t in range(6) if bear.label(t) is not None] == [0, 2, 5]
    names = list(bear.objects)
    label = bear.label(0)
    assert np.isfinite(label).all(-1).sum() == 2
    expected = [20 * 9 * SIZE[1] / 1920, (10 + 2) * SIZE[0] / 1080]  # x from the column, y from the row
    np.testing.assert_allclose(label[names.index("upper right 2")], expected, rtol=1e-6)
    assert np.isnan(label[names.index("left ear")]).all()
    np.testing.assert_array_equal(bear.extra["area"], [30, np.nan, 50, np.nan, np.nan, 80])
    assert len(found.load("dog")) == 4


def test_digest_is_of_what_is_used(data):
    before = BADJA(data).digest()
    unused = data / "DAVIS/Annotations/480p/bear/00003.png"
    Image.fromarray(np.ones(SIZE, np.uint8)).save(unused)  # between annotated frames, so never read
    assert BADJA(data).digest() == before
    used = data / "DAVIS/Annotations/480p/bear/00004.png"
    Image.fromarray(np.ones(SIZE, np.uint8)).save(used)
    changed = BADJA(data).digest()
    assert changed != before
    assert BADJA(data, sequences=["dog"]).digest() not in (before, changed)


def change(**values):
    def of(entries):
        entries[0].update(values)

    return of


def bear(joint, value):
    def of(entries):
        entries[0]["visibility"][joint] = True
        entries[0]["joints"][joint] = value

    return of


WRONG = {
    "no list": (lambda entries: entries.clear(), "expected a list with an entry a frame"),
    "no flags": (lambda entries: entries[0].pop("visibility"), "lacks image_path, joints or visibility"),
    "too few joints": (lambda entries: entries[0]["joints"].pop(), "has not 37 joints"),
    "a flag that is none": (change(visibility=[1] * 37), "visibility is 1, expected true or false"),
    "no frame number": (change(image_path="bear/first.jpg"), "does not end in a frame number"),
    "a frame twice": (change(image_path="bear/00004.jpg"), "annotates frame 00004 twice"),
    "a frame that is not there": (change(image_path="bear/00090.jpg"), r"00009\.jpg: missing, though"),
    "a place outside the frame": (bear(8, [1080, 5]), r"\[1080, 5\] is no \(row, column\)"),
    "a place with one number": (bear(8, [108]), r"is no \(row, column\)"),
    "a place of words": (bear(8, ["108", "5"]), r"is no \(row, column\)"),
    "a place of truth values": (bear(8, [True, False]), r"is no \(row, column\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_annotations_are_refused_in_one_sentence_that_names_them(data, case):
    spoil, words = WRONG[case]
    path = data / "joint_annotations" / "bear.json"
    entries = json.loads(path.read_text())
    spoil(entries)
    path.write_text(json.dumps(entries))
    with pytest.raises(ValueError, match=words) as error:
        BADJA(data).load("bear")
    assert "bear" in str(error.value)
    assert "\n" not in str(error.value)


def test_json_that_is_none(data):
    (data / "joint_annotations" / "bear.json").write_text('[{"image_path": "bear/000')
    with pytest.raises(ValueError, match="not a JSON file"):
        BADJA(data).load("bear")


def test_an_empty_mask_gives_no_length(data):
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(data / "DAVIS/Annotations/480p/bear/00004.png")
    with pytest.raises(ValueError, match="the mask is empty"):
        BADJA(data).load("bear")


def test_what_is_not_there(data, tmp_path):
    with pytest.raises(ValueError, match="no sequence has its annotation here"):
        BADJA(data, resolution="Full-Resolution")
    with pytest.raises(ValueError, match="is not a sequence of BADJA"):
        BADJA(data, sequences=["camel"])
    with pytest.raises(ValueError, match="is not a sequence of BADJA"):
        BADJA(data).load("camel")


def test_real_joints_lie_on_the_animal(real_data):
    found = BADJA(real_data)
    assert found.official == 7
    near = []
    for name in found.names():
        sequence = found.load(name)
        assert sequence.size == (480, 854)
        annotated = [t for t in range(len(sequence)) if sequence.label(t) is not None]
        assert annotated[0] == 0
        assert annotated[-1] == len(sequence) - 1
        assert (sequence.extra["area"][annotated] > 1000).all()
        masks = [path for path in found.files(name) if path.suffix == ".png"]
        for t, path in zip(annotated, masks, strict=True):
            mask = np.asarray(Image.open(path)) > 0
            for x, y in sequence.label(t)[np.isfinite(sequence.label(t)).all(-1)]:
                window = mask[max(0, int(y) - 8) : int(y) + 9, max(0, int(x) - 8) : int(x) + 9]
                near.append(bool(window.any()))
    assert len(near) > 500
    assert np.mean(near) > 0.95  # x and y swapped would be far below

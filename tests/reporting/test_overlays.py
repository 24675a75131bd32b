"""Overlays draw what was predicted where it was predicted, and nothing of data that may not be passed on."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from corrbench import predictions
from corrbench.datasets.sequence import Sequence
from corrbench.reporting import films, joints, overlays
from corrbench.reporting import run as running
from corrbench.reporting.svg import PALETTE
from tests.fake_records import JOINTS, make_records

GREY = 100


def sequence(name, labels, objects=("1", "2"), size=(48, 64), length=6):
    frames = np.full((length, *size, 3), GREY, np.uint8)
    return Sequence(name, frames, size, labels, objects)


def masks(length=6, size=(48, 64)):
    found = np.zeros((length, *size), np.uint8)
    found[:, 10:30, 10:30] = 1
    found[:, 10:30, 40:60] = 2
    return found


def rgb(words):
    return np.array([int(words[i : i + 2], 16) for i in (1, 3, 5)], float)


def test_masks_are_filled_in_the_colour_of_their_id_and_the_annotation_is_a_white_line():
    predicted = masks()
    truth = np.roll(predicted, 4, axis=1)
    drawn = np.asarray(overlays.draw(sequence("a", truth), predicted, 3, 64)).astype(float)
    for place, index in (((20, 20), 0), ((20, 50), 1)):
        assert drawn[place] == pytest.approx((rgb(PALETTE[index]) + GREY) / 2, abs=1)
    assert drawn[5, 5] == pytest.approx([GREY] * 3)
    assert drawn[33, 20] == pytest.approx([255] * 3)  # the annotation's lower edge, 4 pixels down
    assert drawn[10, 20] == pytest.approx(rgb(PALETTE[0]), abs=1)  # the prediction's own edge


def test_joints_are_dots_at_their_place_and_lost_ones_are_not_drawn():
    truth = np.full((6, 3, 2), 30.0, np.float32)
    xy = truth.copy()
    xy[:, 0] = (10, 10)
    xy[:, 1] = (50, 10)
    xy[:, 2] = -1
    found = sequence("a", truth, ("left hip", "right hip", "neck"))
    drawn = np.asarray(overlays.draw(found, xy, 2, 64)).astype(float)
    assert np.abs(drawn[10, 10] - rgb(PALETTE[1])).max() < 40
    assert np.abs(drawn[10, 50] - rgb(PALETTE[0])).max() < 40
    assert drawn[45, 5] == pytest.approx([GREY] * 3)
    assert drawn[2, 2] == pytest.approx([GREY] * 3)


def test_stills_and_strip_have_the_frames_they_say():
    predicted = masks(40)
    found = sequence("a", predicted, length=40)
    titles = [title for title, _ in overlays.stills(found, predicted)]
    assert titles == ["first frame (given)", "frame 19", "last frame (39)"]
    data, count, size = overlays.strip(found, predicted)
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "WEBP"
        assert (count, image.size) == (overlays.FRAMES, (size[1], size[0] * count))
    assert overlays.strip(sequence("b", masks(3), length=3), masks(3))[1] == 3


def test_bones_join_known_and_numbered_joints():
    names = ("neck", "face", "tail 0", "tail 6", "tail 3", "nose")
    assert set(overlays.bones(names)) == {(0, 1), (2, 4), (4, 3)}


class Data:
    """A data set of the sequences that `fake_records` names."""

    def load(self, name):
        return sequence(name, masks())


@pytest.fixture
def runs(tmp_path):
    records = make_records(tmp_path, methods=("hog", "lab"))
    for record in records:
        for name in record.dataset["names"]:
            folder = record.folder / "predictions" / name
            predictions.write_masks(folder, masks(), sequence(name, masks()).frame_names)
    return running.make(records, ["record.json"] * 2)


def test_the_best_and_the_worst_sequence_of_each_method(runs):
    made, notes = films.films(runs, "all", lambda record: Data())
    assert notes == ()
    assert len(made) == 4
    for run, pair in zip(runs, (made[:2], made[2:]), strict=True):
        order = np.argsort(run.by_sequence)
        assert run.scores.names[order[-1]] in pair[0].caption
        assert "best sequence" in pair[0].caption
        assert run.scores.names[order[0]] in pair[1].caption
        assert "worst sequence" in pair[1].caption
        for film in pair:
            assert "synthetic" in film.caption
            assert (film.signature, film.link) == (run.record.signature, run.link)


def test_a_report_that_is_passed_on_holds_no_pixel_of_data_that_is_not_free(tmp_path):
    records = make_records(tmp_path, methods=("hog",), synthetic=False)
    real = running.make(records, ["record.json"])

    def forbidden(record):
        raise AssertionError("the frames were looked for")

    made, notes = films.films(real, "synthetic", forbidden)
    assert made == ()
    assert notes == ("DAVIS-2017 val is not free data: this report holds none of its pixels.",)
    assert films.films(real, "none", forbidden) == ((), ())


def test_what_cannot_be_shown_says_why(runs, tmp_path):
    def gone(record):
        raise FileNotFoundError("no DAVIS here")

    assert films.films(runs[:1], "all", gone)[1] == ("No overlay of hog: no DAVIS here",)
    bare = running.make(make_records(tmp_path / "bare", methods=("hog",)), ["record.json"])
    assert "keeps no predictions" in films.films(bare, "all", lambda record: Data())[1][0]
    with pytest.raises(ValueError, match="does not say which data set"):
        films.datasets()(bare[0].record)


def test_confusion_agrees_with_brute_force(tmp_path):
    (run,) = running.make(make_records(tmp_path, kind="pose", methods=("hog",), sequences=3), ["x"])
    matrix, names = joints.confusion(run)
    assert names == JOINTS
    frames = run.record.frames()
    rows = list(
        zip(*(frames[k] for k in ("sequence", "frame", "joint", "x", "y", "gt_x", "gt_y")), strict=True)
    )
    counts = np.zeros((len(names), len(names)))
    for s, f, j, x, y, _, _ in rows:
        if f != "0":
            truth = {r[2]: (r[5], r[6]) for r in rows if r[:2] == (s, f)}
            nearest = min(truth, key=lambda name: (truth[name][0] - x) ** 2 + (truth[name][1] - y) ** 2)
            counts[names.index(j), names.index(nearest)] += 1
    assert matrix == pytest.approx(100 * counts / counts.sum(axis=1, keepdims=True))
    sided = [(3, 4), (4, 3), (5, 6), (6, 5)]
    assert joints.left_right(matrix, names) == pytest.approx(np.mean([matrix[i] for i in sided]))


def test_pooled_joints_and_classes_average_to_the_records_numbers(tmp_path):
    (pose,) = running.make(make_records(tmp_path, kind="pose", methods=("hog",)), ["x"])
    assert np.mean(list(joints.per_joint(pose, "0.1").values())) == pytest.approx(
        pose.record.summary["PCK@0.1"]
    )
    (parts,) = running.make(make_records(tmp_path, kind="parts", methods=("hog",)), ["x"])
    assert np.mean(list(joints.per_class(parts).values())) == pytest.approx(parts.record.summary["mIoU"])


def test_curves_are_the_mean_over_objects_frame_by_frame(tmp_path):
    (run,) = running.make(make_records(tmp_path, methods=("hog",), frames=12), ["x"])
    found = running.curves(run)
    assert set(found) == set(run.scores.names)
    frames = run.record.frames()
    mine = frames["sequence"] == "clip-01"  # the fake's odd clips have two objects
    by_hand = [
        50 * np.mean(frames["J"][mine & (frames["frame"] == f)] + frames["F"][mine & (frames["frame"] == f)])
        for f in sorted(set(frames["frame"][mine]))
    ]
    assert found["clip-01"] == pytest.approx(by_hand)

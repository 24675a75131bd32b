"""Pose propagation: what is saved is read back, and rows of scores sum up to the field's PCK."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.io import savemat

from corrbench import config, labels, protocol, runner, summary
from corrbench.datasets.badja import BADJA
from corrbench.datasets.jhmdb import JHMDB, JOINTS
from corrbench.datasets.sequence import Sequence
from corrbench.metrics import pck
from corrbench.reporting import joints
from corrbench.tasks.pose import PosePropagation, annotated_joints

SIZE = (240, 320)
TASKS = Path(__file__).parents[2] / "tasks"


def clip(name: str, frames: int, seed: int, joints: tuple[str, ...] = JOINTS, **extra: object) -> Sequence:
    rng = np.random.default_rng(seed)
    start = rng.uniform((20, 20), (300, 220), (1, len(joints), 2))
    labels = (start + rng.normal(0, 3, (frames, len(joints), 2)).cumsum(0)).astype(np.float32)
    images = np.zeros((frames, *SIZE, 3), np.uint8)
    return Sequence(name, images, SIZE, labels, joints, extra)


def predicted(sequence: Sequence, seed: int, noise: float = 15.0) -> np.ndarray:
    """Joints near the annotated ones, one in ten lost."""
    rng = np.random.default_rng(seed)
    near = np.nan_to_num(annotated_joints(sequence), nan=50.0) + rng.normal(0, noise, sequence.labels.shape)
    near[rng.random(near.shape[:2]) < 0.1] = -1
    return near.astype(np.float32)


def task(**settings: object) -> PosePropagation:
    return PosePropagation(dataset=None, **settings)


def summed(rows: list[dict[str, object]]) -> dict[str, float]:
    return summary.summarise("pose", summary.as_table(rows))


def test_numbers_of_two_clips_pool_frames_for_each_joint():
    clips = [clip("a", 12, 1), clip("b", 5, 2)]
    predictions = [predicted(c, 7) for c in clips]
    rows, frames = [], []
    for sequence, prediction in zip(clips, predictions, strict=True):
        new = task().score(sequence, prediction)
        rows += new[0]
        frames += new[1]
    assert len(rows) == 2 * 15
    found = summed(rows)
    for alpha in (0.1, 0.2, 0.5):
        of_joints, of_all, no0 = [], [], []
        for j in range(15):
            hits, counted, every, whole, later, counted_later = 0, 0, 0, 0, 0, 0
            for c, p in zip(clips, predictions, strict=True):
                for t in range(len(c)):
                    seen = p[t, :, 0] > 0
                    box = 0.6 * np.linalg.norm(np.ptp(c.labels[t][seen].astype(np.float64), axis=0))
                    box_all = 0.6 * np.linalg.norm(np.ptp(c.labels[t].astype(np.float64), axis=0))
                    d = math.dist(p[t, j].tolist(), c.labels[t, j].tolist())
                    every += 1
                    if seen[j]:
                        counted += 1
                        hits += d / box <= alpha
                        whole += d / box_all <= alpha
                        counted_later += t > 0
                        later += t > 0 and d / box <= alpha
            of_joints.append(100 * hits / counted)
            of_all.append(100 * whole / every)
            no0.append(100 * later / counted_later)
        assert found[f"PCK@{alpha}"] == pytest.approx(np.mean(of_joints), abs=1e-9)
        assert found[f"PCK@{alpha} (no frame 0)"] == pytest.approx(np.mean(no0), abs=1e-9)
        assert found[f"PCK@{alpha} (lost = miss)"] == pytest.approx(np.mean(of_all), abs=1e-9)
    lost = np.mean([100 * sum((p[:, j, 0] <= 0).sum() for p in predictions) / 17 for j in range(15)])
    assert found["lost"] == pytest.approx(lost, abs=1e-9)
    assert len(frames) == 17 * 15
    assert sum(row["distance"] is None for row in frames) == sum(
        int((p[..., 0] <= 0).sum()) for p in predictions
    )


def test_rows_of_frames_hold_what_the_numbers_were_made_of():
    sequence = clip("a", 3, 4)
    prediction = predicted(sequence, 1)
    rows, frames = task().score(sequence, prediction)
    for j, joint in enumerate(JOINTS):
        near = [row for row in frames if row["joint"] == joint]
        assert [row["frame"] for row in near] == [0, 1, 2]
        assert (near[1]["x"], near[1]["gt_y"]) == pytest.approx(
            (prediction[1, j, 0], sequence.labels[1, j, 1]), abs=1e-3
        )
        hits = sum(row["distance"] is not None and row["distance"] <= 0.2 for row in near)
        assert rows[j]["hits@0.2"] == hits
        assert rows[j]["count"] + rows[j]["lost"] == rows[j]["annotated"] == 3


def test_the_reports_confusion_is_that_of_the_metric():
    sequence = clip("a", 30, 6)
    prediction = predicted(sequence, 3, noise=60)
    prediction = np.where(prediction == -1, -1, prediction.clip(1))  # positions lie in the frame or are lost
    _, frames = task().score(sequence, prediction)
    run = SimpleNamespace(record=SimpleNamespace(frames=lambda: runner.columns(frames)))
    found, names = joints.confusion(run)
    counts = pck.confusion(prediction[1:], sequence.labels[1:], zero_counts=True).double()  # frame 0 is given
    assert names == JOINTS
    np.testing.assert_allclose(found, 100 * counts / counts.sum(1, keepdim=True), atol=1e-9)
    assert 10 < np.trace(found) / 15 < 90


def test_what_is_saved_is_read_back_exactly(tmp_path):
    sequence = clip("a clip+name!!!", 4, 0)
    prediction = predicted(sequence, 5)
    task().save(tmp_path / sequence.name, sequence, prediction)
    np.testing.assert_array_equal(task().read(tmp_path / sequence.name, sequence), prediction)


def test_joints_as_jhmdb_publishes_them_are_scored_wherever_the_class_folder_is(tmp_path):
    sequence = clip("a", 4, 0)
    pos = (
        np.where(predicted(sequence, 0) == -1, -1, sequence.labels).transpose(2, 1, 0) + 1.0
    )  # lost at (0, 0)
    folder = tmp_path / "golf" / "a"
    folder.mkdir(parents=True)
    savemat(folder / "joint_positions.mat", {"pos_img": pos})
    assert task().find_prediction(tmp_path, "a") == folder
    assert task().find_prediction(tmp_path, "b") is None
    found = summed(task().score(sequence, task().read(folder, sequence))[0])
    assert found["PCK@0.1"] == 100.0
    assert 0 < found["lost"] < 30
    (tmp_path / "jump" / "a").mkdir(parents=True)
    assert task().find_prediction(tmp_path, "a") is None  # two of that name: which one is not for us to guess


def test_a_joint_at_the_left_edge_counts_only_where_asked():
    sequence = clip("a", 2, 0)
    prediction = sequence.labels.copy()
    prediction[1, 3, 0] = 0
    assert task().score(sequence, prediction)[0][3]["count"] == 1
    assert task(zero_counts=True).score(sequence, prediction)[0][3]["count"] == 2


def sparse() -> Sequence:
    """Four frames of three joints; frame 1 is not annotated, and joint c only from frame 2 on."""
    labels = np.array([[[50, 50], [90, 50], [np.nan, np.nan]]] * 4, np.float32)
    labels[2:, 2] = 70
    area = np.array([10_000, np.nan, 10_000, 40_000.0])
    labels_T = tuple(None if t == 1 else labels[t] for t in range(4))
    return Sequence("s", np.zeros((4, *SIZE, 3), np.uint8), SIZE, labels_T, ("a", "b", "c"), {"area": area})


def test_sparse_annotation_in_units_of_the_masks_size():
    sequence = sparse()
    prediction = np.array([[[50, 50], [90, 50], [70, 70]]] * 4, np.float32)
    prediction[:, 0, 0] += 30  # 30 px: 0.3 of 100, 0.15 of 200
    prediction[2, 1] = -1
    rows, frames = task(unit="area").score(sequence, prediction)
    a, b, c = rows
    assert [a[f"hits@{alpha}"] for alpha in (0.1, 0.2, 0.3)] == [0, 1, 3]
    assert (a["annotated"], a["count"], a["count_no0"]) == (3, 3, 2)
    assert (b["annotated"], b["count"], b["lost"], b["hits@0.1"], b["hits_annotated@0.1"]) == (3, 2, 1, 2, 2)
    assert (
        c["annotated"] == c["count"] == 0
    )  # not annotated in frame 0: nothing to propagate, so nothing to score
    assert len(frames) == 6
    assert [row["frame"] for row in frames if row["joint"] == "a"] == [0, 2, 3]
    found = summed(rows)
    assert found["PCK@0.2"] == pytest.approx((100 / 3 + 100) / 2)
    assert found["PCK@0.2 (lost = miss)"] == pytest.approx((100 / 3 + 200 / 3) / 2)
    assert np.array_equal(task().first(sequence)[3], [[50, 50], [90, 50], [-1, -1]])


def test_mistakes_are_answered():
    with pytest.raises(ValueError, match="expected one of box, area"):
        task(unit="torso")
    with pytest.raises(ValueError, match="use unit='box'"):
        task(unit="area").score(clip("a", 2, 0), np.ones((2, 15, 2), np.float32))
    nothing = clip("a", 2, 0)
    nothing.labels[0] = np.nan
    with pytest.raises(ValueError, match="nothing to propagate"):
        task().first(nothing)


@pytest.mark.parametrize("name", protocol.names())
def test_the_first_joints_survive_the_way_to_the_grid_and_back(name):
    sequence = clip("a", 2, 3)
    settled = protocol.preset(name, "pose")
    input_size = settled.input_size(SIZE)
    grid = tuple(-(-side // 8) for side in input_size)
    maps = task().encode(sequence, settled, input_size, grid)
    assert maps.shape == (15 + settled.background, *grid)
    found = task().decode(torch.stack([maps, maps]), sequence, settled)
    assert found.shape == (2, 15, 2)
    assert found.dtype == np.float32
    apart = np.abs(found - sequence.labels[0])
    cell = np.array([SIZE[1] / grid[1], SIZE[0] / grid[0]])
    assert (apart[0] <= 2).all()  # frame 0 never goes through the grid
    assert (apart[1] <= 1.5 * cell).all()


def test_a_joint_without_annotation_has_an_empty_map_and_is_lost():
    sequence = sparse()
    for name in ("stt", "crw"):
        settled = protocol.preset(name, "pose")
        maps = task().encode(sequence, settled, (320, 320), (40, 40))
        joints = maps[int(settled.background) :]
        assert joints[2].sum() == 0
        assert (joints[:2].sum((1, 2)) > 0).all()
        found = task().decode(torch.stack([maps, maps]), sequence, settled)
        assert (found[:, 2] == -1).all()
        assert (found[:, :2] > 0).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_joints_decoded_from_the_released_codes_maps(seed):
    """Positions from golden heat maps of STT's code, by its rule: the value-weighted mean of the five highest pixels.

    That rule leaves ties to numpy's sort; the later pixel is taken here and there.
    """
    golden = np.load(Path(__file__).parents[1] / "golden" / "propagation" / f"stt_pose_{seed}.npz")
    output, size = golden["output"].astype(np.float64), tuple(golden["frame_size"].tolist())
    expected = np.full((*output.shape[:2], 2), -1.0)
    for t, j in np.ndindex(output.shape[:2]):
        flat = output[t, j].ravel()
        if flat.sum() == 0:
            continue
        top = np.argsort(flat, kind="stable")[-5:]  # of equals the last
        weight = flat[top] / flat[top].sum()
        expected[t, j] = (weight * (top % size[1])).sum(), (weight * (top // size[1])).sum()
    assert (expected > 0).all(-1).sum() > 8
    frames = golden["output_frames"]
    later = frames > 0
    soft = torch.as_tensor(golden["grid_soft"][frames[later] - 1])
    found = labels.decode_joints(soft, size, protocol.preset("stt", "pose"))
    np.testing.assert_allclose(found, expected[later], atol=5e-5)


@pytest.mark.parametrize(("name", "kind"), [("jhmdb", "box"), ("badja", "area")])
def test_task_files_hold_every_setting(name, kind):
    file = config.load(TASKS / f"{name}.py", "task")
    resolved = config.resolve_file(file.data)["task"]
    assert resolved["type"] == "PosePropagation"
    assert resolved["unit"] == kind
    written = {key for key in resolved if key != "protocol"}
    assert written <= set(file.data["task"])
    assert protocol.preset("stt", "pose").replace(**resolved["protocol"] or {})


def test_real_clips_with_labels_that_never_move(real_data):
    built = PosePropagation(dataset=JHMDB(real_data))
    rows = []
    for name in built.dataset.names():
        sequence = built.dataset.load(name)
        rows += built.score(sequence, built.first(sequence))[0]
    found = summed(rows)
    assert found["lost"] == 0
    assert found["PCK@0.1"] > found["PCK@0.1 (no frame 0)"] > 0  # frame 0 is given, and lifts the score
    assert found["PCK@0.5"] > found["PCK@0.1"]


def test_real_animals_with_labels_that_never_move(real_data):
    built = PosePropagation(dataset=BADJA(real_data), unit="area")
    rows = []
    for name in built.dataset.names():
        sequence = built.dataset.load(name)
        rows += built.score(sequence, built.first(sequence))[0]
    found = summed(rows)
    assert 0 < found["PCK@0.2 (no frame 0)"] < found["PCK@0.2"] < 100


def test_scores_do_not_depend_on_the_device():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    sequence = clip("a", 6, 0)
    prediction = predicted(sequence, 2)
    assert task().score(sequence, prediction, device="cuda") == task().score(sequence, prediction)

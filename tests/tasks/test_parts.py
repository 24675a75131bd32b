"""Part propagation: masks there and back, and rows of scores that sum up to the data set's mIoU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from corrbench import config, predictions, protocol, summary
from corrbench.datasets.sequence import Sequence
from corrbench.datasets.vip import CLASSES
from corrbench.tasks import parts
from corrbench.tasks.parts import PartPropagation

SIZE = (72, 128)
TASKS = Path(__file__).parents[2] / "tasks"


def blocks(frames: int, seed: int, classes: int = 20) -> np.ndarray:
    """Masks of 8-px blocks of classes, with a void row."""
    cells = np.random.default_rng(seed).integers(0, classes, (frames, SIZE[0] // 8, SIZE[1] // 8))
    masks = cells.repeat(8, 1).repeat(8, 2).astype(np.uint8)
    masks[:, -3:] = 255
    return masks


def video(name: str, masks: np.ndarray) -> Sequence:
    return Sequence(name, np.zeros((len(masks), *SIZE, 3), np.uint8), SIZE, masks, CLASSES)


def task() -> PartPropagation:
    return PartPropagation(dataset=None)


def test_rows_of_two_videos_sum_up_to_the_miou_of_the_data_set(monkeypatch):
    truths = [blocks(19, 0, classes=6), blocks(3, 1, classes=4)]
    found = [np.where(np.random.default_rng(9).random(t.shape) < 0.7, t, 1).astype(np.uint8) for t in truths]
    found = [np.where(t == 255, 0, p).astype(np.uint8) for t, p in zip(truths, found, strict=True)]
    rows = []
    for name, truth, prediction in zip("ab", truths, found, strict=True):
        new, frames = task().score(video(name, truth), prediction)
        assert frames == []
        rows += new
    assert [row["class"] for row in rows[:20]] == list(CLASSES)
    for suffix, start in (("", 0), (" (no frame 0)", 1)):
        truth = np.concatenate([t[start:].ravel() for t in truths])
        prediction = np.concatenate([p[start:].ravel() for p in found])
        kept = truth != 255
        of_class = []
        for c in range(20):
            a, b = (truth == c) & kept, (prediction == c) & kept
            if (a | b).any():
                of_class.append(100 * (a & b).sum() / (a | b).sum())
        assert len(of_class) == 6
        numbers = summary.summarise("parts", summary.as_table(rows))
        assert numbers[f"mIoU{suffix}"] == pytest.approx(np.mean(of_class), abs=1e-9)
    monkeypatch.setattr(parts, "FRAMES_AT_ONCE", 1000)
    assert task().score(video("a", truths[0]), found[0])[0] == rows[:20]  # blocks of frames change nothing


def test_a_frame_of_void_and_a_class_in_no_frame():
    truth = np.full((2, *SIZE), 255, np.uint8)
    truth[0] = 3
    rows, _ = task().score(video("a", truth), np.full((2, *SIZE), 3, np.uint8))
    numbers = summary.summarise("parts", summary.as_table(rows))
    assert numbers["mIoU"] == 100.0  # of the one class that occurs
    assert np.isnan(numbers["mIoU (no frame 0)"])  # nothing is left to score


def test_what_is_saved_is_read_back_and_any_class_may_be_predicted(tmp_path):
    sequence = video("a", blocks(3, 0, classes=2))
    prediction = blocks(3, 4)
    prediction[prediction == 255] = 19
    task().save(tmp_path / "a", sequence, prediction)
    assert task().find_prediction(tmp_path, "a") == tmp_path / "a"
    assert task().find_prediction(tmp_path, "b") is None
    np.testing.assert_array_equal(task().read(tmp_path / "a", sequence), prediction)
    prediction[1, 0, 0] = 20
    predictions.write_masks(tmp_path / "b", prediction, sequence.frame_names)
    with pytest.raises(ValueError, match="20"):
        task().read(tmp_path / "b", sequence)


def test_void_of_the_first_mask_is_propagated_as_background():
    sequence = video("a", blocks(2, 0))
    assert task().first(sequence).max() == 19
    assert (task().first(sequence)[:, -3:] == 0).all()


@pytest.mark.parametrize("name", protocol.names())
def test_the_first_mask_survives_the_way_to_the_grid_and_back(name):
    masks = np.zeros((2, *SIZE), np.uint8)
    masks[:, 16:56, 24:64] = 5
    masks[:, 16:56, 64:104] = 12
    sequence = video("a", masks)
    settled = protocol.preset(name, "parts")
    input_size = settled.input_size(SIZE)
    grid = tuple(-(-side // 8) for side in input_size)
    maps = task().encode(sequence, settled, input_size, grid)
    assert maps.shape == (13, *grid)
    found = task().decode(torch.stack([maps, maps]), sequence, settled)
    assert found.dtype == np.uint8
    assert found.shape == masks.shape
    rows, _ = task().score(sequence, found)
    numbers = summary.summarise("parts", summary.as_table(rows))
    assert numbers["mIoU (no frame 0)"] > 80
    # Frame 0 never goes through the grid: its parts of 40x40 px move by a pixel at most.
    first, _ = task().score(video("a", masks[:1]), found[:1])
    assert summary.summarise("parts", summary.as_table(first))["mIoU"] > 100 * 39 * 39 / (
        2 * 40 * 40 - 39 * 39
    )


def test_a_frame_without_annotation_cannot_be_scored():
    masks = blocks(2, 0)
    sequence = Sequence("a", np.zeros((2, *SIZE, 3), np.uint8), SIZE, (masks[0], None), CLASSES)
    with pytest.raises(ValueError, match="has no annotation"):
        task().score(sequence, masks)


def test_the_task_file_holds_every_setting():
    file = config.load(TASKS / "vip.py", "task")
    resolved = config.resolve_file(file.data)["task"]
    assert resolved["type"] == "PartPropagation"
    assert {key for key in resolved if key != "protocol"} <= set(file.data["task"])

"""Part IoU against a per-pixel loop on random masks, and against cases worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from corrbench.metrics import iou

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def loop(predicted, truth, classes):
    """Counts one pixel at a time."""
    intersection = np.zeros((len(truth), classes), int)
    union = np.zeros((len(truth), classes), int)
    for t, y, x in np.ndindex(truth.shape):
        a, b = int(truth[t, y, x]), int(predicted[t, y, x])
        if a == 255:
            continue
        intersection[t, a] += a == b
        union[t, a] += 1
        union[t, b] += a != b
    return intersection, union


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("seed", range(4))
def test_counts_equal_the_loop(seed, device):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 6, (5, 7, 9)).astype(np.uint8)
    predicted = np.where(rng.random(truth.shape) < 0.5, truth, rng.integers(0, 6, truth.shape)).astype(
        np.uint8
    )
    truth[rng.random(truth.shape) < 0.1] = 255
    predicted[truth == 255] = rng.choice(np.array([0, 3, 255], np.uint8), (truth == 255).sum())
    intersection, union = iou.class_counts(torch.tensor(predicted, device=device), truth, 6)
    for got, expected in zip((intersection, union), loop(predicted, truth, 6), strict=True):
        assert got.device.type == device
        np.testing.assert_array_equal(got.cpu(), expected)


def test_worked_by_hand():
    truth = np.array([[[0, 0, 1, 1]], [[0, 1, 2, 255]]], np.uint8)
    predicted = np.array([[[0, 1, 1, 1]], [[0, 0, 2, 2]]], np.uint8)
    intersection, union = iou.class_counts(predicted, truth, 4)
    assert intersection.tolist() == [[1, 2, 0, 0], [1, 0, 1, 0]]
    assert union.tolist() == [[2, 3, 0, 0], [2, 1, 1, 0]]
    mean, classes = iou.mean_iou(intersection.sum(0), union.sum(0))
    assert classes[:3].tolist() == [50.0, 50.0, 100.0]
    assert math.isnan(classes[3])  # never there, in neither: no IoU
    assert mean == pytest.approx(200 / 3)  # over the three that occur
    assert iou.mean_iou(intersection[1:].sum(0), union[1:].sum(0))[0] == pytest.approx(50.0)


def test_a_class_predicted_but_never_annotated_is_zero_not_absent():
    truth = np.zeros((1, 2, 2), np.uint8)
    predicted = np.array([[[0, 0], [0, 2]]], np.uint8)
    mean, classes = iou.mean_iou(*(c.sum(0) for c in iou.class_counts(predicted, truth, 3)))
    assert classes[2] == 0.0
    assert mean == pytest.approx((75.0 + 0.0) / 2)


def test_a_frame_of_void_counts_nothing_whatever_is_predicted():
    truth = np.full((2, 3, 3), 255, np.uint8)
    truth[1] = 1
    predicted = np.full((2, 3, 3), 1, np.uint8)
    intersection, union = iou.class_counts(predicted, truth, 2)
    assert intersection[0].tolist() == union[0].tolist() == [0, 0]
    assert iou.mean_iou(intersection.sum(0), union.sum(0))[0] == 100.0
    assert math.isnan(iou.mean_iou(intersection[0], union[0])[0])


def test_unions_pool_over_frames_so_the_mean_is_of_the_data_set():
    truth = np.zeros((2, 10, 10), np.uint8)
    predicted = np.zeros_like(truth)
    truth[0, :8], predicted[0, :8] = 1, 1  # a large part, found
    truth[1, 0, 0] = 1  # a small one, missed
    intersection, union = iou.class_counts(predicted, truth, 2)
    assert float(iou.mean_iou(intersection.sum(0), union.sum(0))[1][1]) == pytest.approx(100 * 80 / 81)
    apart = [iou.mean_iou(i, u)[1][1].item() for i, u in zip(intersection, union, strict=True)]
    assert np.mean(apart) == 50.0


@pytest.mark.parametrize(
    ("predicted", "truth", "words"),
    [
        (np.zeros((1, 2, 2)), np.zeros((1, 2, 3)), "shape"),
        (np.zeros((2, 2)), np.zeros((2, 2)), "shape"),
        (np.full((1, 2, 2), 20), np.zeros((1, 2, 2)), "predicted as class 20"),
        (np.full((1, 2, 2), 255), np.zeros((1, 2, 2)), "predicted as class 255"),
        (np.zeros((1, 2, 2)), np.full((1, 2, 2), 21), "annotated as class 21"),
        (np.full((1, 2, 2), -1), np.zeros((1, 2, 2)), "whole numbers from 0 to 255"),
        (np.full((1, 2, 2), 256), np.zeros((1, 2, 2)), "whole numbers from 0 to 255"),
    ],
)
def test_what_cannot_be_counted_is_refused(predicted, truth, words):
    with pytest.raises(ValueError, match=words):
        iou.class_counts(predicted.astype(np.int64), truth.astype(np.int64), 20)

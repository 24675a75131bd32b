"""PCK and part IoU on tensors against a numpy loop over frames, as released evaluation code has it.

Run by hand: `pytest benchmarks/test_pck_iou.py -s`. Both sides are timed in turn, and the medians' ratio is printed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch

from corrbench.metrics import iou, pck

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
REPEATS = 7


def pck_loop(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Hits `(5, J)`, one joint of one frame at a time."""
    hits = np.zeros((len(pck.ALPHAS), truth.shape[1]), np.int64)
    for t in range(len(truth)):
        counted = predicted[t, :, 0] > 0
        if not counted.any():
            continue
        box = 0.6 * np.linalg.norm(truth[t, counted].max(0) - truth[t, counted].min(0))
        for j in np.flatnonzero(counted):
            distance = np.linalg.norm(predicted[t, j] - truth[t, j]) / box
            for a, alpha in enumerate(pck.ALPHAS):
                hits[a, j] += distance <= alpha
    return hits


def iou_loop(predicted: np.ndarray, truth: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Intersections and unions `(classes,)`, one class of one frame at a time."""
    intersection, union = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
    for t in range(len(truth)):
        kept = truth[t] != iou.IGNORE
        for c in range(classes):
            a, b = (truth[t] == c) & kept, (predicted[t] == c) & kept
            intersection[c] += (a & b).sum()
            union[c] += (a | b).sum()
    return intersection, union


def ratio(name: str, slow: Callable[[], object], fast: Callable[[], object]) -> float:
    """Median seconds of `slow` over those of `fast`, timed in turn after one call of each."""
    seconds: dict[str, list[float]] = {"slow": [], "fast": []}
    slow(), fast()
    for _ in range(REPEATS):
        for key, function in (("slow", slow), ("fast", fast)):
            start = time.perf_counter()
            function()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[key].append(time.perf_counter() - start)
    a, b = (statistics.median(seconds[key]) for key in ("slow", "fast"))
    print(f"\n{name}: loop {1e3 * a:.2f} ms, tensors {1e3 * b:.2f} ms, ratio {a / b:.1f}")
    return a / b


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("frames", [34, 340], ids=["one JHMDB clip", "ten clips' frames"])
def test_pck(frames: int, device: str) -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(20, 220, (frames, 15, 2))
    predicted = truth + rng.normal(0, 20, truth.shape)
    predicted[rng.random((frames, 15)) < 0.05] = -1
    on_device = torch.as_tensor(predicted, device=device), torch.as_tensor(truth, device=device)
    np.testing.assert_array_equal(pck.pose_counts(*on_device).hits.cpu(), pck_loop(predicted, truth))
    found = ratio(
        f"PCK, {frames} frames of 15 joints, {device}",
        lambda: pck_loop(predicted, truth),
        lambda: pck.pose_counts(*on_device),
    )
    assert found > 1


@pytest.mark.parametrize("device", DEVICES)
def test_iou(device: str) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 20, (10, 45, 80)).astype(np.uint8).repeat(8, 1).repeat(8, 2)
    predicted = np.roll(truth, 3, axis=2)
    truth[:, :5] = iou.IGNORE
    on_device = torch.as_tensor(predicted, device=device), torch.as_tensor(truth, device=device)
    for counts, expected in zip(
        iou.class_counts(*on_device, 20), iou_loop(predicted, truth, 20), strict=True
    ):
        np.testing.assert_array_equal(counts.sum(0).cpu(), expected)
    found = ratio(
        f"part IoU, 10 frames of 640x360, 20 classes, {device}",
        lambda: iou_loop(predicted, truth, 20),
        lambda: iou.class_counts(*on_device, 20),
    )
    assert found > 1

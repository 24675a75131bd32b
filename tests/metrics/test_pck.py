"""PCK against a per-joint loop on random input, and against cases worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from corrbench.metrics import pck

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def loop(predicted, truth, zero_counts=False, unit=None, alphas=pck.ALPHAS):
    """The score one joint and frame at a time, with plain floats: dict of arrays as `PoseCounts` has them."""
    frames, joints = truth.shape[:2]
    counts = {name: np.zeros(joints, int) for name in ("annotated", "count", "lost", "count_no0")}
    counts |= {name: np.zeros((len(alphas), joints), int) for name in ("hits", "hits_no0", "hits_annotated")}
    for t in range(frames):
        known = [j for j in range(joints) if not np.isnan(truth[t, j]).any()]
        kept = [j for j in known if (predicted[t, j, 0] >= 0 if zero_counts else predicted[t, j, 0] > 0)]

        def size(members, t=t):
            if unit is not None:
                return float(unit[t])
            if not members:
                return 0.0
            xs, ys = [truth[t, j, 0] for j in members], [truth[t, j, 1] for j in members]
            return 0.6 * math.hypot(max(xs) - min(xs), max(ys) - min(ys))

        for j in known:
            counts["annotated"][j] += 1
            if j not in kept:
                counts["lost"][j] += 1
                continue
            counts["count"][j] += 1
            counts["count_no0"][j] += t > 0
            d = math.hypot(predicted[t, j, 0] - truth[t, j, 0], predicted[t, j, 1] - truth[t, j, 1])
            for a, alpha in enumerate(alphas):
                hit = size(kept) > 0 and d / size(kept) <= alpha
                counts["hits"][a, j] += hit
                counts["hits_no0"][a, j] += hit and t > 0
                counts["hits_annotated"][a, j] += size(known) > 0 and d / size(known) <= alpha
    return counts


def random_clip(seed, frames=9, joints=7):
    """Joints in a 100 px frame, some without annotation, some lost, some exactly on the left edge."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(-5, 100, (frames, joints, 2)).astype(np.float32)
    predicted = truth + rng.normal(0, 12, truth.shape).astype(np.float32)
    predicted[rng.random((frames, joints)) < 0.2] = -1
    predicted[rng.random((frames, joints)) < 0.1, 0] = 0
    truth[rng.random((frames, joints)) < 0.15] = np.nan
    return predicted, truth


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("zero_counts", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_counts_equal_the_loop(seed, zero_counts, device):
    predicted, truth = random_clip(seed)
    unit = None if seed % 2 else np.random.default_rng(seed).uniform(30, 90, len(truth))
    expected = loop(predicted, truth, zero_counts, unit)
    counts = pck.pose_counts(
        torch.tensor(predicted, device=device), truth, unit=unit, zero_counts=zero_counts
    )
    for name, value in expected.items():
        np.testing.assert_array_equal(getattr(counts, name).cpu(), value, err_msg=name)


def test_random_clips_exercise_every_branch():
    counts = [loop(*random_clip(seed)) for seed in range(6)]
    total = {name: sum(int(c[name].sum()) for c in counts) for name in counts[0]}
    assert 0 < total["lost"] < total["annotated"] < 6 * 9 * 7
    assert 0 < total["hits"] < 5 * total["count"]
    assert total["hits_annotated"] != total["hits"]
    zero = sum(int(loop(*random_clip(seed), True)["count"].sum()) for seed in range(6))
    assert zero > total["count"]


def test_worked_by_hand():
    # Annotated at the corners of a 30 x 40 rectangle: diagonal 50, box 30; alpha 0.1 is 3 px, 0.2 is 6 px.
    truth = np.array([[[10, 10], [40, 10], [10, 50], [40, 50]]], np.float64)
    predicted = truth + np.array([[[3, 0], [0, 3.001], [0, -6], [7, 0]]])
    counts = pck.pose_counts(predicted, truth)
    assert counts.hits[0].tolist() == [1, 0, 0, 0]
    assert counts.hits[1].tolist() == [1, 1, 1, 0]
    assert counts.hits[2].tolist() == [1, 1, 1, 1]
    mean, joints = pck.pck(counts.hits, counts.count)
    assert mean[:3].tolist() == [25.0, 75.0, 100.0]
    assert joints[1].tolist() == [100.0, 100.0, 100.0, 0.0]


def test_a_lost_joint_leaves_the_score_and_shrinks_the_box():
    truth = np.array([[[10, 10], [40, 10], [10, 50]]], np.float64)
    predicted = np.array([[[12, 10], [40, 10], [-1, -1]]], np.float64)
    counts = pck.pose_counts(predicted, truth)
    # Box of the two counted joints: 0.6 x 30 = 18 px, so 2 px is 0.111; of all three 0.6 x 50 = 30, so 2 px
    # is 0.067.
    assert counts.count.tolist() == [1, 1, 0]
    assert counts.lost.tolist() == [0, 0, 1]
    assert counts.hits[0].tolist() == [0, 1, 0]
    assert counts.hits_annotated[0].tolist() == [1, 1, 0]
    assert pck.pck(counts.hits[0], counts.count)[0] == 50.0  # the lost joint costs nothing
    assert pck.pck(counts.hits_annotated[0], counts.annotated)[0] == pytest.approx(
        200 / 3
    )  # here it is a miss


def test_a_joint_out_of_the_frame_counts_like_any_other():
    truth = np.array([[[-8, 10], [22, 50]]], np.float64)
    predicted = np.array([[[0, 10], [22, 50]]], np.float64)
    assert pck.pose_counts(predicted, truth).count.tolist() == [0, 1]  # the nearest pixel is x = 0, left out
    zero = pck.pose_counts(predicted, truth, zero_counts=True)
    assert zero.count.tolist() == [1, 1]
    assert zero.hits[:, 0].tolist() == [0, 0, 1, 1, 1]  # 8 px of 0.6 x 50


def test_a_pose_of_one_joint_has_no_box_so_it_counts_and_misses():
    truth = np.array([[[10, 10]], [[20, 10]]], np.float64)
    predicted = np.array([[[10, 10]], [[21, 10]]], np.float64)
    counts = pck.pose_counts(predicted, truth)
    assert counts.count.tolist() == [2]
    assert counts.hits.sum() == 0
    distance, _ = pck.score_distances(predicted, truth)
    assert distance.tolist() == [[math.inf], [math.inf]]


def test_frames_without_any_joint_count_nothing():
    truth = np.full((3, 2, 2), np.nan)
    counts = pck.pose_counts(np.zeros((3, 2, 2)) + 5, truth)
    assert counts.annotated.tolist() == counts.count.tolist() == counts.lost.tolist() == [0, 0]
    mean, joints = pck.pck(counts.hits, counts.count)
    assert mean.isnan().all()
    assert joints.isnan().all()


def test_a_joint_never_counted_is_left_out_of_the_mean():
    assert pck.pck(np.array([3, 0, 1]), np.array([4, 0, 4]))[0] == 50.0


def test_frame_0_alone_separates_the_two_counts():
    truth = np.array([[[10, 10], [40, 50]]] * 3, np.float64)
    predicted = truth.copy()
    predicted[1:] += 30
    counts = pck.pose_counts(predicted, truth)
    assert counts.hits[0].tolist() == [1, 1]
    assert counts.hits_no0[0].tolist() == [0, 0]
    assert counts.count_no0.tolist() == [2, 2]


def test_the_unit_may_be_given():
    truth = np.array([[[100, 100]], [[100, 100]]], np.float64)
    predicted = truth + np.array([[[20, 0]]])
    counts = pck.pose_counts(
        predicted, truth, unit=np.sqrt([10_000, 9_999])
    )  # root of a mask's area: 20 px at 0.2
    assert counts.hits[1].tolist() == [1]
    assert counts.hits[2].tolist() == [2]


def test_confusion_equals_a_loop_and_shows_swapped_joints():
    predicted, truth = random_clip(3, frames=20, joints=5)
    expected = np.zeros((5, 5), int)
    for t in range(20):
        for i in range(5):
            if predicted[t, i, 0] <= 0 or np.isnan(truth[t, i]).any():
                continue
            gaps = [
                math.inf
                if np.isnan(truth[t, j]).any()
                else math.dist(predicted[t, i].tolist(), truth[t, j].tolist())
                for j in range(5)
            ]
            expected[i, int(np.argmin(gaps))] += 1
    np.testing.assert_array_equal(pck.confusion(predicted, truth), expected)
    assert np.trace(expected) not in (0, expected.sum())

    swapped = np.array([[[10, 10], [30, 10]]] * 4, np.float64)
    assert pck.confusion(swapped[:, ::-1].copy(), swapped).tolist() == [[0, 4], [4, 0]]
    together = np.array([[[10, 10], [10, 10]]], np.float64)
    assert pck.confusion(together, together).tolist() == [[1, 0], [0, 1]]  # of joints equally near, its own


@pytest.mark.parametrize(
    ("predicted", "truth", "unit", "words"),
    [
        ((2, 3, 2), (2, 4, 2), None, "predicted joints for"),
        ((2, 3), (2, 3), None, "shape"),
        ((2, 3, 2), (2, 3, 2), (3,), "one unit of length a frame"),
    ],
)
def test_wrong_shapes_are_refused(predicted, truth, unit, words):
    with pytest.raises(ValueError, match=words):
        pck.pose_counts(np.ones(predicted), np.ones(truth), unit=None if unit is None else np.ones(unit))

"""J and F against the official code's values and against definitions written out; every path gives the same counts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import binary_dilation

from corrbench.metrics import bits, davis, native

GOLDEN = Path(__file__).parents[1] / "golden"
Scores = tuple[np.ndarray, np.ndarray]
Path_ = Callable[[np.ndarray, np.ndarray, tuple[int, ...]], Scores]


def by_numpy(truth: np.ndarray, found: np.ndarray, ids: tuple[int, ...]) -> Scores:
    return davis._scores(davis._counts_numpy(truth, found, ids, davis.boundary_radius(*truth.shape[1:]))[0])


def by_torch(truth: np.ndarray, found: np.ndarray, ids: tuple[int, ...]) -> Scores:
    """The device's path, on the CPU."""
    radius = davis.boundary_radius(*truth.shape[1:])
    return davis._scores(davis._counts_torch(torch.tensor(truth), torch.tensor(found), ids, radius)[0])


def has_avx2() -> bool:
    flags = Path("/proc/cpuinfo")
    return flags.exists() and " avx2 " in flags.read_text()


def by_native(target: str) -> Path_:
    def scores(truth: np.ndarray, found: np.ndarray, ids: tuple[int, ...]) -> Scores:
        if target == "avx2" and not has_avx2():
            pytest.skip("this processor has no AVX2")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CORRBENCH_NATIVE", target)
            if not native.available():
                pytest.skip("no C++ compiler here")
            return davis.jaccard_and_boundary(truth, found, ids)

    return scores


def by_gpu(truth: np.ndarray, found: np.ndarray, ids: tuple[int, ...]) -> Scores:
    return davis.jaccard_and_boundary(truth, found, ids, device="cuda")


PATHS = [
    pytest.param(by_numpy, id="numpy"),
    pytest.param(by_torch, id="torch"),
    pytest.param(by_native("native"), id="native"),
    pytest.param(by_native("avx2"), id="native-avx2"),
    pytest.param(by_native("baseline"), id="native-baseline"),
    pytest.param(by_gpu, id="gpu", marks=pytest.mark.gpu),
]

CASES = np.load(GOLDEN / "davis_official" / "cases.npz")


def equal(found: Scores, expected: Scores) -> None:
    for values, wanted in zip(found, expected, strict=True):
        assert values.dtype == np.float64
        np.testing.assert_array_equal(values, wanted)  # to the last bit


# ---- values of other people's code


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("case", range(len(CASES["names"])), ids=list(CASES["names"]))
def test_equal_to_the_official_code_to_the_last_bit(path: Path_, case: int) -> None:
    truth, found = CASES[f"truth{case}"], CASES[f"found{case}"]
    ids = tuple(range(1, davis.count_objects(truth[0]) + 1))
    equal(path(truth, found, ids), (CASES[f"J{case}"], CASES[f"F{case}"]))


@pytest.mark.parametrize("length", CASES["statistics_lengths"].tolist())
def test_statistics_equal_to_the_official_code(length: int) -> None:
    values = np.r_[7.0, CASES["statistics_values"][:length], 7.0]  # the first and the last frame do not count
    found = davis.sequence_statistics(values, 1 - values)
    mean, recall, decay = CASES["statistics"][list(CASES["statistics_lengths"]).index(length)]
    assert (found["J-Mean"], found["J-Recall"]) == (mean, recall)
    np.testing.assert_array_equal(found["J-Decay"], decay)
    assert found["F-Mean"] == pytest.approx(1 - mean)
    assert found["frames"] == length


def published_masks(method: str, sequence: str) -> np.ndarray:
    planes = np.unpackbits(np.load(GOLDEN / "davis_published" / f"{method}.npz")[sequence], axis=-1)[
        ..., :854
    ]
    return np.einsum("pthw,p->thw", planes, 1 << np.arange(len(planes), dtype=np.uint8), dtype=np.uint8)


def annotation(root: Path, sequence: str) -> np.ndarray:
    folder = root / "DAVIS" / "Annotations" / "480p" / sequence
    if not folder.is_dir():
        pytest.skip(f"$CORRBENCH_DATA has no DAVIS annotation of {sequence}")
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))])


SEQUENCES = sorted(np.load(GOLDEN / "davis_published" / "stm-2016.npz").files)


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_scores_that_the_davis_authors_published(real_data: Path, sequence: str) -> None:
    published = json.loads((GOLDEN / "davis_published" / "published.json").read_text())
    truth = annotation(real_data, sequence)
    j, f = davis.jaccard_and_boundary(truth, published_masks("osvos-2017", sequence))
    for number in range(davis.count_objects(truth[0])):
        found = davis.sequence_statistics(j[number], f[number])
        wanted = published["osvos-2017-per-object"][f"{sequence}_{number + 1}"]
        assert abs(found["J-Mean"] - wanted["J"]) < 5.01e-5  # four decimals
        assert abs(found["F-Mean"] - wanted["F"]) < 5.01e-5
    for method in ("stm-2016", "siammask-2016"):
        masks = published_masks(method, sequence)
        j, f = davis.jaccard_and_boundary(davis.single_object(truth), masks, 1)
        wanted = published[f"{method}-per-frame"][sequence]
        np.testing.assert_allclose(j[0, 1:-1], wanted["J"], atol=5.01e-4, rtol=0)  # three decimals
        np.testing.assert_allclose(f[0, 1:-1], wanted["F"], atol=5.01e-4, rtol=0)


# ---- definitions written out


def boundary_by_definition(mask: np.ndarray) -> np.ndarray:
    """Pixel by pixel, as Martin's seg2bmap has it."""
    height, width = mask.shape
    edge = np.zeros_like(mask)
    for y, x in np.ndindex(mask.shape):
        last_row, last_column = y == height - 1, x == width - 1
        if last_row and last_column:
            continue
        if last_row:
            edge[y, x] = mask[y, x] != mask[y, x + 1]
        elif last_column:
            edge[y, x] = mask[y, x] != mask[y + 1, x]
        else:
            edge[y, x] = len({mask[y, x], mask[y, x + 1], mask[y + 1, x], mask[y + 1, x + 1]}) > 1
    return edge


def unpacked(words: np.ndarray, width: int) -> np.ndarray:
    return np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=-1, bitorder="little")[..., :width]


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (12, 63), (9, 64), (9, 65), (20, 130)])
@pytest.mark.parametrize("density", [0.03, 0.5, 0.97])
def test_boundary_and_disk_by_their_definitions(size: tuple[int, int], density: float) -> None:
    mask = (np.random.default_rng(5).random(size) < density).astype(np.uint8)
    for radius in (1, 2, 5, 8, 18):
        words = bits.pack_numpy([mask], radius)[0]
        tensor = bits.pack_torch(torch.tensor(mask), radius)
        edges, tensor_edges = bits.boundary(words, size[1]), bits.boundary(tensor, size[1])
        expected = boundary_by_definition(mask)
        np.testing.assert_array_equal(unpacked(edges, size[1]), expected)
        assert (
            int(bits.count(edges)) == int(bits.count(tensor_edges)) == expected.sum()
        )  # nothing in the guard either
        y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        near = binary_dilation(expected, x * x + y * y <= radius * radius) if expected.any() else expected
        np.testing.assert_array_equal(unpacked(bits.dilate(edges, radius), size[1]), near)
        np.testing.assert_array_equal(unpacked(bits.dilate(tensor_edges, radius).numpy(), size[1]), near)


@pytest.mark.parametrize("left", [0, 1, 63, 64, 65, 128])
@pytest.mark.parametrize("right", [129, 191, 192, 193, 199, 200])
def test_cutting_keeps_the_boundary_where_a_mask_begins_and_ends_at_a_word(left: int, right: int) -> None:
    mask = np.zeros((20, 200), np.uint8)
    mask[4:15, left:right] = 1
    small, start = bits.cut(bits.pack_numpy([mask], 8), 8)
    edges = bits.boundary(small, 200 - start)
    expected = boundary_by_definition(mask)
    assert bits.count(edges).tolist() == [expected.sum()]
    near = unpacked(bits.dilate(edges, 8)[0], right - start)  # beyond is the guard
    y, x = np.mgrid[-8:9, -8:9]
    whole = binary_dilation(expected, x * x + y * y <= 64)
    np.testing.assert_array_equal(near, whole[3 : 3 + len(near), start:right])


def test_a_stack_of_masks_is_worked_on_mask_by_mask() -> None:
    masks = (np.random.default_rng(6).random((2, 3, 15, 40)) < 0.4).astype(np.uint8)
    for mask_stack in (
        np.stack([bits.pack_numpy(list(row), 5) for row in masks]),
        bits.pack_torch(torch.tensor(masks), 5),
    ):
        together = bits.dilate(bits.boundary(mask_stack, 40), 5)
        for k, t in np.ndindex(2, 3):
            alone = bits.dilate(bits.boundary(mask_stack[k, t], 40), 5)
            np.testing.assert_array_equal(
                unpacked(np.asarray(together[k, t]), 40), unpacked(np.asarray(alone), 40)
            )


def test_counting_without_numpy_2(monkeypatch: pytest.MonkeyPatch) -> None:
    words = np.random.default_rng(7).integers(0, 2**63, (3, 4, 5)).astype(np.uint64)
    expected = [sum(int(word).bit_count() for word in part.ravel()) for part in words]
    assert bits.count(words).tolist() == expected
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert bits.count(words).tolist() == expected


# ---- rules


def test_radius_is_rounded_up() -> None:
    assert davis.boundary_radius(480, 854) == 8
    assert davis.boundary_radius(480, 1152) == 10
    assert davis.boundary_radius(1080, 1920) == 18
    assert davis.boundary_radius(1, 1) == 1
    assert davis.boundary_radius(300, 400) == 4  # 0.008 * 500 exactly


@pytest.mark.parametrize("path", PATHS)
def test_empty_masks(path: Path_) -> None:
    square = np.zeros((4, 40, 50), np.uint8)
    square[:, 10:20, 10:20] = 1
    truth, found = square.copy(), square.copy()
    truth[1], found[2] = 0, 0
    truth[3] = found[3] = 0
    equal(path(truth, found, (1,)), (np.array([[1.0, 0, 0, 1]]), np.array([[1.0, 0, 0, 1]])))


@pytest.mark.parametrize("path", PATHS)
def test_boundaries_match_within_the_radius_and_not_beyond(path: Path_) -> None:
    truth = np.zeros((1, 300, 400), np.uint8)  # radius 4
    truth[:, :, 200:] = 1
    for shift, expected in ((0, 1.0), (4, 1.0), (5, 0.0)):
        found = np.roll(truth, shift, axis=2)
        found[:, :, :shift] = 0
        assert path(truth, found, (1,))[1].tolist() == [[expected]]


@pytest.mark.parametrize("path", PATHS)
def test_choosing_objects_chooses_rows(path: Path_) -> None:
    truth, found = CASES["truth1"], CASES["found1"]  # five objects
    equal(path(truth, found, (5, 2)), (CASES["J1"][[4, 1]], CASES["F1"][[4, 1]]))


def test_objects_are_counted_in_the_first_frame_without_void() -> None:
    truth = np.zeros((3, 6, 8), np.uint8)
    truth[0, 0, :3] = [1, 4, 255]
    truth[1:] = 5
    assert davis.count_objects(truth[0]) == 4
    assert davis.count_objects(torch.tensor(truth[0])) == 4
    j, f = davis.jaccard_and_boundary(truth, np.zeros_like(truth))
    assert j.shape == f.shape == (4, 3)
    assert j[:, 1:].all()  # a fifth object is nobody's: all four are empty there, and rightly so


def test_merged_objects_are_one_and_void_is_none() -> None:
    assert davis.single_object(np.array([[[0, 1, 2, 255]]], np.uint8)).tolist() == [[[0, 1, 1, 0]]]


@pytest.mark.parametrize("target", ["native", "off"])
def test_an_unknown_id_is_refused(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORRBENCH_NATIVE", target)
    truth = np.ones((3, 20, 30), np.uint8)
    found = truth.copy()
    found[2, 4, 5] = 3
    with pytest.raises(
        ValueError, match="prediction of frame 2 has id 3, but the first ground-truth frame has ids up to 1"
    ):
        davis.jaccard_and_boundary(truth, found)
    found[1, 0, 0] = 255
    with pytest.raises(ValueError, match="prediction of frame 1 has id 255"):
        davis.jaccard_and_boundary(truth, found)


def test_an_unknown_id_is_refused_on_a_device() -> None:
    truth, found = torch.ones((3, 20, 30), dtype=torch.uint8), torch.ones((3, 20, 30), dtype=torch.uint8)
    found[2, 4, 5] = 3
    assert davis._counts_torch(truth, found, (1,), 1)[1].tolist() == [1, 1, 3]


@pytest.mark.parametrize(
    ("truth", "found", "objects", "message"),
    [
        (
            np.zeros((2, 5, 6), np.uint8),
            np.zeros((2, 6, 5), np.uint8),
            1,
            r"prediction is \(2, 6, 5\), the ground truth",
        ),
        (
            np.zeros((5, 6), np.uint8),
            np.zeros((5, 6), np.uint8),
            1,
            r"must be uint8 ids \(T, H, W\), got uint8 \(5, 6\)",
        ),
        (
            np.zeros((2, 5, 6)),
            np.zeros((2, 5, 6), np.uint8),
            1,
            "the ground truth must be uint8 ids .* got float64",
        ),
        (
            np.zeros((2, 5, 6), np.uint8),
            np.zeros((2, 5, 6), int),
            1,
            "the prediction must be uint8 ids .* got int64",
        ),
        (np.zeros((0, 5, 6), np.uint8), np.zeros((0, 5, 6), np.uint8), 1, r"got uint8 \(0, 5, 6\)"),
        (
            np.zeros((2, 5, 6), np.uint8),
            np.zeros((2, 5, 6), np.uint8),
            (0, 1),
            r"ids go from 1 to 254, got \(0, 1\)",
        ),
        (np.zeros((2, 5, 6), np.uint8), np.zeros((2, 5, 6), np.uint8), 255, "ids go from 1 to 254"),
    ],
)
def test_what_is_refused(truth: np.ndarray, found: np.ndarray, objects: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        davis.jaccard_and_boundary(truth, found, objects)


def test_a_sequence_without_a_scored_frame_is_refused() -> None:
    with pytest.raises(ValueError, match=r"J has shape \(2,\): a sequence needs 3 frames or more"):
        davis.sequence_statistics([1, 1], [1, 1])


def test_decay_beyond_256_frames_counts_on_when_asked() -> None:
    values = np.linspace(1, 0, 302)
    assert np.isnan(davis.sequence_statistics(values, values)["J-Decay"])  # as the official code has it
    found = davis.sequence_statistics(values, values, decay_wraps=False)
    assert found["J-Decay"] == pytest.approx(0.75, abs=0.01)


def test_tensors_masks_of_truth_values_and_strided_arrays_are_taken() -> None:
    truth, found = (CASES[name][:, ::2, ::3] for name in ("truth2", "found2"))
    expected = by_numpy(np.ascontiguousarray(truth), np.ascontiguousarray(found), (1,))
    equal(davis.jaccard_and_boundary(truth, found, 1), expected)
    equal(davis.jaccard_and_boundary(truth == 1, found == 1, np.int64(1)), expected)  # type: ignore[arg-type]
    equal(davis.jaccard_and_boundary(torch.tensor(truth), torch.tensor(found), (1,)), expected)
    equal(davis.jaccard_and_boundary(torch.tensor(truth), found, 1, device="cpu"), expected)


def test_a_machine_with_a_compiler_uses_it() -> None:
    """Else a source that does not compile would only skip tests."""
    assert native.available() == any(shutil.which(name) for name in ("g++", "clang++", "c++"))


# ---- what must not change a number


@pytest.mark.parametrize("count", [1, 2, 7])
def test_how_many_frames_numpy_takes_at_a_time_changes_nothing(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(davis, "_NUMPY_FRAMES", count)
    equal(by_numpy(CASES["truth0"], CASES["found0"], (1, 2, 3)), (CASES["J0"], CASES["F0"]))


@pytest.mark.parametrize("pixels", [1, 100_000, 1 << 28])
def test_how_many_frames_a_device_takes_at_a_time_changes_nothing(
    pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(davis, "_TORCH_PIXELS", pixels)
    equal(by_torch(CASES["truth0"], CASES["found0"], (1, 2, 3)), (CASES["J0"], CASES["F0"]))


@given(
    data=st.data(),
    frames=st.integers(1, 3),
    height=st.integers(1, 40),
    width=st.integers(1, 140),
    objects=st.integers(1, 5),
)
@settings(max_examples=60, deadline=None)
def test_properties(data: st.DataObject, frames: int, height: int, width: int, objects: int) -> None:
    """Paths agree; frames are independent; a perfect mask scores 1; J and F are symmetric."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    coarse = data.draw(st.sampled_from([1, 3, 10]))
    shape = (2, frames, -(-height // coarse), -(-width // coarse))
    truth, found = (
        rng.integers(0, objects + 1, shape, dtype=np.uint8)
        .repeat(coarse, 2)
        .repeat(coarse, 3)[:, :, :height, :width]
    )
    ids = tuple(range(1, objects + 1))
    scores = by_numpy(truth, found, ids)
    equal(by_torch(truth, found, ids), scores)
    equal(davis.jaccard_and_boundary(truth, found, objects), scores)
    equal(davis.jaccard_and_boundary(found, truth, objects), scores)
    turned = davis.jaccard_and_boundary(truth[::-1], found[::-1], objects)
    equal((turned[0][:, ::-1], turned[1][:, ::-1]), scores)
    for values in davis.jaccard_and_boundary(truth, truth, objects):
        assert (values == 1).all()
    assert all(((values >= 0) & (values <= 1)).all() for values in scores)

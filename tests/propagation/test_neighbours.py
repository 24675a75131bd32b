"""The neighbour search: fast paths against the dense definition, and what must change nothing."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from corrbench.propagation import Context, Neighbours, Window, choose_method, neighbours, reference
from corrbench.propagation.cpu import best
from tests.propagation.agreement import assert_same_neighbours, case

GROUP = 20  # cases a test


@pytest.mark.parametrize("group", range(10))
def test_random_configurations_agree_with_the_reference(method, group):
    """200 configurations: grids 5..40, channels 1..300, every window and context, duplicates, ties, zero features."""
    for seed in range(group * GROUP, (group + 1) * GROUP):
        c = case(seed, largest=40 if seed % 20 == 0 else 16)
        expected = reference.neighbours(c.features, c.window, c.context, c.k, normalise=c.normalise)
        found = neighbours(c.features, c.window, c.context, c.k, normalise=c.normalise, method=method)
        assert_same_neighbours(found, expected, c)


@pytest.mark.parametrize("seed", range(0, 30, 3))
def test_tile_size_changes_nothing(seed):
    c = case(seed, largest=18)
    expected = reference.neighbours(c.features, c.window, c.context, c.k, normalise=c.normalise)
    for tile in [(1, 1), (3, 5), (8, 8), (64, 64)]:
        found = neighbours(
            c.features, c.window, c.context, c.k, normalise=c.normalise, method="tiled", tile=tile
        )
        assert_same_neighbours(found, expected, c)


@pytest.mark.parametrize("seed", range(1, 7))
def test_number_of_threads_changes_nothing(method, seed):
    c = case(seed, largest=16)
    before = torch.get_num_threads()
    tile = (8, 4) if method == "tiled" else None
    one, two = (
        neighbours(
            c.features, c.window, c.context, c.k, normalise=c.normalise, method=method, threads=n, tile=tile
        )
        for n in (1, 3)
    )
    assert torch.get_num_threads() == before
    assert_same_neighbours(two, one, c)
    if method == "tiled":
        assert torch.equal(two.index, one.index)
        assert torch.equal(two.similarity, one.similarity)


def test_threads_work_in_inference_mode():
    c = case(4, largest=16)
    with torch.inference_mode():
        found = neighbours(
            c.features,
            c.window,
            c.context,
            c.k,
            normalise=c.normalise,
            method="tiled",
            threads=2,
            tile=(4, 3),
        )
    expected = reference.neighbours(c.features, c.window, c.context, c.k, normalise=c.normalise)
    assert_same_neighbours(found, expected, c)


@pytest.mark.parametrize("seed", range(6))
def test_later_frames_change_nothing_before_them(method, seed):
    """The neighbours of a frame depend on its own context alone, so a clip may be cut anywhere."""
    c = case(seed, largest=16)
    if len(c.features) < 3:
        pytest.skip("this case has two frames")
    whole = neighbours(c.features, c.window, c.context, c.k, normalise=c.normalise, method=method)
    cut = neighbours(c.features[:-1], c.window, c.context, c.k, normalise=c.normalise, method=method)
    part = Neighbours(whole.index[:-1], whole.similarity[:-1], whole.grid, whole.context)
    assert_same_neighbours(cut, part, dataclasses.replace(c, features=c.features[:-1]))


def test_small_blocks_and_strips_change_nothing(monkeypatch):
    from corrbench.propagation import blocks

    for seed in range(0, 60, 6):  # exact cases
        c = case(seed, largest=16)
        expected = reference.neighbours(c.features, c.window, c.context, c.k, normalise=c.normalise)
        monkeypatch.setattr(blocks, "BLOCK", 3000)
        monkeypatch.setattr(blocks, "STRIP", 3000)
        found = neighbours(
            c.features, c.window, c.context, c.k, normalise=c.normalise, method="tiled", tile=(4, 3)
        )
        assert_same_neighbours(found, expected, c)


def test_copies_of_a_frame_tie_exactly_and_are_listed_by_slot(method):
    features = torch.randn(3, 5, 6, 7, generator=torch.Generator().manual_seed(0))
    found = neighbours(features, Window("square", 2), Context(4, "copies"), 10, method=method)
    cell = found.index[0] % 42
    slot = found.index[0] // 42
    assert (slot[:, :5] == torch.arange(5)).all()  # five slots show frame 0 to frame 1
    assert (cell[:, :5] == cell[:, :1]).all()
    assert (found.similarity[0, :, :5] == found.similarity[0, :, :1]).all()


def test_fewer_keys_than_asked_for(method):
    features = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(1))
    found = neighbours(features, Window("square", 1), Context(3, "unique"), 12, method=method)
    corner = found.index[0, 0]
    assert (corner >= 0).sum() == 4
    assert (corner[4:] == -1).all()
    assert (found.similarity[0, 0, 4:] == -torch.inf).all()
    assert (found.index[0, 12] >= 0).sum() == 9


def test_zero_features_choose_the_lowest_indices(method):
    found = neighbours(torch.zeros(2, 8, 6, 6), Window("square", 2), Context(1, "twice"), 5, method=method)
    middle = found.index[0, 3 * 6 + 3]
    assert middle.tolist() == [7, 8, 9, 10, 11]
    assert (found.similarity[0] == 0).all()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf, 1e30])
@pytest.mark.parametrize("normalise", [True, False])
def test_features_that_are_not_finite_are_refused(method, bad, normalise):
    features = torch.ones(3, 4, 5, 6)
    features[1, 2, 3, 4] = bad
    with pytest.raises(ValueError, match="features of frame 1 hold NaN, infinity or values too large"):
        neighbours(features, Window(), Context(), 3, method=method, normalise=normalise)


@pytest.mark.parametrize("method", ["reference", "tiled"])
def test_bad_arguments_are_named(method):
    features = torch.ones(2, 3, 4, 5)
    with pytest.raises(ValueError, match="k=0 neighbours: expected at least 1"):
        neighbours(features, Window(), Context(), 0, method=method)
    with pytest.raises(ValueError, match=r"features of shape \(3, 4, 5\)"):
        neighbours(features[0], Window(), Context(), 1, method=method)
    with pytest.raises(ValueError, match="expected floating point"):
        neighbours(features.long(), Window(), Context(), 1, method=method)
    with pytest.raises(ValueError, match="no propagation method 'fast'"):
        neighbours(features, Window(), Context(), 1, method="fast")
    with pytest.raises(ValueError, match="does not run on features of device 'cpu'"):
        neighbours(features, Window(), Context(), 1, method="gpu")
    with pytest.raises(ValueError, match=r"tile=\(0, 4\)"):
        neighbours(features, Window(), Context(), 1, method="tiled", tile=(0, 4))
    with pytest.raises(ValueError, match="threads=0"):
        neighbours(features, Window(), Context(), 1, method="tiled", threads=0)


def test_one_frame_has_no_neighbours():
    found = neighbours(torch.ones(1, 3, 4, 5), Window(), Context(), 3, method="tiled")
    assert found.index.shape == (0, 20, 3)


def test_half_precision_features_are_taken_as_float32():
    features = torch.randn(3, 6, 5, 5, generator=torch.Generator().manual_seed(2)).half()
    a = neighbours(features, Window("square", 2), Context(2), 4, method="tiled")
    b = neighbours(features.float(), Window("square", 2), Context(2), 4, method="tiled")
    assert torch.equal(a.index, b.index)


def test_the_input_is_left_alone(method):
    features = torch.randn(3, 1, 5, 1)  # one channel: the vectors could be a view of it
    before = features.clone()
    neighbours(features, Window("square", 2), Context(2), 4, method=method)
    assert torch.equal(features, before)


def test_choosing_a_method():
    assert choose_method("cpu", "tiled") == "tiled"
    assert choose_method("cpu", "reference") == "reference"
    assert choose_method("cpu") in ("native", "tiled")
    assert choose_method("cuda", "tiled") == "tiled"


def test_best_orders_ties_by_position():
    values = torch.tensor([[1.0, 3, 3, 2, 3, 2], [0, 0, 0, 0, 0, 0], [5, -torch.inf, 4, 4, 4, 1]])
    value, place = best(values, 3)
    assert place.tolist() == [[1, 2, 4], [0, 1, 2], [0, 2, 3]]
    assert value.tolist() == [[3, 3, 3], [0, 0, 0], [5, 4, 4]]

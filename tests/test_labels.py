"""Label codecs against Pillow, torch and the arithmetic of the released drawing and reading routines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from corrbench.labels import (
    decode_joints,
    decode_mask,
    encode_joints,
    encode_mask,
    first_joints,
    first_mask,
    resize_nearest,
)
from corrbench.protocol import Protocol, preset

RNG = np.random.default_rng(0)
MASK = np.kron(RNG.integers(0, 4, (6, 8)), np.ones((9, 11))).astype(np.uint8)  # 54 x 88


def test_nearest_takes_the_pixel_that_pillow_takes():
    for _ in range(60):
        old, new = RNG.integers(1, 200, 2), RNG.integers(1, 200, 2)
        mask = RNG.integers(0, 255, old).astype(np.uint8)
        expected = np.array(Image.fromarray(mask).resize((int(new[1]), int(new[0])), 0))
        assert np.array_equal(resize_nearest(mask, (int(new[0]), int(new[1]))), expected)


def test_nearest_is_the_pixel_under_the_centre():
    row = np.arange(9, dtype=np.uint8)[None]
    assert resize_nearest(row, (1, 3)).tolist() == [[1, 4, 7]]
    assert resize_nearest(row, (1, 18))[0].tolist() == [i // 2 for i in range(18)]


def test_stt_passes_through_the_input_size():
    """Two nearest steps are not one: the first mask to the input size, then to the grid."""
    differ = 0
    for size in [(31, 47), (40, 66), (53, 80)]:
        two = encode_mask(MASK, size, (7, 9), "nearest-nearest")
        expected = resize_nearest(resize_nearest(MASK, size), (7, 9))
        assert np.array_equal(two.argmax(dim=0).numpy(), expected)
        differ += int((expected != resize_nearest(MASK, (7, 9))).sum())
    assert differ > 0
    one = encode_mask(MASK, (31, 47), (7, 9), "nearest")
    assert np.array_equal(one.argmax(dim=0).numpy(), resize_nearest(MASK, (7, 9)))


@pytest.mark.parametrize(
    "down", ["nearest", "nearest-nearest", "nearest-exact", "bilinear", "bilinear-corners"]
)
def test_masks_become_shares_of_every_class(down):
    soft = encode_mask(MASK, (48, 80), (6, 10), down)
    assert soft.shape == (4, 6, 10)
    assert soft.dtype == torch.float32
    assert (soft.sum(dim=0) - 1).abs().max() <= 1e-6
    assert soft.min() >= 0


def test_bilinear_averages_the_one_hot_mask():
    soft = encode_mask(MASK, (1, 1), (11, 13), "bilinear")
    one_hot = F.one_hot(torch.from_numpy(MASK).long()).permute(2, 0, 1).float()
    assert torch.equal(
        soft, F.interpolate(one_hot[None], size=(11, 13), mode="bilinear", align_corners=False)[0]
    )
    corners = encode_mask(MASK, (1, 1), (11, 13), "bilinear-corners")
    assert torch.equal(
        corners, F.interpolate(one_hot[None], size=(11, 13), mode="bilinear", align_corners=True)[0]
    )
    assert torch.equal(corners[:, -1, -1], one_hot[:, -1, -1])


def test_an_object_that_does_not_survive_loses_its_map():
    mask = np.zeros((40, 40), np.uint8)
    mask[10:30, 10:30], mask[0, 0] = 1, 2
    assert len(encode_mask(mask, (40, 40), (5, 5), "nearest-nearest")) == 2
    assert len(encode_mask(mask, (40, 40), (5, 5), "bilinear")) == 3


def test_void_is_background():
    mask = np.zeros((8, 8), np.uint8)
    mask[2:6, 2:6], mask[0] = 1, 255
    soft = encode_mask(mask, (8, 8), (8, 8), "nearest")
    assert len(soft) == 2
    assert (soft[0, 0] == 1).all()


def test_bad_masks_are_refused():
    with pytest.raises(ValueError, match=r"mask of shape \(4, 4, 3\)"):
        encode_mask(np.zeros((4, 4, 3), np.uint8), (4, 4), (2, 2), "nearest")
    with pytest.raises(ValueError, match="type float64"):
        encode_mask(np.zeros((4, 4)), (4, 4), (2, 2), "nearest")
    with pytest.raises(ValueError, match=r"ids 0\.\.300"):
        encode_mask(np.array([[0, 300]]), (4, 4), (2, 2), "nearest")
    with pytest.raises(ValueError, match="down='cubic'"):
        encode_mask(np.zeros((4, 4), np.uint8), (4, 4), (2, 2), "cubic")


SOFT = torch.rand(5, 6, 9, 12, generator=torch.Generator().manual_seed(1))
SOFT[:, 4] = 0  # a class that is nowhere
SOFT[2, 3] *= 1e-3  # a faint one


@pytest.mark.parametrize("minmax", [False, True])
@pytest.mark.parametrize(
    ("up", "mode", "corners"),
    [("bilinear", "bilinear", False), ("bilinear-corners", "bilinear", True), ("nearest", "nearest", None)],
)
def test_masks_are_the_arg_max_of_the_enlarged_maps(up, mode, corners, minmax):
    maps = F.interpolate(SOFT, size=(71, 103), mode=mode, align_corners=corners)
    if minmax:
        low, high = maps.amin(dim=(2, 3), keepdim=True), maps.amax(dim=(2, 3), keepdim=True)
        maps = torch.where(high > 0, (maps - low) / (high - low + 1e-12), maps)
    expected = maps.argmax(dim=1)
    masks = decode_mask(SOFT, (71, 103), up, minmax)
    assert masks.dtype == torch.uint8
    assert torch.equal(masks.long(), expected)
    assert not (masks == 4).any()
    assert (masks[2] == 3).any() == minmax


def test_dino_decodes_at_the_input_size_first():
    at_input = decode_mask(SOFT, (72, 96), "bilinear", True)
    expected = np.stack([resize_nearest(mask, (101, 131)) for mask in at_input.numpy()])
    masks = decode_mask(SOFT, (101, 131), "bilinear-nearest", True, (72, 96))
    assert np.array_equal(masks.numpy(), expected)
    with pytest.raises(ValueError, match="needs input_size"):
        decode_mask(SOFT, (101, 131), "bilinear-nearest", True)


def test_frames_are_decoded_one_like_another():
    """No frame depends on which others are decoded with it, or on how many fit into memory."""
    whole = decode_mask(SOFT, (600, 800), "bilinear", True)
    alone = torch.cat([decode_mask(frame[None], (600, 800), "bilinear", True) for frame in SOFT])
    assert torch.equal(whole, alone)


def test_the_first_of_equal_classes_wins():
    assert (decode_mask(torch.full((1, 3, 4, 4), 0.5), (8, 8), "bilinear", False) == 0).all()
    assert (decode_mask(torch.zeros(1, 3, 4, 4), (8, 8), "bilinear", True) == 0).all()
    assert (decode_mask(torch.full((1, 3, 4, 4), 0.5), (8, 8), "bilinear", True) == 0).all()


def test_bad_soft_labels_are_refused():
    with pytest.raises(ValueError, match=r"soft labels of shape \(6, 9, 12\)"):
        decode_mask(SOFT[0], (8, 8), "bilinear", True)
    with pytest.raises(ValueError, match="256 classes: an index mask holds at most 255"):
        decode_mask(torch.zeros(1, 256, 2, 2), (8, 8), "bilinear", True)
    with pytest.raises(ValueError, match="up='cubic'"):
        decode_mask(SOFT, (8, 8), "cubic", True)


def test_frame_0_of_stt_goes_down_by_pillow_and_up_by_torch():
    small = torch.from_numpy(resize_nearest(MASK, (31, 47)))[None, None].float()
    expected = F.interpolate(small, size=MASK.shape, mode="nearest")[0, 0].numpy()
    assert np.array_equal(first_mask(MASK, (31, 47), MASK.shape), expected)
    assert np.array_equal(first_mask(MASK, MASK.shape, MASK.shape), MASK)


STT, CRW = preset("stt", "pose"), preset("crw", "pose")
SIZE, INPUT, GRID = (240, 320), (320, 320), (40, 40)


def test_gaussians_of_stt_have_a_cut_off_centre_and_a_support_of_25_pixels():
    drawn = encode_joints([[100.9, 57.2]], SIZE, SIZE, SIZE, STT)[0]
    rows, columns = drawn.nonzero().T
    assert (int(rows.min()), int(rows.max())) == (57 - 12, 57 + 12)
    assert (int(columns.min()), int(columns.max())) == (100 - 12, 100 + 12)
    assert drawn[57, 100] == 1
    y, x = torch.meshgrid(torch.arange(240), torch.arange(320), indexing="ij")
    bell = torch.exp(-((x - 100.0) ** 2 + (y - 57.0) ** 2) / 32)
    inside = drawn > 0
    assert torch.allclose(drawn[inside], bell[inside])


def test_gaussians_are_cut_at_the_border_as_the_released_routine_cuts():
    """Brute force: for every pixel, its place in the support whose corner is int(position - 3 sigma)."""
    for sigma, size in [(4.0, (60, 80)), (0.5, (40, 40))]:
        points = RNG.uniform(-20, 90, (60, 2))
        protocol = STT.replace(sigma=sigma)
        drawn = encode_joints(points, size, size, size, protocol).numpy()
        wide = int(6 * sigma + 1)
        for (px, py), got in zip(points, drawn, strict=True):
            left, top = int(px - 3 * sigma), int(py - 3 * sigma)
            right, bottom = int(px + 3 * sigma + 1), int(py + 3 * sigma + 1)
            want = np.zeros(size)
            for y in range(max(0, top), min(bottom, size[0])):
                for x in range(max(0, left), min(right, size[1])):
                    if y - top < wide and x - left < wide:
                        d = (y - top - wide // 2) ** 2 + (x - left - wide // 2) ** 2
                        want[y, x] = np.exp(-d / (2 * sigma**2))
            assert np.abs(got - want).max() <= 1e-6


def test_stt_maps_go_through_the_input_size():
    points = [[100.0, 57.0], [10.0, 230.0]]
    drawn = encode_joints(points, SIZE, SIZE, SIZE, STT)
    once = F.interpolate(drawn[None], size=INPUT, mode="bilinear", align_corners=False)
    twice = F.interpolate(once, size=GRID, mode="bilinear", align_corners=False)[0]
    assert torch.allclose(encode_joints(points, SIZE, INPUT, GRID, STT), twice, atol=1e-7)


def test_crw_draws_half_a_cell_on_the_grid_and_a_background():
    maps = encode_joints([[80.0, 60.0], [200.0, 120.0]], SIZE, INPUT, GRID, CRW)
    assert maps.shape == (3, 40, 40)
    assert maps[1, 10, 10] == 1  # 80 * 40/320, 60 * 40/240
    assert maps[2, 20, 25] == 1
    assert maps[1, 10, 11] == pytest.approx(np.exp(-2))
    assert torch.equal(maps[0], ((maps[1] + maps[2]) == 0).float())


def test_joints_that_are_not_annotated_or_off_the_frame_have_empty_maps():
    points = [[np.nan, np.nan], [1000.0, 50.0], [-100.0, 20.0], [50.0, 50.0]]
    for protocol in (STT, CRW):
        maps = encode_joints(points, SIZE, INPUT, GRID, protocol)[int(protocol.background) :]
        assert [float(m.sum()) > 0 for m in maps] == [False, False, False, True]


def test_a_drawn_joint_is_read_back():
    points = np.array([[100.0, 57.0], [250.0, 200.0], [33.0, 120.0]])
    for protocol, within in [(STT, 3.0), (CRW, 8.0)]:
        soft = encode_joints(points, SIZE, INPUT, GRID, protocol)[None]
        found = decode_joints(soft, SIZE, protocol)[0].numpy()
        assert found.dtype == np.float32
        assert np.abs(found - points).max() <= within
    assert np.abs(first_joints(points, SIZE, INPUT, STT).numpy() - points).max() <= 0.6
    assert np.array_equal(first_joints([[1.5, 2.5], [np.nan, 1]], SIZE, INPUT, CRW), [[1.5, 2.5], [-1, -1]])


def test_reading_by_hand():
    """Three pixels of value 1, 1 and 2 on the grid, the weighted mean scaled by frame/grid."""
    maps = torch.zeros(1, 2, 4, 8)
    maps[0, 1, 1, 2], maps[0, 1, 1, 4], maps[0, 1, 3, 6] = 1, 1, 2
    found = decode_joints(maps, (40, 160), CRW)
    assert torch.allclose(found, torch.tensor([[[(2 + 4 + 12) / 4 * 20, (1 + 1 + 6) / 4 * 10]]]))
    top1 = decode_joints(maps, (40, 160), CRW.replace(decode_top=1))
    assert torch.equal(top1, torch.tensor([[[120.0, 30.0]]]))


def test_an_empty_map_is_a_lost_joint():
    soft = torch.zeros(2, 3, 5, 5)
    soft[1, 0, 2, 2] = 1
    found = decode_joints(soft, (50, 50), STT)
    assert (found[0] == -1).all()
    assert (found[1, 1:] == -1).all()
    assert (found[1, 0] > 0).all()


def test_min_max_of_joint_maps_changes_the_weights():
    soft = torch.zeros(1, 1, 1, 4) + torch.tensor([0.5, 0.6, 0.9, 1.0])
    protocol = Protocol(decode_at="grid", decode_top=4, minmax=False)
    plain = decode_joints(soft, (1, 4), protocol)[0, 0, 0]
    stretched = decode_joints(soft, (1, 4), protocol.replace(minmax=True))[0, 0, 0]
    assert plain == pytest.approx((0.6 + 1.8 + 3.0) / 3.0)
    assert stretched == pytest.approx((0.2 + 2 * 0.8 + 3.0) / 2.0)


def test_bad_joints_are_refused():
    with pytest.raises(ValueError, match=r"joints of shape \(3,\)"):
        encode_joints([1.0, 2.0, 3.0], SIZE, INPUT, GRID, STT)
    with pytest.raises(ValueError, match=r"joint maps of shape \(3, 5, 5\)"):
        decode_joints(torch.zeros(3, 5, 5), SIZE, STT)
    with pytest.raises(ValueError, match="joint maps"):
        decode_joints(torch.zeros(1, 1, 5, 5), SIZE, CRW)  # the background alone

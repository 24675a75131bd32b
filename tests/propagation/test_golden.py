"""Propagation against the outputs of the released STT, VFS, CRW and DINO routines on synthetic features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from corrbench.labels import decode_joints, decode_mask, first_mask
from corrbench.propagation import carry
from tests.propagation.agreement import FILES, golden, runs_here

MASKS = [name for name in FILES if "pose" not in name]
POSES = [name for name in FILES if "pose" in name]


def test_all_files_are_there():
    assert len(FILES) == 12
    assert len(POSES) == 2


@pytest.mark.parametrize("path", ["reference", "tiled", "native"])
@pytest.mark.parametrize("name", FILES)
def test_soft_labels_are_those_of_the_released_code(name, path):
    if path == "native" and not runs_here(path):
        pytest.skip("the native path does not run on this machine")
    data, protocol, first = golden(name)
    soft = carry(torch.from_numpy(data["features"]), first, protocol, path=path)
    assert (soft[1:] - torch.from_numpy(data["grid_soft"])).abs().max() <= 1e-5
    assert torch.equal(soft[0], first)


@pytest.mark.parametrize("name", [n for n in MASKS if n.startswith(("crw", "dino"))])
def test_first_label_on_the_grid_is_that_of_the_released_code(name):
    data, _, first = golden(name)
    assert (first - torch.from_numpy(data["first_grid"])).abs().max() <= 1e-6


@pytest.mark.parametrize("path", ["reference", "tiled", "native"])
@pytest.mark.parametrize("name", MASKS)
def test_index_maps_are_those_of_the_released_code(name, path):
    if path == "native" and not runs_here(path):
        pytest.skip("the native path does not run on this machine")
    data, protocol, first = golden(name)
    size = tuple(int(side) for side in data["frame_size"])
    input_size = data["first_label"].shape
    soft = carry(torch.from_numpy(data["features"]), first, protocol, path=path)
    masks = decode_mask(soft, size, protocol.up, protocol.minmax, input_size)
    if name.startswith("dino"):
        masks = masks[1:]
    elif not name.startswith("crw"):
        masks[0] = torch.from_numpy(first_mask(data["first_label"], input_size, size))
    assert masks.dtype == torch.uint8
    assert int((masks != torch.from_numpy(data["output"])).sum()) <= 3


@pytest.mark.parametrize("name", POSES)
def test_heat_maps_and_decoded_joints_are_those_of_the_released_code(name):
    """The released decoder takes the 5 highest pixels of full-size maps, by numpy's argsort; those maps are in the file.

    From the same maps the joints are the same. End to end, pixels that tie in one map (the border of a bilinear map is
    flat) may differ by a rounding in the other, so another one of them may be among the five: half a pixel.
    """
    data, protocol, first = golden(name)
    size = tuple(int(side) for side in data["frame_size"])
    soft = carry(torch.from_numpy(data["features"]), first, protocol)
    maps, frames = data["output"][1:], data["output_frames"].tolist()[1:]  # frame 0 is from the given maps
    ours = F.interpolate(soft[frames], size=size, mode="bilinear", align_corners=False).numpy()
    assert np.abs(ours - maps).max() <= 1e-5
    flat = maps.reshape(*maps.shape[:2], -1)
    place = np.argsort(flat, axis=2, kind="stable")[..., -5:]
    weight = np.take_along_axis(flat, place, axis=2)
    weight = weight / weight.sum(axis=2, keepdims=True)
    expected = np.stack([(place % size[1] * weight).sum(2), (place // size[1] * weight).sum(2)], axis=2)
    assert np.abs(decode_joints(torch.from_numpy(maps), size, protocol).numpy() - expected).max() <= 1e-4
    assert np.abs(decode_joints(soft, size, protocol)[frames].numpy() - expected).max() <= 0.6

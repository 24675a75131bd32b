"""Descriptors without learning, against scikit-image's own functions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import color, data
from skimage.feature import daisy, hog

from corrbench.backbones.colour import to_input
from corrbench.backbones.descriptors import DAISY, HOG, Lab
from corrbench.registry import BACKBONES, build


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """An RGB frame whose sides are no multiples of 8."""
    return data.astronaut()[40:141, 150:283]


def _features(backbone: torch.nn.Module, frame: np.ndarray, colour: str) -> np.ndarray:
    return backbone(to_input(frame[None], colour))[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize(("cell", "orientations", "block"), [(8, 9, 3), (6, 8, 1)])
def test_hog_equals_scikit_image(photo: np.ndarray, cell: int, orientations: int, block: int) -> None:
    height, width = photo.shape[:2]
    border = block // 2 * cell
    grey = color.rgb2gray(photo)
    grey = np.pad(grey, ((0, -height % cell), (0, -width % cell)), mode="edge")
    grey = np.pad(grey, border, mode="edge")
    expected = hog(grey, orientations, (cell, cell), (block, block), "L2-Hys", feature_vector=False)
    expected = expected.reshape(*expected.shape[:2], -1)
    got = _features(HOG(cell, orientations, block), photo, "raw")
    assert got.shape == (-(-height // cell), -(-width // cell), block**2 * orientations)
    # A gradient that lies on the border of two bins to the last float32 bit may fall on either side.
    different = np.abs(got - expected).max(-1) > 1e-5
    assert different.mean() <= 0.01


@pytest.mark.parametrize(
    "settings", [{}, {"cell": 10, "radius": 9, "rings": 2, "histograms": 6, "orientations": 4}]
)
def test_daisy_equals_scikit_image(photo: np.ndarray, settings: dict[str, int]) -> None:
    backbone = DAISY(**settings)
    cell, radius = backbone.stride, backbone.radius
    before = radius - cell // 2
    pads = []
    for side in photo.shape[:2]:
        cells = -(-side // cell)
        pads.append((before, cells * cell - side + 2 * radius - before))
    grey = np.pad(color.rgb2gray(photo), pads, mode="edge")
    others = {key: value for key, value in settings.items() if key not in ("cell", "radius")}
    expected = daisy(grey, step=cell, radius=radius, **others)
    np.testing.assert_allclose(_features(backbone, photo, "raw"), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("samples", [1, 2, 8])
def test_lab_is_the_mean_colour_of_blocks(photo: np.ndarray, samples: int) -> None:
    side = 8 // samples
    lab = (color.rgb2lab(photo[:96, :128]) - (50, 0, 0)) / (50, 127, 127)
    means = lab.reshape(12, samples, side, 16, samples, side, 3).mean((2, 5))  # row, block row, column, ...
    expected = means.transpose(0, 2, 4, 1, 3).reshape(12, 16, -1)
    np.testing.assert_allclose(_features(Lab(samples=samples), photo[:96, :128], "lab"), expected, atol=1e-5)


@pytest.mark.parametrize("config", [{"type": "Lab"}, {"type": "HOG"}, {"type": "DAISY"}])
def test_shape_stride_and_batch(config: dict[str, str], photo: np.ndarray) -> None:
    backbone = build(BACKBONES, config)
    frames = to_input(np.stack([photo, photo[::-1]]), "raw")
    both = backbone(frames)
    assert backbone.stride == 8
    assert both.shape == (2, backbone.channels, 13, 17)
    torch.testing.assert_close(both[1:], backbone(frames[1:]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("backbone", [HOG(), DAISY()])
def test_flat_frame_gives_finite_features(backbone: torch.nn.Module) -> None:
    assert torch.isfinite(backbone(torch.full((1, 3, 40, 48), 0.5))).all()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "Lab", "samples": 3}, "Lab samples 3 must divide the cell, 8 pixels"),
        ({"type": "HOG", "block": 2}, "HOG block 2 must be odd"),
        ({"type": "HOG", "cell": 0}, "HOG cell 0 must be a whole number of at least 1"),
        ({"type": "DAISY", "radius": 3}, "DAISY radius 3 must be at least half the cell"),
    ],
)
def test_bad_settings_are_refused(config: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(BACKBONES, config)

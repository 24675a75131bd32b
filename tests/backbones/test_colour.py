"""Colour spaces of the network inputs, against scikit-image and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import color, data

from corrbench.backbones.colour import COLOURS, resize_bilinear, rgb_to_lab, to_input


def _cube(step: int) -> np.ndarray:
    levels = np.unique(np.append(np.arange(0, 256, step), 255))
    return (
        np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).astype(np.uint8).reshape(1, 1, -1, 3)
    )


def test_lab_equals_scikit_image() -> None:
    greys = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 1, 256, 3)
    for frames in (_cube(7), greys):
        planes = torch.from_numpy(frames).permute(0, 3, 1, 2)
        ours = rgb_to_lab(planes).permute(0, 2, 3, 1).numpy()
        np.testing.assert_allclose(ours, color.rgb2lab(frames), rtol=0, atol=1e-4)


def test_lab_input_is_lab_minus_mean_over_deviation() -> None:
    frames = data.astronaut()[None, ::8, ::8]
    expected = (color.rgb2lab(frames) - (50, 0, 0)) / (50, 127, 127)
    np.testing.assert_allclose(to_input(frames, "lab").permute(0, 2, 3, 1).numpy(), expected, atol=3e-6)


@pytest.mark.parametrize(
    ("colour", "mean", "deviation"),
    [
        ("rgb", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("half", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("raw", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    ],
)
def test_rgb_inputs(colour: str, mean: tuple[float, ...], deviation: tuple[float, ...]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    expected = (frames / 255 - mean) / deviation
    got = to_input(frames, colour)
    assert got.dtype == torch.float32
    assert got.is_contiguous()
    np.testing.assert_allclose(got.permute(0, 2, 3, 1).numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("colour", COLOURS)
def test_tensor_and_array_give_the_same_and_are_left_alone(colour: str) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (1, 9, 6, 3), dtype=np.uint8)
    kept = frames.copy()
    assert torch.equal(to_input(frames, colour), to_input(torch.from_numpy(frames), colour, device="cpu"))
    np.testing.assert_array_equal(frames, kept)


def test_resize_is_bilinear_with_half_pixel_centres_and_rounds() -> None:
    ramp = torch.tensor([[0, 100, 201, 255]], dtype=torch.uint8).expand(2, 4)[None, None]
    # Halving a width averages pairs: 50, 228; doubling puts the new centres at quarters of the old spacing.
    assert resize_bilinear(ramp, (2, 2))[0, 0, 0].tolist() == [50, 228]
    assert resize_bilinear(ramp, (2, 8))[0, 0, 0].tolist() == [0, 25, 75, 125, 176, 215, 242, 255]


def test_resize_comes_before_the_colour_conversion() -> None:
    frames = data.astronaut()[None, :64, :80]
    planes = torch.from_numpy(frames).permute(0, 3, 1, 2)
    small = resize_bilinear(planes, (40, 56)).permute(0, 2, 3, 1)
    assert torch.equal(to_input(frames, "lab", size=(40, 56)), to_input(small, "lab"))
    assert to_input(frames, "rgb", size=(64, 80)).shape == (1, 3, 64, 80)


@pytest.mark.parametrize(
    ("frames", "colour", "message"),
    [
        (
            np.zeros((1, 4, 4, 3), np.uint8),
            "hsv",
            "colour 'hsv' is not known; use one of lab, rgb, half, raw",
        ),
        (np.zeros((1, 4, 4, 3), np.float32), "lab", "frames must be uint8 RGB"),
        (np.zeros((4, 4, 3), np.uint8), "lab", r"shape \(B, h, w, 3\)"),
        (np.zeros((1, 4, 4, 4), np.uint8), "lab", r"shape \(B, h, w, 3\)"),
    ],
)
def test_bad_input_is_refused(frames: np.ndarray, colour: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_input(frames, colour)

"""Augmentations against torchvision's and Pillow's, and the random numbers behind them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.v2 import functional as tv

from corrbench.training import augment
from corrbench.training.schedule import generator


@pytest.mark.parametrize("out", [32, 64, 96])
@pytest.mark.parametrize("antialias", [True, False])
def test_resized_crops_equal_interpolate_whatever_the_padding(out: int, antialias: bool) -> None:
    crops = torch.randint(0, 256, (2, 3, 59, 74), dtype=torch.uint8, generator=generator(0, out))
    sizes = torch.tensor([[50, 70], [59, 31]])
    got = augment.resize_crops(crops, sizes, torch.tensor([False, True]), out, antialias)
    for place, (h, w) in enumerate(sizes.tolist()):
        want = F.interpolate(
            crops[place : place + 1, :, :h, :w].float(), size=(out, out), mode="bilinear", align_corners=False,
            antialias=antialias,
        )  # fmt: skip
        torch.testing.assert_close(got[place], want[0].flip(2) if place else want[0], atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("ours", "theirs", "value"),
    [
        (augment._brightness, tv.adjust_brightness, 1.3),
        (augment._contrast, tv.adjust_contrast, 0.7),
        (augment._saturation, tv.adjust_saturation, 1.4),
        (augment._hue, tv.adjust_hue, 0.08),
        (augment._hue, tv.adjust_hue, -0.1),
    ],
)
def test_colour_operations_equal_torchvisions(ours: object, theirs: object, value: float) -> None:
    images = torch.rand(2, 3, 12, 15, generator=generator(1, "images"))
    images[0, :, :3] = 0.5  # grey pixels have no hue
    got = ours(images, torch.full((2, 1, 1, 1), value))  # type: ignore[operator]
    torch.testing.assert_close(got, theirs(images, value), atol=1e-5, rtol=0)  # type: ignore[operator]


def test_blur_equals_torchvisions_where_it_applies() -> None:
    images = 255 * torch.rand(3, 3, 20, 21, generator=generator(2, "images"))
    looks = augment.Looks(
        torch.tensor([[1.0, 1.0, 1.0, 0.0]] * 3),
        (0, 1, 2, 3),
        torch.tensor([False, False, True]),
        torch.tensor([1.5, 0.0, 0.0]),
        5,
    )
    got = augment.apply_looks(images, looks)
    torch.testing.assert_close(got[:1], tv.gaussian_blur(images[:1], [11, 11], [1.5, 1.5]), atol=1e-3, rtol=0)
    torch.testing.assert_close(got[1], images[1], atol=1e-3, rtol=0)
    torch.testing.assert_close(got[2], tv.rgb_to_grayscale(images[2], 3), atol=1e-1, rtol=0)


def test_a_samples_look_does_not_depend_on_its_neighbours() -> None:
    images = 255 * torch.rand(4, 3, 24, 24, generator=generator(3, "images"))
    looks = augment.draw_looks(4, (0.4, 0.4, 0.4, 0.1), 0.8, 0.2, 0.5, (0.1, 2.0), generator(3, "looks"))
    whole = augment.apply_looks(images, looks)
    for place in range(4):
        rows = torch.tensor([place])
        alone = augment.apply_looks(images[rows], looks.rows(rows))
        torch.testing.assert_close(alone, whole[rows], atol=1e-3, rtol=0)


def test_shares_of_the_drawn_looks_are_those_asked_for() -> None:
    looks = augment.draw_looks(20_000, (0.4, 0.4, 0.4, 0.1), 0.8, 0.2, 0.5, (0.1, 2.0), generator(4))
    assert (looks.factors[:, 0] != 1).float().mean() == pytest.approx(0.8, abs=0.01)
    assert looks.grey.float().mean() == pytest.approx(0.2, abs=0.01)
    assert (looks.sigma > 0).float().mean() == pytest.approx(0.5, abs=0.015)
    assert looks.factors[:, :3].min() >= 0.6
    assert looks.factors[:, :3].max() <= 1.4
    assert looks.factors[:, 3].abs().max() <= 0.1
    assert looks.sigma.max() <= 2.0


def test_boxes_lie_inside_with_the_area_and_aspect_asked_for() -> None:
    uniform = torch.rand(500, augment.ATTEMPTS, 4, generator=generator(5))
    for numbers in uniform:
        top, left, h, w = augment.random_box((90, 160), numbers, (0.6, 1.0), (1.5, 2.0))
        assert 0 <= top <= 90 - h
        assert 0 <= left <= 160 - w
        assert 0.58 <= h * w / (90 * 160) <= 1.0
        assert 1.45 <= w / h <= 2.05


def test_a_box_that_never_fits_is_the_largest_central_one() -> None:
    numbers = torch.rand(augment.ATTEMPTS, 4, generator=generator(6))
    assert augment.random_box((100, 20), numbers, (0.9, 1.0), (1.5, 2.0)) == (43, 0, 13, 20)


def test_generators_differ_by_seed_and_by_tag() -> None:
    draws = {
        float(torch.rand(1, generator=generator(*key)))
        for key in [(0, "a", 1), (0, "a", 2), (0, "b", 1), (1, "a", 1)]
    }
    assert len(draws) == 4
    assert float(torch.rand(1, generator=generator(0, "a", 1))) in draws

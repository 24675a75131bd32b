"""The losses against the numbers of STT's released code, and the windowed forms against the dense ones."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import dense

from corrbench.backbones.colour import drop_channel
from corrbench.training.losses import (
    carry_channel,
    global_distillation,
    info_nce,
    local_distillation,
    local_distillation_parts,
    reconstruction,
)
from corrbench.training.losses.distillation import uncertain, uncertainty

GOLDEN = Path(__file__).parents[1] / "golden" / "stt_losses"


def pairs(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of (clip, frame) in one batch -> (target frame's, reference frame's)."""
    return maps[1::2], maps[0::2]


@pytest.fixture(params=[0, 1])
def released(request: pytest.FixtureRequest) -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / f"stt_losses_{request.param}.npz", allow_pickle=False) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def test_student_input_is_the_released_one(released: dict[str, torch.Tensor]) -> None:
    frames = released["lab"].flatten(0, 2)
    got = drop_channel(frames, int(released["dropped_channel"]))
    torch.testing.assert_close(got, released["student_input"], rtol=0, atol=1e-6)


def test_losses_and_gradients_are_the_released_ones(released: dict[str, torch.Tensor]) -> None:
    student = [released[f"student{level}"].requires_grad_() for level in range(3)]
    channel = int(released["dropped_channel"])
    reference, target = released["lab"][:, 0, 0, [channel]], released["lab"][:, 0, 1, [channel]]
    losses = {
        "stage0_l1": reconstruction(*pairs(student[0]), reference, target, 3),
        "stage1_l1": reconstruction(*pairs(student[1]), reference, target, 2),
        "local_corrdis": 1000 * local_distillation(*pairs(student[0]), *pairs(student[1]), 3, 2),
        "global_corrdis": 50 * global_distillation(*pairs(student[2]), *pairs(released["teacher"])),
    }
    for name, loss in losses.items():
        torch.testing.assert_close(loss.detach(), released[f"loss_{name}_loss"], rtol=1e-4, atol=0, msg=name)
    torch.stack(list(losses.values())).sum().backward()
    for level, maps in enumerate(student):
        want = released[f"grad_student{level}"]
        assert maps.grad is not None
        assert (maps.grad - want).abs().max() <= 1e-4 * want.abs().max()


SHAPES = [((5, 7), 2), ((9, 8), 3), ((16, 16), 12), ((17, 3), 9), ((1, 1), 0), ((6, 20), 1)]


@pytest.mark.parametrize(("size", "radius"), SHAPES)
def test_windowed_reconstruction_equals_the_dense_form(size: tuple[int, int], radius: int) -> None:
    generator = torch.Generator().manual_seed(radius)
    query, key, value, weight = (
        torch.randn(2, c, *size, generator=generator, dtype=torch.float64) for c in (5, 5, 2, 2)
    )
    inputs = [t.requires_grad_() for t in (query, key, value)]
    got, want = carry_channel(*inputs, radius), dense.carry(*inputs, radius)
    torch.testing.assert_close(got, want)
    for a, b in zip(
        torch.autograd.grad((got * weight).sum(), inputs),
        torch.autograd.grad((want * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_windowed_reconstruction_passes_gradcheck() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(1, c, 5, 4, generator=generator, dtype=torch.float64) for c in (3, 3, 1)]
    assert torch.autograd.gradcheck(
        lambda q, k, v: carry_channel(q, k, v, 2), [t.requires_grad_() for t in inputs]
    )


@pytest.mark.parametrize(
    ("size", "radii"), [((6, 6), (3, 2)), ((10, 7), (5, 1)), ((9, 9), (2, 4)), ((5, 5), (12, 6))]
)
@pytest.mark.parametrize("target", ["mean", "distribution"])
def test_windowed_local_distillation_equals_the_dense_form(
    size: tuple[int, int], radii: tuple[int, int], target: str
) -> None:
    generator = torch.Generator().manual_seed(sum(size))
    fine = [
        torch.randn(2, 4, 2 * size[0], 2 * size[1], generator=generator, dtype=torch.float64) for _ in "qk"
    ]
    coarse = [
        torch.randn(2, 6, *size, generator=generator, dtype=torch.float64).requires_grad_() for _ in "qk"
    ]
    mask = uncertain(uncertainty(*coarse, radii[1]), threshold="map").detach()
    got = local_distillation(*fine, *coarse, *radii, target=target, threshold="map")
    want = dense.local_distillation(
        tuple(fine), tuple(coarse), radii, mask, 4.0 if target == "distribution" else 1.0
    )
    torch.testing.assert_close(got, want)
    for a, b in zip(torch.autograd.grad(got, coarse), torch.autograd.grad(want, coarse), strict=True):
        torch.testing.assert_close(a, b)


def test_the_distribution_target_has_rows_of_mass_one_where_the_mean_has_a_quarter() -> None:
    generator = torch.Generator().manual_seed(1)
    fine = [torch.randn(1, 4, 12, 12, generator=generator) for _ in "qk"]
    torch.testing.assert_close(dense.pooled(*fine, 3).sum(-1), torch.full((1, 36), 0.25))


@pytest.mark.parametrize("volume", ["products", "correlation"])
@pytest.mark.parametrize("score", ["log", "entropy"])
def test_uncertainty_equals_the_cost_volume_written_out(volume: str, score: str) -> None:
    generator = torch.Generator().manual_seed(2)
    query, key = (torch.randn(2, 6, 7, 9, generator=generator, dtype=torch.float64) for _ in "qk")
    if volume == "products":
        p = dense.cost_volume(query, key, 2).softmax(1)
        counted = torch.ones_like(p)
    else:
        p = dense.correlation(query, key, 2).transpose(1, 2)
        counted = dense.window(7, 9, 2).T[None].to(p.dtype)
    surprise = -(p + 1e-12).log()
    want = ((surprise if score == "log" else p * surprise) * counted).sum(1).view(2, 7, 9)
    torch.testing.assert_close(uncertainty(query, key, 2, volume=volume, score=score), want)


def test_map_threshold_keeps_what_lies_above_the_quantile_and_the_released_one_goes_by_column() -> None:
    scores = torch.arange(100.0).view(1, 10, 10)
    by_map = uncertain(scores, 0.7, threshold="map")
    assert by_map.sum() == 69  # the 70th largest is the threshold, and strictly above counts
    by_column = uncertain(scores, 0.7)
    # Rows ascend, so row 6 of the sorted map is row 6 reversed: 69, 68, ... 60; only rows 7-9, and row 6's right half, pass.
    assert by_column[0, 7:].all()
    assert not by_column[0, :6].any()
    assert by_column[0, 6].tolist() == [False] * 5 + [True] * 5


def test_released_threshold_refuses_a_map_it_would_read_beyond() -> None:
    with pytest.raises(ValueError, match="row 13 of a map of 4 rows"):
        uncertain(torch.rand(1, 4, 20), 0.7)


def test_unknown_switch_and_sizes_are_refused_by_name() -> None:
    fine, coarse = torch.rand(1, 2, 8, 8), torch.rand(1, 2, 4, 4)
    with pytest.raises(ValueError, match=r"score 'entropie' is no choice.*entropy"):
        local_distillation_parts(fine, fine, coarse, coarse, 2, 1, score="entropie")
    with pytest.raises(ValueError, match="twice the coarser"):
        local_distillation(coarse, coarse, coarse, coarse, 2, 1)
    with pytest.raises(ValueError, match="no multiple of feature maps"):
        reconstruction(coarse, coarse, torch.rand(1, 1, 18, 18), torch.rand(1, 1, 18, 18), 1)
    with pytest.raises(ValueError, match="same total stride"):
        global_distillation(coarse, coarse, fine, fine)


def test_reconstruction_of_a_translated_frame_finds_the_translation() -> None:
    generator = torch.Generator().manual_seed(3)
    texture = torch.rand(1, 1, 24, 24, generator=generator)
    moved = texture.roll((2, -3), (2, 3))
    code = torch.nn.functional.unfold(texture, 5, padding=2).view(1, 25, 24, 24)
    moved_code = torch.nn.functional.unfold(moved, 5, padding=2).view(1, 25, 24, 24)
    sharp = [
        30 * torch.nn.functional.normalize(c - c.mean(1, keepdim=True), dim=1) for c in (moved_code, code)
    ]
    carried = carry_channel(*sharp, texture, 4)
    inner = (..., slice(6, 18), slice(6, 18))
    torch.testing.assert_close(carried[inner], moved[inner], atol=0.02, rtol=0)
    too_near = carry_channel(*sharp, texture, 1)
    assert (too_near[inner] - moved[inner]).abs().mean() > 0.1


def test_info_nce_is_the_cross_entropy_written_out() -> None:
    generator = torch.Generator().manual_seed(4)
    query, key, queue = (
        torch.nn.functional.normalize(torch.randn(n, 8, generator=generator), dim=1) for n in (3, 3, 11)
    )
    similar = torch.cat([(query * key).sum(1, keepdim=True), query @ queue.T], 1) / 0.2
    want = -(similar[:, 0] - similar.logsumexp(1)).mean()
    torch.testing.assert_close(info_nce(query, key, queue, 0.2), want)


@pytest.mark.parametrize("name", ["reconstruction", "local", "global", "contrast"])
def test_each_loss_goes_down_on_one_clip(name: str) -> None:
    generator = torch.Generator().manual_seed(5)
    still = torch.nn.functional.interpolate(
        torch.rand(1, 1, 6, 6, generator=generator), size=(32, 32), mode="bilinear"
    )
    image = torch.cat([still, still.roll((4, 8), (2, 3))])
    fine = torch.randn(2, 6, 16, 16, generator=generator)
    coarse = torch.randn(2, 6, 8, 8, generator=generator).requires_grad_()
    teacher = torch.randn(2, 4, 8, 8, generator=generator)
    queue = torch.nn.functional.normalize(torch.randn(32, 6, generator=generator), dim=1)

    def loss() -> torch.Tensor:
        if name == "reconstruction":
            return reconstruction(coarse[:1], coarse[1:], image[:1], image[1:], 3)
        if name == "local":
            return 1000 * local_distillation(
                fine[:1], fine[1:], coarse[:1], coarse[1:], 3, 2, threshold="map"
            )
        if name == "global":
            return 50 * global_distillation(coarse[:1], coarse[1:], teacher[:1], teacher[1:])
        unit = torch.nn.functional.normalize(coarse.mean((2, 3)), dim=1)
        return info_nce(unit, unit.flip(0), queue)

    adam = torch.optim.Adam([coarse], lr=0.05)
    first = float(loss().detach())
    for _ in range(40):
        adam.zero_grad()
        loss().backward()
        adam.step()
    assert float(loss().detach()) < 0.9 * first

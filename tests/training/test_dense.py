# ruff: noqa: C408 (settings read as they do in a method file)
"""Contrast between cells: where views look, which cells match, the loss, and the stage alone and beside the second step."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from corrbench import config
from corrbench.registry import STAGES, build
from corrbench.training import loop, views
from corrbench.training.checkpoint import load_weights
from corrbench.training.losses import dense_info_nce
from corrbench.training.stage import Part

CPU = torch.device("cpu")
SIZE = (60, 90)


@pytest.fixture
def dense(data_root: Path) -> dict[str, Any]:
    """A small `Dense` stage on the photographs of the tests."""
    return dict(
        type="Dense",
        backbone=dict(type="ResNet", width=8, stem_pool=None, strides=(1, 2, 2, 1), layer=3),
        dataset=dict(type="Photos", folders=["photos"], root=str(data_root)),
        updates=4,
        batch=4,
        crop=48,
    )


def pairs(count: int, side: tuple[float, float] = (0.4, 0.9)) -> torch.Tensor:
    """Maps of random pairs of views, every other one mirrored."""
    numbers = torch.rand(count, views.NUMBERS, generator=torch.Generator().manual_seed(3))
    drawn = [views.draw(SIZE, n, side, 2.0, 0.35, 20.0, 1.2) for n in numbers]
    return torch.stack([views.mirrored(m) if i % 2 else m for i, m in enumerate(drawn)])


def ramp() -> torch.Tensor:
    """An image (1, 3, h, w) whose red is twice the column and whose green is twice the row."""
    y, x = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
    return torch.stack([2 * x, 2 * y, 0 * x])[None].to(torch.uint8)


def test_views_show_what_their_maps_say() -> None:
    maps = pairs(8)
    image = ramp().expand(8, -1, -1, -1)
    seen = views.render(image, torch.tensor([SIZE] * 8), maps, 32)
    at = views.through(maps.flatten(0, 1), views.grid(32, 32)[None])  # pixels, from the edge
    inside = ((at > 2) & (at < torch.tensor([SIZE[1], SIZE[0]]) - 2)).all(-1)
    assert inside.float().mean() > 0.9
    shown = (seen[:, :2] / 2 + 0.5).permute(0, 2, 3, 1)
    torch.testing.assert_close(shown[inside], at[inside], atol=1e-2, rtol=0)


def test_matching_cells_show_the_same_point() -> None:
    maps = pairs(8)
    seen = views.render(ramp().expand(8, -1, -1, -1), torch.tensor([SIZE] * 8), maps, 32)
    places = views.matches(maps, (32, 32))
    at = (places + 0.5) / 32 * 2 - 1
    there = F.grid_sample(seen[1::2], at, align_corners=False)[:, :2]
    here = seen[0::2][:, :2]
    inside = (places > 1) & (places < 30)
    edge = 2 * torch.tensor([SIZE[1], SIZE[0]]).view(1, 2, 1, 1) - 8
    sound = inside.all(-1)[:, None] & (here > 8) & (here < edge)
    sound = sound.all(1, keepdim=True).expand_as(here)
    assert sound.float().mean() > 0.3
    torch.testing.assert_close(there[sound], here[sound], atol=0.1, rtol=0)


def test_beyond_the_border_lies_the_reflection_and_padding_is_never_seen() -> None:
    image = torch.full((1, 3, 20, 30), 100, dtype=torch.uint8)
    padded = F.pad(image, (0, 17, 0, 9), value=255)
    maps = torch.tensor([[[[25.0, 0, 20], [0, 25, 10]], [[10.0, 0, 29], [0, 10, 1]]]])
    seen = views.render(padded, torch.tensor([[20, 30]]), maps, 16)
    torch.testing.assert_close(seen, torch.full_like(seen, 100.0))


def test_a_crop_to_what_the_views_see_changes_nothing() -> None:
    image = torch.randint(
        0, 256, (1, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    for maps in pairs(6, side=(0.3, 0.5)):
        top, left, h, w = box = views.bounds(maps, SIZE)
        part = image[:, :, top : top + h, left : left + w]
        whole = views.render(image, torch.tensor([SIZE]), maps[None], 24)
        cut = views.render(part, torch.tensor([[h, w]]), views.moved(maps, box)[None], 24)
        at_edge = min(top, left) == 0 or top + h == SIZE[0] or left + w == SIZE[1]
        if not at_edge:
            torch.testing.assert_close(cut, whole, atol=1e-2, rtol=0)


def test_views_stay_within_their_settings() -> None:
    for maps in pairs(50):
        halves = maps[:, :, :2].det().abs().sqrt()
        assert (halves <= 30.01).all()
        ratio = float(halves[0] / halves[1])
        assert 1 / 2.01 < ratio < 2.01
        between = (maps[0, :, 2] - maps[1, :, 2]).abs()
        assert (maps[:, :, 2] >= halves[:, None] - 1e-3).all()
        # Moved further only to keep the larger of the two inside.
        assert (between <= 2 * 0.35 * halves.min() + (halves.max() - halves.min()) + 1e-3).all()


def by_hand(first: torch.Tensor, second: torch.Tensor, places: torch.Tensor, temperature: float) -> float:
    """The loss of `dense_info_nce` cell by cell, in float64."""
    b, _, h, w = first.shape
    keys = {(n, y, x): second[n, :, y, x] for n in range(b) for y in range(h) for x in range(w)}
    queries = {(n, y, x): first[n, :, y, x] for n in range(b) for y in range(h) for x in range(w)}
    total, count = 0.0, 0
    for (n, y, x), query in queries.items():
        column, row = places[n, y, x].tolist()
        if not (-0.5 <= column <= w - 0.5 and -0.5 <= row <= h - 0.5):
            continue
        count += 1
        column, row = min(max(column, 0), w - 1), min(max(row, 0), h - 1)
        everyone = math.log(sum(math.exp(float(query @ key) / temperature) for key in keys.values()))
        for (m, v, u), key in keys.items():
            share = max(0.0, 1 - abs(u - column)) * max(0.0, 1 - abs(v - row)) * (m == n)
            if share:
                back = math.log(sum(math.exp(float(q @ key) / temperature) for q in queries.values()))
                total += share * (everyone + back - 2 * float(query @ key) / temperature) / 2
    return total / count


@pytest.mark.parametrize("size", [(3, 4), (1, 3)])
def test_dense_info_nce_is_what_its_definition_says(size: tuple[int, int]) -> None:
    draw = torch.Generator().manual_seed(1)
    first, second = (
        F.normalize(torch.randn(2, 5, *size, generator=draw, dtype=torch.float64), dim=1) for _ in range(2)
    )
    places = torch.rand(2, *size, 2, generator=draw, dtype=torch.float64) * 6 - 1.5
    places[0, 0, 0] = torch.tensor([-0.4, 0.0])
    found = dense_info_nce(first, second, places, 0.2)
    assert float(found) == pytest.approx(by_hand(first, second, places, 0.2), rel=1e-9)


def test_views_that_share_nothing_cost_nothing() -> None:
    maps = torch.randn(1, 4, 3, 3, requires_grad=True)
    loss = dense_info_nce(F.normalize(maps, dim=1), F.normalize(maps, dim=1), torch.full((1, 3, 3, 2), 9.0))
    loss.backward()
    assert loss.item() == 0
    assert maps.grad is not None
    assert not maps.grad.any()


def test_the_stage_learns_to_match(dense: dict[str, Any], tmp_path: Path) -> None:
    textures = dense["dataset"] | {"folders": ["clips"]}
    stage = build(STAGES, dense | {"updates": 60, "lr": 3e-3, "warmup": 5, "dataset": textures})
    feed = stage.feed(7)
    seen = feed.prepare(feed.fetch(Part(1000, 0, 4, 0, 4)), CPU)

    def loss(weights: dict[str, torch.Tensor] | None) -> float:
        with torch.no_grad():
            return float(stage.network(weights, 0).train()(seen)["contrast"])

    loop.train(stage, tmp_path, seed=0)
    assert loss(load_weights(tmp_path / "weights.safetensors")) < 0.75 * loss(None)


def test_every_row_is_the_same_however_the_batch_is_shared_out(dense: dict[str, Any]) -> None:
    feed = build(STAGES, dense).feed(0)
    whole = feed.prepare(feed.fetch(Part(5, 0, 4, 0, 4)), CPU)
    part = feed.prepare(feed.fetch(Part(5, 2, 4, 0, 4)), CPU)
    torch.testing.assert_close(part["views"], whole["views"][4:], atol=0.06, rtol=0)  # pixels are rounded
    assert views.matches(part["maps"], (6, 6)).allclose(views.matches(whole["maps"], (6, 6))[2:], atol=1e-3)


def test_dense_beside_the_second_step(
    dense: dict[str, Any], temporal: dict[str, Any], tmp_path: Path
) -> None:
    beside = {k: v for k, v in dense.items() if k != "colour"} | {
        "updates": 0,
        "batch": 2 * temporal["batch"],
    }
    settings = temporal | dict(
        global_weight=0.0, contrast_weight=0.5, contrast=beside | dict(colour="rgb"), updates=2
    )
    settings["contrast"]["backbone"] = dict(temporal["backbone"], layer=3)
    stage = build(STAGES, config.resolve(STAGES, settings))
    network = stage.network(None, 0)
    assert network.contrast.stage.colour == "lab"  # this stage's
    assert network.contrast.backbone.conv1.weight is network.backbone.conv1.weight
    feed = stage.feed(0)
    rows = temporal["batch"]
    losses = network.train()(feed.prepare(feed.fetch(Part(0, 0, rows, 0, rows)), CPU))
    assert list(losses) == ["reconstruction2", "reconstruction3", "local", "contrast"]
    assert (
        len(stage.dummy(1)["contrast"]["views"]) == 2 * 2
    )  # the batches' ratio is kept where a step is timed
    loop.train(stage, tmp_path, seed=0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"side": (0.0, 1.0)}, "must be a range"), ({"side": (0.5, 1.5)}, "must be a range"),
     ({"zoom": 0.5}, "must be 1 or more")],
)  # fmt: skip
def test_settings_of_views_that_cannot_work_are_refused(
    dense: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        build(STAGES, dense | changes)


def test_a_stage_without_contrast_cannot_be_trained_beside_another(temporal: dict[str, Any]) -> None:
    inner = {**temporal, "updates": 0, "global_weight": 0.0}
    stage = build(STAGES, temporal | dict(global_weight=0.0, contrast_weight=1.0, contrast=inner))
    with pytest.raises(NotImplementedError, match="Spatial and Dense can"):
        stage.network(None, 0)

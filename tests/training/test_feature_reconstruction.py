# ruff: noqa: C408 (settings read as they do in a method file)
"""Reconstruction through the features: loss, pairs, that the map alone learns, and that it goes on after a stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from corrbench.registry import BACKBONES, STAGES, build
from corrbench.run_weights import network_of
from corrbench.training import loop
from corrbench.training.checkpoint import load_weights
from corrbench.training.feature_reconstruction import colours_of_cells
from corrbench.training.losses import colour_reconstruction
from corrbench.training.stage import Part

CPU = torch.device("cpu")
PLAIN = dict(type="ResNet", width=8, stem_pool=None, strides=(1, 2, 2, 1), layer=3)
WHITENED = dict(type="Whitened", backbone=PLAIN, layers=[2, 3], means=[3], directions=24)


@pytest.fixture
def stage(data_root: Path) -> dict[str, Any]:
    """Clips of three frames of the videos of the tests."""
    return dict(
        type="FeatureReconstruction",
        backbone=WHITENED,
        dataset=dict(type="Videos", folders=["clips"], root=str(data_root)),
        updates=4,
        batch=2,
        frames=3,
        step=1,
        gaps=(1, 2),
        radius=2,
        cells=2,
        lr=1e-2,
    )


def weights(centred: bool = False) -> dict[str, torch.Tensor]:
    network = build(BACKBONES, WHITENED | dict(backbone=PLAIN | dict(seed=5), centred=centred))
    network.set(torch.zeros(80), torch.randn(24, 80, generator=torch.Generator().manual_seed(5)))
    return {key: value.clone() for key, value in network.state_dict().items()}


def test_colours_are_carried_by_cosines_within_the_window() -> None:
    draw = torch.Generator().manual_seed(0)
    query, key = (torch.randn(1, 5, 4, 6, generator=draw, dtype=torch.float64) for _ in range(2))
    reference, target = (torch.randn(1, 3, 4, 6, generator=draw, dtype=torch.float64) for _ in range(2))

    def unit(x: torch.Tensor) -> np.ndarray:
        return (x / x.norm(dim=1, keepdim=True))[0].flatten(1).numpy()

    y, x = np.divmod(np.arange(24), 6)
    near = (abs(y[:, None] - y) <= 1) & (abs(x[:, None] - x) <= 1)
    found = np.exp(unit(query).T @ unit(key) / 0.3) * near
    carried = found / found.sum(1, keepdims=True) @ reference[0].flatten(1).numpy().T
    error = 7 * abs(carried - target[0].flatten(1).numpy().T)
    wanted = np.where(error < 1, error**2 / 2, error - 0.5).mean()
    loss = colour_reconstruction(query, key, reference, target, 1, 0.3, 7.0)
    assert float(loss) == pytest.approx(wanted, rel=1e-9)
    assert float(colour_reconstruction(3 * query, key / 5, reference, target, 1, 0.3, 7.0)) == pytest.approx(
        wanted
    )


def test_a_frame_that_is_its_own_reference_and_knows_its_cells_is_reconstructed() -> None:
    own = torch.eye(12).view(1, 12, 3, 4)
    colours = torch.rand(1, 6, 3, 4)
    assert float(colour_reconstruction(own, own, colours, colours, 2, 0.02)) < 1e-6
    assert float(colour_reconstruction(own, own, colours, colours, 2, 1.0)) > 0.1


def test_colours_of_a_cell_are_those_of_its_parts() -> None:
    frames = torch.rand(2, 3, 16, 24)
    colours = colours_of_cells(frames, (2, 3), 4)
    assert colours.shape == (2, 48, 2, 3)
    plain = torch.arange(3.0).view(1, 3, 1, 1).expand(1, 3, 16, 24)
    torch.testing.assert_close(
        colours_of_cells(plain, (2, 3), 2)[0, :, 1, 1], torch.arange(3.0).repeat_interleave(4)
    )
    halves = torch.zeros(1, 3, 16, 16)
    halves[:, :, :, 4:8] = 1.0
    left, right = colours_of_cells(halves, (2, 2), 2)[0, :2, 0, 0]
    assert float(left) < 0.3 < 0.7 < float(right)


def test_the_map_learns_and_nothing_else_moves(stage: dict[str, Any], tmp_path: Path) -> None:
    losses: list[float] = []

    class Kept(loop.Journal):
        def write(self, update: int, values: dict[str, float], rate: float) -> None:
            losses.append(values["reconstruction"])

    loop.train(build(STAGES, stage | dict(updates=60)), tmp_path, parent=weights(), journal=Kept(None))
    assert losses[-1] < 0.95 * losses[0]
    after = load_weights(tmp_path / "weights.safetensors")
    build(BACKBONES, WHITENED).load_state_dict(after)
    moved = {name for name, tensor in weights().items() if not torch.equal(after[name], tensor)}
    assert moved == {"whitening.weight", "whitening.bias"}


def test_with_a_rate_of_its_own_the_network_goes_on_too_but_for_its_statistics(
    stage: dict[str, Any], tmp_path: Path
) -> None:
    loop.train(build(STAGES, stage | dict(updates=1, network_rate=0.1)), tmp_path, parent=weights())
    after = load_weights(tmp_path / "weights.safetensors")
    most = {name: float((after[name] - tensor).abs().max()) for name, tensor in weights().items()}
    assert not any(change for name, change in most.items() if "running" in name)
    assert most["whitening.weight"] == pytest.approx(1e-2, rel=0.01)  # Adam's first step
    assert most["backbone.conv1.weight"] == pytest.approx(1e-3, rel=0.01)


def test_what_all_cells_of_a_clip_share_teaches_a_centred_network_nothing(stage: dict[str, Any]) -> None:
    clip = torch.rand(3, 3, 40, 56, generator=torch.Generator().manual_seed(0))

    def loss(shared: float, centred: bool) -> float:
        given = weights(centred)
        network = build(STAGES, stage | dict(backbone=WHITENED | {"centred": centred})).network(given, 0)
        joined = network.backbone.joined
        network.backbone.joined = lambda frames: joined(frames) + shared
        return float(network({"clips": [clip], "pairs": [[(0, 1)]]})["reconstruction"].detach())

    assert loss(3.0, centred=True) == pytest.approx(loss(0.0, centred=True), rel=1e-3)
    assert loss(3.0, centred=False) != pytest.approx(loss(0.0, centred=False), rel=1e-2)


def test_a_clip_has_one_pair_for_each_gap_both_ways_round(stage: dict[str, Any]) -> None:
    feed = build(STAGES, stage | dict(frames=4, gaps=(1, 3), batch=4)).feed(0)
    pairs = [
        pair
        for update in range(20)
        for clip in feed.fetch(Part(update, 0, 4, 0, 4))["pairs"]
        for pair in clip
    ]
    assert all(
        abs(target - reference) == gap for (target, reference), gap in zip(pairs, (1, 3) * 80, strict=True)
    )
    assert set(pairs) == {(1, 0), (2, 1), (3, 2), (0, 1), (1, 2), (2, 3), (3, 0), (0, 3)}
    share = feed.fetch(Part(7, 2, 4, 0, 4))
    assert share["pairs"] == feed.fetch(Part(7, 0, 4, 0, 4))["pairs"][2:]
    assert feed.prepare(share, CPU)["pairs"] == share["pairs"]


def test_a_stopped_stage_goes_on_to_the_same_weights(stage: dict[str, Any], tmp_path: Path) -> None:
    def stop(done: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    loop.train(build(STAGES, stage), tmp_path / "whole", parent=weights())
    with pytest.raises(KeyboardInterrupt):
        loop.train(build(STAGES, stage), tmp_path / "cut", parent=weights(), save_updates=1, after=stop)
    loop.train(build(STAGES, stage), tmp_path / "cut", parent=weights())
    whole, cut = (load_weights(tmp_path / name / "weights.safetensors") for name in ("whole", "cut"))
    for name, tensor in whole.items():
        torch.testing.assert_close(cut[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(gaps=(1, 3)), r"gaps \[1, 3\] must be numbers from 1 to 2, with frames 3"),
        (dict(gaps=()), r"gaps \[\] must be numbers"),
        (dict(cells=0), "cells 0 1 or more"),
        (dict(temperature=0.0), "temperature 0.0 must be above 0"),
        (dict(network_rate=-0.1), "network_rate -0.1 0 or more"),
    ],
)
def test_settings_that_cannot_be_say_so(stage: dict[str, Any], changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(STAGES, stage | changes)


def test_without_a_map_or_weights_it_says_so(stage: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match="FeatureReconstruction: there is nothing to start from; it needs a preceding stage"
    ):
        build(STAGES, stage).network(None, 0)
    with pytest.raises(ValueError, match="FeatureReconstruction: ResNet has no map to train"):
        build(STAGES, stage | dict(backbone=PLAIN)).network(None, 0)


def test_its_weights_are_of_the_whitened_backbone_and_its_dummy_batch_fits(stage: dict[str, Any]) -> None:
    assert network_of([{"type": "FeatureReconstruction", "settings": stage}], PLAIN) == WHITENED
    built = build(STAGES, stage | dict(radius=1))
    with torch.no_grad():
        assert built.network(weights(), 0)(built.dummy(1))["reconstruction"] > 0

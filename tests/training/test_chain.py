# ruff: noqa: C408 (settings read as they do in a method file)
"""Distillation of chains: targets, loss, that the map alone is trained and learns, and that it goes on after a stop."""

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
from corrbench.training.losses import chain_distillation, chain_targets
from corrbench.training.stage import Part

CPU = torch.device("cpu")
PLAIN = dict(type="ResNet", width=8, stem_pool=None, strides=(1, 2, 2, 1), layer=3)
WHITENED = dict(type="Whitened", backbone=PLAIN, layers=[2, 3], means=[3], directions=24)


@pytest.fixture
def stage(data_root: Path) -> dict[str, Any]:
    """Clips of three frames of the videos of the tests."""
    return dict(
        type="ChainDistillation",
        backbone=WHITENED,
        dataset=dict(type="Videos", folders=["clips"], root=str(data_root)),
        updates=4,
        batch=2,
        frames=3,
        step=1,
        gaps=(1, 2),
        radius=2.0,
        certain=0.1,
        lr=1e-2,
    )


def weights() -> dict[str, torch.Tensor]:
    network = build(BACKBONES, WHITENED | dict(backbone=PLAIN | dict(seed=5)))
    network.set(torch.zeros(80), torch.randn(24, 80, generator=torch.Generator().manual_seed(5)))
    return {key: value.clone() for key, value in network.state_dict().items()}


def test_targets_are_the_shares_round_the_largest_one() -> None:
    carried = torch.zeros(12, 3, 4)
    carried[[5, 6, 9, 3], 0, 0] = torch.tensor(
        [0.5, 0.25, 0.05, 0.2]
    )  # row 1: 5, 6; row 2: 9; row 0, far off: 3
    carried[0, 0, 1] = 0.5  # at the corner, of a label that sums to 0.5
    place, share, certain = chain_targets(carried, 1)
    assert place.shape == share.shape == (12, 9)
    assert place[0].tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    np.testing.assert_allclose(share[0][[4, 5, 7]], np.array([0.5, 0.25, 0.05]) / 0.8, rtol=1e-6)
    assert float(certain[0]) == pytest.approx(0.8)
    assert float(share[1].sum()) == float(share[1][4]) == float(certain[1]) == 1
    assert float(share[2:].sum()) == float(certain[2:].sum()) == 0


def test_the_loss_is_the_cross_entropy_of_the_match_with_the_shares() -> None:
    draw = torch.Generator().manual_seed(0)
    query, key = (torch.randn(n, 5, generator=draw, dtype=torch.float64) for n in (3, 4))
    place = torch.tensor([[0, 1], [2, 3], [3, 3]])
    share = torch.tensor([[0.25, 0.75], [1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    certain = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)

    def unit(x: torch.Tensor) -> np.ndarray:
        return (x / x.norm(dim=1, keepdim=True)).numpy()

    found = np.exp(unit(query) @ unit(key).T / 0.2)
    found /= found.sum(1, keepdims=True)
    terms = [-0.25 * np.log(found[0, 0]) - 0.75 * np.log(found[0, 1]), -np.log(found[1, 2])]
    wanted = (terms[0] + 0.5 * terms[1]) / 1.5
    loss = chain_distillation(query, key, place, share, certain, 0.2)
    assert float(loss) == pytest.approx(wanted, rel=1e-10)


def test_nothing_certain_is_no_loss_with_a_gradient_of_nothing() -> None:
    query = torch.randn(0, 5, requires_grad=True)
    none = torch.zeros(0, 9, dtype=torch.int64), torch.zeros(0, 9), torch.zeros(0)
    loss = chain_distillation(query, torch.randn(4, 5), *none)
    loss.backward()
    assert float(loss.detach()) == 0
    assert query.grad is not None


def test_the_map_learns_and_nothing_else_moves(stage: dict[str, Any], tmp_path: Path) -> None:
    losses: list[float] = []

    class Kept(loop.Journal):
        def write(self, update: int, values: dict[str, float], rate: float) -> None:
            losses.append(values["chain"])

    loop.train(build(STAGES, stage | dict(updates=40)), tmp_path, parent=weights(), journal=Kept(None))
    assert losses[-1] < 0.9 * losses[0]
    after = load_weights(tmp_path / "weights.safetensors")
    build(BACKBONES, WHITENED).load_state_dict(after)
    for name, tensor in weights().items():
        assert torch.equal(after[name], tensor) == (not name.startswith("whitening")), name


def test_what_all_cells_of_a_clip_share_teaches_a_centred_network_nothing(stage: dict[str, Any]) -> None:
    """Its teacher and its student see the clip as an evaluation shows it the video."""
    clip = torch.rand(3, 3, 40, 56, generator=torch.Generator().manual_seed(0))

    def loss(shared: float, centred: bool) -> float:
        backbone = WHITENED | {"centred": centred}
        given = {key: value for key, value in weights().items() if key != "whitening.bias" or not centred}
        network = build(STAGES, stage | dict(backbone=backbone)).network(given, 0)
        joined = network.backbone.joined
        network.backbone.joined = lambda frames: joined(frames) + shared
        return float(network({"clips": [clip]})["chain"].detach())

    assert loss(3.0, centred=True) == pytest.approx(loss(0.0, centred=True), rel=1e-3)
    assert loss(3.0, centred=False) != pytest.approx(loss(0.0, centred=False), rel=1e-2)


def test_a_wholly_adapted_network_learns_the_same_of_a_clip_with_more_contrast(stage: dict[str, Any]) -> None:
    """The clip's own statistics take a factor away; afterwards the network has those it came with."""
    clip = torch.rand(3, 3, 40, 56, generator=torch.Generator().manual_seed(0))

    def loss(factor: float, adapted: float) -> float:
        given = weights()
        given["backbone.bn1.bias"] += 1.0
        network = build(STAGES, stage | dict(backbone=WHITENED | {"adapted": adapted})).network(given, 0)
        before = {key: tensor.clone() for key, tensor in network.backbone.state_dict().items()}
        found = float(network({"clips": [factor * clip]})["chain"].detach())
        for key, tensor in network.backbone.state_dict().items():
            assert torch.equal(tensor, before[key]), key
        return found

    assert loss(3.0, adapted=1.0) == pytest.approx(loss(1.0, adapted=1.0), rel=1e-4)
    assert loss(3.0, adapted=0.0) != pytest.approx(loss(1.0, adapted=0.0), rel=1e-3)


def test_a_clip_is_every_nth_frame_of_a_video(stage: dict[str, Any]) -> None:
    feed = build(STAGES, stage | dict(step=2, frames=2, gaps=(1,), flip_share=0.0)).feed(0)
    videos, part = feed.dataset, Part(3, 0, 2, 0, 2)
    clips = feed.fetch(part)["clips"]
    for clip in clips:
        places = [(v, t) for v in range(len(videos)) for t in range(videos.frames(v) - 2)]
        pairs = [np.stack([videos.read(v, t), videos.read(v, t + 2)]) for v, t in places]
        assert any(np.array_equal(clip.numpy(), pair) for pair in pairs)
    mirrored = build(STAGES, stage | dict(step=2, frames=2, gaps=(1,), flip_share=1.0)).feed(0)
    for clip, other in zip(clips, mirrored.fetch(part)["clips"], strict=True):
        assert torch.equal(clip.flip(2), other)
    h, w = clips[0].shape[1:3]
    large = build(STAGES, stage | dict(resize=f"short {2 * min(h, w)}")).feed(0)
    assert large.prepare(large.fetch(part), CPU)["clips"][0].shape == (3, 3, 2 * h, 2 * w)
    with pytest.raises(ValueError, match="too few for clips of 3 with step 50; remove it or lower frames or"):
        build(STAGES, stage | dict(step=50)).feed(0).fetch(part)


def test_the_teacher_carries_the_first_frames_cells(stage: dict[str, Any]) -> None:
    """Of the first two frames: the softmax over the best keys, of which frame 0 has each twice."""
    built = build(STAGES, stage | dict(frames=2, gaps=(1,), radius=100.0))
    feed = built.feed(0)
    (clip, *_) = feed.prepare(feed.fetch(Part(0, 0, 2, 0, 2)), CPU)["clips"]
    network = built.network(weights(), 0)
    with torch.no_grad():
        maps = network.backbone(clip)
        carried = network.carried(maps)
    unit = torch.nn.functional.normalize(maps, dim=1).flatten(2)
    best, where = (unit[1].T @ unit[0]).topk(5, 1)
    wanted = torch.zeros(unit.shape[2], unit.shape[2]).scatter(1, where, (best / 0.07).softmax(1))
    torch.testing.assert_close(carried[1].flatten(1).T, wanted, atol=1e-4, rtol=0)


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
        (dict(certain=1.5), "certain 1.5 must be from 0 to 1"),
    ],
)
def test_settings_that_cannot_be_say_so(stage: dict[str, Any], changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(STAGES, stage | changes)


def test_without_a_map_or_weights_it_says_so(stage: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="nothing to start from; it needs a preceding stage"):
        build(STAGES, stage).network(None, 0)
    with pytest.raises(ValueError, match="ResNet has no map to train; backbone must be a Whitened one"):
        build(STAGES, stage | dict(backbone=PLAIN)).network(None, 0)


def test_its_weights_are_of_the_whitened_backbone(stage: dict[str, Any]) -> None:
    assert network_of([{"type": "ChainDistillation", "settings": stage}], PLAIN) == WHITENED

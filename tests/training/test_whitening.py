# ruff: noqa: C408 (settings read as they do in a method file)
"""Whitening: what the stage makes of a network, that it goes on after a stop, and that a run wraps its method's backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from corrbench import config, zoo
from corrbench.backbones.centred import over_video
from corrbench.datasets.sequence import Sequence
from corrbench.methods import LabelPropagation
from corrbench.provenance import Numerics
from corrbench.registry import BACKBONES, STAGES, build
from corrbench.run_weights import network_of
from corrbench.training import loop, planning
from corrbench.training.checkpoint import load_weights
from corrbench.training.stage import Part
from corrbench.training.whitening import Whitening

STT = Path(__file__).parents[2] / "methods" / "stt.py"
CPU = torch.device("cpu")
NETWORK = dict(type="ResNet", width=8, stem_pool=None, strides=(1, 2, 2, 1), layer=2)


@pytest.fixture
def whitening(data_root: Path) -> dict[str, Any]:
    """A small `Whitening` stage on the videos of the tests."""
    return dict(
        type="Whitening",
        backbone=NETWORK,
        dataset=dict(type="Videos", folders=["clips"], root=str(data_root)),
        updates=6,
        batch=2,
        resize="native",
    )


def start() -> dict[str, torch.Tensor]:
    """Weights of a network, as a stage before leaves them, with tensors that this one does not need."""
    return build(BACKBONES, NETWORK | {"layer": 3, "seed": 5}).state_dict()


def trained(settings: dict[str, Any], folder: Path, **more: Any) -> dict[str, torch.Tensor]:
    loop.train(build(STAGES, settings), folder, parent=start(), **more)
    return load_weights(folder / "weights.safetensors")


def whitened(**more: Any) -> Any:
    return build(BACKBONES, dict(type="Whitened", backbone=NETWORK) | more)


def cells_of(settings: dict[str, Any], weights: dict[str, torch.Tensor]) -> torch.Tensor:
    """Features (N, C) of every cell of the very frames that the stage has seen."""
    stage = build(STAGES, settings)
    network = whitened(**{key: settings[key] for key in ("layers", "means", "directions") if key in settings})
    network.load_state_dict(weights)
    feed = stage.feed(0)
    cells = []
    for update in range(stage.updates):
        batch = feed.prepare(feed.fetch(Part(update, 0, stage.batch, 0, stage.batch)), CPU)
        with torch.inference_mode():
            cells += [network(frame)[0].flatten(1).T for frame in batch["frames"]]
    return torch.cat(cells).double()


def test_whole_whitening_leaves_no_mean_and_one_variance(whitening: dict[str, Any], tmp_path: Path) -> None:
    settings = whitening | dict(power=1.0, floor=1e-9)
    cells = cells_of(settings, trained(settings, tmp_path))
    covariance = torch.cov(cells.T, correction=0)
    scale = covariance.diagonal().mean()
    torch.testing.assert_close(covariance / scale, torch.eye(16, dtype=torch.float64), atol=2e-3, rtol=0)
    assert float(cells.mean(0).abs().max() / scale.sqrt()) < 1e-3


@pytest.mark.parametrize("power", [0.0, 0.75])
def test_a_lower_power_keeps_that_much_of_the_differences(
    whitening: dict[str, Any], tmp_path: Path, power: float
) -> None:
    plain = torch.cov(cells_of(whitening, identity()).T, correction=0)
    settings = whitening | dict(power=power, floor=1e-9)
    cells = cells_of(settings, trained(settings, tmp_path))
    before = torch.linalg.eigvalsh(plain)
    after = torch.linalg.eigvalsh(torch.cov(cells.T, correction=0))
    expected = before ** (1 - power) * before.mean() ** power
    torch.testing.assert_close(after, expected, rtol=5e-3, atol=1e-6 * float(expected.max()))


def identity() -> dict[str, torch.Tensor]:
    network = whitened()
    inner = network.backbone.state_dict()
    network.backbone.load_state_dict({k: start()[k] for k in inner})
    return network.state_dict()


def test_small_variances_count_as_the_floor(whitening: dict[str, Any], tmp_path: Path) -> None:
    settings = whitening | dict(power=1.0, floor=0.5)
    gains = torch.linalg.svdvals(trained(settings, tmp_path)["whitening.weight"][:, :, 0, 0])
    assert float(gains.max() / gains.min()) <= 2**0.5 * (1 + 1e-5)


def test_other_weights_stay_and_nothing_is_the_identity_without_training(
    whitening: dict[str, Any], tmp_path: Path
) -> None:
    weights = trained(whitening, tmp_path)
    for name, tensor in identity().items():
        if name.startswith("backbone."):
            torch.testing.assert_close(weights[name], tensor, rtol=0, atol=0)
    plain, untrained = build(BACKBONES, NETWORK), whitened()
    image = torch.rand(1, 3, 40, 56)
    torch.testing.assert_close(untrained(image), plain(image))
    assert (untrained.stride, untrained.channels) == (plain.stride, plain.channels)


def test_a_stopped_stage_goes_on_to_the_same_weights(whitening: dict[str, Any], tmp_path: Path) -> None:
    whole = trained(whitening, tmp_path / "whole")

    def stop(done: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(whitening, tmp_path / "cut", save_updates=2, after=stop)
    cut = trained(whitening, tmp_path / "cut")
    for name, tensor in whole.items():
        torch.testing.assert_close(cut[name], tensor, rtol=0, atol=0)


def test_without_anything_to_whiten_it_says_so(whitening: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to whiten; it needs a preceding stage"):
        loop.train(build(STAGES, whitening), tmp_path, parent=None)
    with pytest.raises(ValueError, match=r"power 1.5 must be from 0 to 1"):
        build(STAGES, whitening | dict(power=1.5))


def test_weights_after_a_whitening_are_of_the_whitened_backbone() -> None:
    plain = {"type": "ResNet", "depth": 18}
    assert network_of([{"type": "Spatial"}, {"type": "Temporal"}], plain) == plain
    how = {"layers": [2, 3], "means": [5], "directions": 64}
    found = network_of([{"type": "Temporal"}, {"type": "Whitening", "settings": how | {"power": 1.0}}], plain)
    assert found == {"type": "Whitened", "backbone": plain} | how
    assert network_of([{"type": "Whitening"} | how | {"dropped": []}], plain) == found
    twice = network_of([{"type": "Whitening"} | how | {"dropped": [1, 2]}], plain)
    assert twice == found | {"dropped": [1, 2]}
    assert network_of([{"type": "Whitening"} | how | {"centred": False}], plain) == found
    assert network_of([{"type": "Whitening"} | how | {"centred": True}], plain) == found | {"centred": True}
    assert network_of([{"type": "Whitening"} | how | {"adapted": 0.4}], plain) == found | {"adapted": 0.4}
    assert network_of([{"type": "Whitening"} | how], found) == found


@pytest.mark.parametrize("size", [(40, 56), (37, 51), (41, 45)])
def test_stages_are_averaged_down_and_surroundings_averaged_over(size: tuple[int, int]) -> None:
    network = whitened(backbone=NETWORK | {"layer": 3}, layers=(2, 3), means=(3, 31))
    image = torch.rand(2, 3, *size)
    with torch.inference_mode():
        joined = network.joined(image)
        fine, last = network.backbone.forward_layers(image, (2, 3))
    (h, w), depth = last.shape[2:], fine.shape[1]
    assert network.channels == joined.shape[1] == depth + 3 * last.shape[1]
    for y, x in ((0, 0), (1, 2), (h - 1, w - 1)):
        under = fine[:, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean((2, 3))
        around = last[:, :, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].mean((2, 3))
        expected = torch.cat([under, last[:, :, y, x], around, last.mean((2, 3))], 1)  # 31 covers all
        torch.testing.assert_close(joined[:, :, y, x], expected)


def test_the_directions_of_most_variance_are_kept(whitening: dict[str, Any], tmp_path: Path) -> None:
    joined = whitening | dict(layers=(1, 2), means=(3,), power=0.5, floor=1e-9)
    whole = torch.linalg.eigvalsh(torch.cov(cells_of(joined, trained(joined, tmp_path / "all")).T))
    fewer = joined | dict(directions=6)
    few = torch.linalg.eigvalsh(torch.cov(cells_of(fewer, trained(fewer, tmp_path / "few")).T))
    assert (len(whole), len(few)) == (8 + 16 + 16, 6)
    torch.testing.assert_close(few / few[-1], whole[-6:] / whole[-1], rtol=5e-3, atol=0)


def test_passes_without_a_channel_are_joined() -> None:
    network = whitened(
        backbone=NETWORK | {"layer": 3}, layers=(2, 3), means=(3,), dropped=(1, 2), directions=40
    )
    plain = whitened(backbone=NETWORK | {"layer": 3}, layers=(2, 3), means=(3,))
    plain.backbone.load_state_dict(network.backbone.state_dict())
    image = torch.rand(2, 3, 40, 56)
    without_a, without_b = 1.5 * image, 1.5 * image
    without_a[:, 1] = 0
    without_b[:, 2] = 0
    with torch.inference_mode():
        joined = network.joined(image)
        torch.testing.assert_close(
            joined, torch.cat([plain.joined(without_a), plain.joined(without_b)], 1), rtol=0, atol=0
        )
        torch.testing.assert_close(network(image), joined[:, :40])
    assert network.whitening.in_channels == 2 * plain.whitening.in_channels


def test_a_shipped_network_is_whitened_anew_with_other_settings(
    whitening: dict[str, Any], tmp_path: Path
) -> None:
    """Its own map is left behind."""
    how = dict(layers=(2, 3), means=(3,), directions=64, dropped=(1, 2))
    plain = config.load(STT, "method").data["method"]["backbone"]
    settings = whitening | how | dict(backbone=plain, weights="stt-r18-small", updates=2, batch=1)
    loop.train(build(STAGES, settings), tmp_path, parent=None)
    found = load_weights(tmp_path / "weights.safetensors")
    shipped = zoo.locate("stt-r18-small").path
    before = {k: v.float() for k, v in load_file(shipped).items() if k.startswith("backbone.")}
    assert before
    for key, tensor in before.items():
        assert torch.equal(found[key], tensor), key
    build(BACKBONES, network_of([{"type": "Whitening", "settings": settings}], plain)).load_state_dict(found)
    assert found["whitening.weight"].shape == (64, 2 * (128 + 256 + 256), 1, 1)


def test_what_is_not_asked_for_is_no_part_of_the_digest() -> None:
    plain = {"dropped": [], "centred": False, "adapted": 0.0}
    assert Whitening.idle(plain) == set(plain)
    assert not Whitening.idle({"dropped": [1, 2], "centred": True, "adapted": 0.4})


def test_stages_trained_before_a_setting_was_there_are_found(whitening: dict[str, Any]) -> None:
    """An `adapted` of 0 is none; another one is another network."""
    inner = {"type": "Whitened", "backbone": NETWORK, "layers": None, "means": [], "directions": None}
    settings = config.resolve(STAGES, whitening) | {"backbone": inner}
    assert planning.identity(settings | {"backbone": inner | {"adapted": 0.0}}) == planning.identity(settings)
    assert planning.identity(settings | {"backbone": inner | {"adapted": 0.4}}) != planning.identity(settings)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match=r"dropped \[3\] must be channels of the input"):
        whitened(dropped=(3,))
    with pytest.raises(ValueError, match=r"means \[4\] must be odd"):
        whitened(means=(4,))
    with pytest.raises(ValueError, match="directions 17 must be from 1 to 16"):
        whitened(directions=17)
    with pytest.raises(ValueError, match="MobileNetV2 has no stages to choose from"):
        whitened(backbone=dict(type="MobileNetV2", layer=3, stride=4), layers=(2,))


def test_features_of_a_centred_network_lose_the_mean_of_their_video() -> None:
    torch.manual_seed(0)
    settings = dict(backbone=NETWORK | {"layer": 3}, layers=(2, 3), means=(3,), directions=8)
    network, plain = whitened(**settings, centred=True), whitened(**settings)
    plain.load_state_dict({"whitening.bias": torch.zeros(8)} | network.state_dict())
    frames = torch.rand(3, 3, 40, 56)
    with torch.inference_mode():
        by_frame = plain(frames)
        torch.testing.assert_close(over_video(plain, by_frame.clone()), by_frame, rtol=0, atol=0)
        got = over_video(network, network(frames))
    torch.testing.assert_close(got, by_frame - by_frame.mean((0, 2, 3), keepdim=True))
    assert "whitening.bias" not in network.state_dict()


def test_a_constant_that_all_cells_share_changes_no_centred_feature() -> None:
    """As the method makes them, over the frames of a sequence and not frame by frame."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, 40, 56, 3), dtype=np.uint8)
    backbone = {
        "type": "Whitened", "backbone": NETWORK | {"layer": 3}, "layers": (2, 3), "means": (3,), "centred": True,
    }  # fmt: skip
    method = LabelPropagation(backbone=backbone, colour="lab")
    method.prepare(Numerics())
    sequence = Sequence("a", frames, (40, 56), (None,) * 3, ("1",))
    maps = method.features(sequence, (40, 56))
    torch.testing.assert_close(maps.mean((0, 2, 3)), torch.zeros(maps.shape[1]), rtol=0, atol=1e-5)
    assert maps.mean((2, 3)).abs().max() > 1e-3  # frames differ: the mean is the video's

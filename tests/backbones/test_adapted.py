"""Batch normalisation with statistics in part of the video evaluated: any backbone's, with its own checkpoint."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from corrbench import config, scores
from corrbench.backbones.adapted import FRAMES, frames_seen, to_video
from corrbench.datasets.sequence import Sequence
from corrbench.methods import LabelPropagation
from corrbench.provenance import Numerics
from corrbench.registry import BACKBONES, build

PLAIN: dict[str, Any] = {"type": "ResNet", "width": 8, "layer": 3, "strides": (1, 2, 2, 1), "stem_pool": None}


def adapted(share: float) -> dict[str, Any]:
    return {"type": "Adapted", "backbone": PLAIN, "share": share}


def method_of(backbone: dict[str, Any], **numerics: Any) -> LabelPropagation:
    method = LabelPropagation(backbone=backbone)
    method.prepare(Numerics(**numerics))
    return method


def video(frames: int, seed: int = 0) -> Sequence:
    """Random frames, brighter and brighter."""
    rng = np.random.default_rng(seed)
    pixels = [rng.integers(0, 60 + 10 * t, (40, 56, 3), dtype=np.uint8) for t in range(frames)]
    return Sequence("a", np.stack(pixels), (40, 56), (None,) * frames, ("1",))


def test_statistics_are_in_part_those_of_a_pass_in_training_mode() -> None:
    """Two layers in float64, by hand: the second sees what the first makes with the images' statistics alone."""
    torch.manual_seed(0)
    conv, norm = torch.nn.Conv2d, torch.nn.BatchNorm2d
    network = torch.nn.Sequential(conv(3, 4, 3), norm(4), conv(4, 4, 3), norm(4)).double().eval()
    for layer in (network[1], network[3]):
        layer.running_mean.copy_(torch.randn(4))
        layer.running_var.copy_(torch.rand(4) + 0.5)
    network.adapted = 0.3  # type: ignore[assignment]
    images = torch.rand(5, 3, 9, 11, dtype=torch.float64)

    def by_hand(x: torch.Tensor, layer: Any, share: float) -> torch.Tensor:
        mean = (1 - share) * layer.running_mean + share * seen[layer].mean((0, 2, 3))
        variance = (1 - share) * layer.running_var + share * seen[layer].var((0, 2, 3))
        return (x - mean.view(-1, 1, 1)) / (variance.view(-1, 1, 1) + 1e-5).sqrt()

    seen = {network[1]: network[0](images)}
    one = seen[network[1]]
    whole = (one - one.mean((0, 2, 3), keepdim=True)) / (
        one.var((0, 2, 3), keepdim=True, correction=0) + 1e-5
    ).sqrt()
    seen[network[3]] = network[2](whole)
    wanted = by_hand(network[2](by_hand(one, network[1], 0.3)), network[3], 0.3)
    with torch.inference_mode(), to_video(network, lambda: images):
        torch.testing.assert_close(network(images), wanted, rtol=1e-6, atol=1e-6)


def test_a_method_adapts_to_frames_of_the_whole_video() -> None:
    method, sequence = method_of(adapted(0.4)), video(12)
    assert method.backbone is not None
    plain = method_of(PLAIN).features(sequence, (40, 56))
    images = method._images([sequence.frame(t) for t in range(12)], (40, 56))
    with torch.inference_mode(), to_video(method.backbone, lambda: images[frames_seen(12)]):
        wanted = method.backbone(images)
    maps = method.features(sequence, (40, 56))
    torch.testing.assert_close(maps, wanted)
    assert (maps - plain).abs().max() > 0.1


def test_a_video_leaves_nothing_behind() -> None:
    """Not for the next video, nor when features cannot be computed."""
    method = method_of(adapted(0.4))
    assert method.backbone is not None
    before = {key: value.clone() for key, value in method.backbone.state_dict().items()}
    first = method.features(video(3), (40, 56))
    method.features(video(4, seed=1), (40, 56))
    torch.testing.assert_close(method.features(video(3), (40, 56)), first, rtol=0, atol=0)
    with pytest.raises(RuntimeError), to_video(method.backbone, lambda: torch.rand(1, 5, 40, 56)):
        pass
    with pytest.raises(ZeroDivisionError), to_video(method.backbone, lambda: torch.rand(1, 3, 40, 56)):
        raise ZeroDivisionError
    for key, value in method.backbone.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert not any(
        part.training or getattr(part, "momentum", 0.1) != 0.1 for part in method.backbone.modules()
    )


def test_frames_that_are_looked_at_lie_evenly_from_first_to_last() -> None:
    assert frames_seen(1) == [0]
    assert frames_seen(3) == [0, 1, 2]
    assert frames_seen(FRAMES) == list(range(FRAMES))
    assert frames_seen(71) == [0, 10, 20, 30, 40, 50, 60, 70]


def test_it_has_the_weights_of_what_it_adapts_and_reports_say_so() -> None:
    plain, other = build(BACKBONES, PLAIN), build(BACKBONES, adapted(0.4))
    assert other.state_dict().keys() == plain.state_dict().keys()
    resolved = config.resolve(BACKBONES, {"type": "Centred", "backbone": adapted(0.4)})
    record: Any = SimpleNamespace(data={"resolved": {"method": {"backbone": resolved}}})
    assert scores.backbone(record) == "ResNet-18, adapted, centred"


def test_other_networks_never_ask_for_images() -> None:
    def images() -> torch.Tensor:
        raise AssertionError

    with to_video(build(BACKBONES, PLAIN), images):
        pass


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone": PLAIN, "share": 0.0}, "share 0.0 must be above 0 and at most 1"),
        ({"backbone": PLAIN, "share": 1.5}, "share 1.5 must be above 0 and at most 1"),
        ({"backbone": {"type": "Lab"}}, "Lab has no batch normalisation to adapt"),
    ],
)
def test_what_cannot_be_adapted_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(BACKBONES, {"type": "Adapted"} | settings)


def test_inside_a_whitened_one_it_is_refused() -> None:
    with pytest.raises(ValueError, match="would not be adapted; set adapted here instead"):
        build(BACKBONES, {"type": "Whitened", "backbone": adapted(0.4)})
    with pytest.raises(ValueError, match="several passes have statistics of their own"):
        build(BACKBONES, {"type": "Whitened", "backbone": PLAIN, "adapted": 0.4, "dropped": (1, 2)})


def test_a_whitened_one_is_adapted_before_its_map() -> None:
    settings = {"type": "Whitened", "backbone": PLAIN, "means": (3,)}
    plain, other = (method_of(settings | how).features(video(3), (40, 56)) for how in ({}, {"adapted": 0.4}))
    width = build(BACKBONES, PLAIN).channels
    inner = method_of(adapted(0.4)).features(video(3), (40, 56))
    torch.testing.assert_close(other[:, :width], inner)  # without weights the map keeps what it is given
    assert (other - plain).abs().max() > 0.1
    assert F.cosine_similarity(other, plain, dim=1).mean() > 0.5

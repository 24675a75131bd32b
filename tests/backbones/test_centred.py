"""Features less the mean of their video: any backbone's, with its own checkpoint."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from corrbench import config, scores
from corrbench.datasets.sequence import Sequence
from corrbench.methods import LabelPropagation
from corrbench.provenance import Numerics
from corrbench.registry import BACKBONES, build

PLAIN: dict[str, Any] = {"type": "ResNet", "width": 8, "layer": 3, "strides": (1, 2, 2, 1), "stem_pool": None}
CENTRED: dict[str, Any] = {"type": "Centred", "backbone": PLAIN}


def features(backbone: dict[str, Any], memory: int | None = None) -> torch.Tensor:
    """Of three random frames."""
    frames = np.random.default_rng(0).integers(0, 256, (3, 40, 56, 3), dtype=np.uint8)
    method = LabelPropagation(backbone=backbone)
    method.prepare(Numerics())
    method.memory = memory
    return method.features(Sequence("a", frames, (40, 56), (None,) * 3, ("1",)), (40, 56))


def test_features_lose_the_mean_over_all_cells_of_the_video() -> None:
    plain, centred = features(PLAIN), features(CENTRED)
    torch.testing.assert_close(centred, plain - plain.mean((0, 2, 3), keepdim=True))
    assert centred.mean((2, 3)).abs().max() > 1e-3  # frames differ: the mean is the video's
    torch.testing.assert_close(features(CENTRED, memory=1), centred, rtol=0, atol=0)  # kept in a file


def test_it_has_the_weights_and_the_stride_of_what_it_centres() -> None:
    plain, centred = build(BACKBONES, PLAIN), build(BACKBONES, CENTRED)
    assert centred.state_dict().keys() == plain.state_dict().keys()
    assert (centred.stride, centred.channels) == (plain.stride, plain.channels)


def test_a_centred_method_is_another_method_and_reports_say_so() -> None:
    plain, centred = (config.resolve(BACKBONES, settings) for settings in (PLAIN, CENTRED))
    assert centred["backbone"] == plain
    record: Any = SimpleNamespace(data={"resolved": {"method": {"backbone": centred}}})
    assert scores.backbone(record) == "ResNet-18, centred"


def test_inside_a_whitened_one_it_is_refused() -> None:
    with pytest.raises(ValueError, match="would not be centred; set centred here instead"):
        build(BACKBONES, {"type": "Whitened", "backbone": CENTRED})

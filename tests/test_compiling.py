"""A compiled backbone: the same features up to rounding, a record that says so, and one sentence where it cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from corrbench import api
from corrbench.backbones.adapted import to_video
from corrbench.backbones.resnet import ResNet
from corrbench.compiling import Compiled
from corrbench.provenance import Numerics
from corrbench.registry import BACKBONES, build
from tests.test_runner import ROOT, SMALL

compiler = pytest.mark.skipif(
    not torch._inductor.cpu_vec_isa.pick_vec_isa(),
    reason="torch.compile finds no C++ compiler or vector unit here",
)


@compiler
def test_features_are_the_backbones_up_to_rounding_whatever_the_batch() -> None:
    backbone = ResNet(18, layer=1, width=8).eval()
    compiled = Compiled(backbone)
    images = torch.randn(3, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole = backbone(images)
        maps = [compiled(images[:2], 2), compiled(images[2:], 2)]
    assert [len(m) for m in maps] == [2, 1]
    torch.testing.assert_close(torch.cat(maps), whole, rtol=1e-5, atol=1e-5)


@compiler
def test_an_adapted_backbone_follows_each_video() -> None:
    """Its statistics are no constants of the compiled code."""
    network = {"type": "ResNet", "layer": 1, "width": 8}
    backbone: Any = build(BACKBONES, {"type": "Adapted", "backbone": network})
    compiled = Compiled(backbone)
    for video in (torch.randn(2, 3, 40, 56), 3 * torch.rand(2, 3, 40, 56)):
        with torch.inference_mode(), to_video(backbone, lambda video=video: video):  # type: ignore[misc]
            torch.testing.assert_close(compiled(video, 2), backbone(video), rtol=1e-4, atol=1e-5)


def test_what_has_no_weights_is_called_as_it_is() -> None:
    class Half(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / 2

    images = torch.ones(1, 3, 4, 4)
    assert torch.equal(Compiled(Half())(images, 4), images / 2)


def test_where_torch_cannot_compile_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = Compiled(ResNet(18, layer=1, width=8).eval())

    def broken(images: torch.Tensor) -> Any:
        raise torch._dynamo.exc.TorchDynamoException("no g++ found\nlong story")

    monkeypatch.setattr(compiled, "forward", broken)
    with pytest.raises(
        ValueError, match=r"--compile: .*\(no g\+\+ found\); install a C\+\+ compiler .* or leave"
    ):
        compiled(torch.zeros(1, 3, 8, 8), 4)


def test_choice_is_named_only_where_it_is_made() -> None:
    assert "compile" not in Numerics().as_dict()  # keys of records from before there was the choice
    assert Numerics(compile=True).as_dict()["compile"] is True
    assert Numerics(compile=True, autocast="bfloat16").signature() == "cpu.float32.bfloat16.compiled"


@compiler
def test_run_with_a_compiled_backbone_scores_the_same_and_says_so(tiny_davis: Path, tmp_path: Path) -> None:
    method, task = str(ROOT / "methods" / "random_resnet18.py"), str(ROOT / "tasks" / "davis.py")

    def run(**more: Any) -> Any:
        overrides = (*SMALL, "method.backbone.layer=1", "method.backbone.width=8")
        return api.run(method, task, data=tiny_davis, out=tmp_path, overrides=overrides, device="cpu", **more)

    plain, compiled = run(), run(compile=True)
    assert ".compiled|" in compiled.signature
    assert ".compiled|" not in plain.signature
    for name in ("J", "F"):
        np.testing.assert_allclose(plain.frames()[name], compiled.frames()[name], atol=1e-3)

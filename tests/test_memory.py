"""A memory limit changes what is held, never a number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from corrbench import api, memory, methods
from corrbench.backbones.resnet import ResNet

ROOT = Path(__file__).parent.parent
LAB, TASK = str(ROOT / "methods" / "lab.py"), str(ROOT / "tasks" / "davis.py")
SMALL = ("protocol.resize=short 96", "protocol.radius=3", "protocol.context=3")


def test_a_run_with_little_memory_gives_the_same_tables_under_the_same_key(
    tiny_davis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Feature maps go to a file, batches shrink to one frame; the tables' sha256 are those of a run without a limit."""
    settings = {"overrides": SMALL, "data": tiny_davis, "device": "cpu"}
    free = api.run(LAB, TASK, out=tmp_path / "free", **settings)
    kept, place = [], methods.LabelPropagation._place

    def seen(self, frames, shape):  # type: ignore[no-untyped-def]
        kept.append(place(self, frames, shape))
        return kept[-1]

    monkeypatch.setattr(methods.LabelPropagation, "_place", seen)
    tight = api.run(LAB, TASK, out=tmp_path / "tight", memory="20KB", **settings)
    assert len(kept) == 2
    assert tight.key == free.key
    assert tight.data["files"] == free.data["files"]
    assert tight.cost["searched"] == free.cost["searched"] > 0


def test_feature_maps_beyond_half_of_the_limit_lie_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    files, memmap = [], np.memmap
    monkeypatch.setattr(np, "memmap", lambda *given, **named: files.append(1) or memmap(*given, **named))
    method = methods.LabelPropagation({"type": "Lab"})
    size = 4 * 5 * 3 * 4 * 6
    method.memory = 2 * size
    assert method._place(5, (3, 4, 6)).shape == (5, 3, 4, 6)
    assert not files
    method.memory -= 1
    maps = method._place(5, (3, 4, 6))
    assert files
    maps[3] = 2.5
    assert float(maps.sum()) == 2.5 * 72


def test_activations_are_counted_without_computing_as_many_as_there_are() -> None:
    backbone = ResNet(depth=18, stem_pool=None, strides=(1, 2, 2, 1), layer=3).eval()
    counted = memory.activation_bytes(backbone, (64, 96))
    with torch.no_grad():
        _, real = memory.peak(lambda: backbone(torch.zeros(1, 3, 64, 96)))
    assert counted == pytest.approx(real, rel=0.02)
    assert memory.activation_bytes(backbone, (128, 96)) == pytest.approx(2 * counted, rel=0.01)
    assert next(backbone.parameters()).device.type == "cpu"  # untouched


def test_peak_counts_what_is_alive_at_once() -> None:
    def make() -> torch.Tensor:
        one = torch.zeros(1000)
        two = one + 1
        del one
        return (two * 2)[:10]

    made, most = memory.peak(make)
    assert most == 8000
    assert made.shape == (10,)
    given = torch.zeros(1000)
    assert memory.peak(lambda: given.view(10, 100))[1] == 0  # was there before


@pytest.mark.parametrize("targets", [1, 7, 40])
def test_the_model_grows_with_everything_it_names(targets: int) -> None:
    clip = memory.Clip(100, (60, 107), 256, 20, 10)
    base = clip.search_bytes(targets)
    for more in (
        memory.Clip(100, (60, 144), 256, 20, 10),
        memory.Clip(100, (60, 107), 512, 20, 10),
        memory.Clip(100, (60, 107), 256, 40, 10),
        memory.Clip(100, (60, 107), 256, 20, 20),
        memory.Clip(200, (60, 107), 256, 20, 10),
    ):
        assert more.search_bytes(targets) > base
    assert clip.targets_at_once(base) == targets
    assert clip.targets_at_once(base - 1) == targets - 1 if targets > 1 else True
    assert clip.targets_at_once(2**62) == 99


def test_a_run_says_what_memory_must_be_written_as(tiny_davis: Path) -> None:
    with pytest.raises(ValueError, match=r"a size is a number.*got .much."):
        api.plan(LAB, TASK, data=tiny_davis, device="cpu", memory="much")

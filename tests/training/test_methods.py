"""STT's method files: every schedule and ablation resolves, and what two files share has one digest."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from corrbench import config
from corrbench.ablation import FULL, changes_of, variants
from corrbench.backbones.whitened import Whitened
from corrbench.registry import STAGES, build
from corrbench.training import cache

METHODS = Path(__file__).parents[2] / "methods"
FILES = ("stt", "stt_r50", "stt_s4", "stt_spatial", "stt_temporal")


def data(name: str) -> dict[str, Any]:
    return config.load(METHODS / f"{name}.py", "method").data


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("images-1k-192", "DAVIS-train-256/a", "ImageNet/train", "YouTube-VOS/train/JPEGImages/b"):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (8, 8)).save(tmp_path / folder / f"{number}.jpg")
    return tmp_path


def stage_digests(name: str, root: Path, schedule: str, ablation: str | None = None) -> list[str]:
    file = data(name)
    plans = cache.plan(file, schedule=schedule, changes=changes_of(file, ablation), root=root, estimate=False)
    return [p.digest for p in plans]


@pytest.mark.parametrize("name", FILES)
def test_every_schedule_and_ablation_builds(name: str) -> None:
    file = data(name)
    for schedule in file["schedules"]:
        for ablation in (None, *file.get("ablations", {})):
            for _, settings in cache.chain(cache.variant(file, schedule, changes_of(file, ablation))):
                stage = build(STAGES, settings)
                assert stage.parts(0, 0, 1)


@pytest.mark.parametrize("schedule", ["paper", "small", "medium", "smoke"])
def test_files_and_ablations_share_the_stages_that_are_the_same(root: Path, schedule: str) -> None:
    spatial, temporal, *whitening = stage_digests("stt", root, schedule)
    assert len(whitening) == (schedule == "small")
    assert stage_digests("stt_spatial", root, schedule) == [spatial]
    assert stage_digests("stt", root, schedule, "spatial step only")[0] == spatial
    assert stage_digests("stt_s4", root, schedule)[:2] == [spatial, temporal]
    assert (
        stage_digests("stt_temporal", root, schedule)[0]
        == (stage_digests("stt", root, schedule, "temporal step only")[0])
    )
    assert stage_digests("stt", root, schedule, "no global distillation")[0] == spatial
    assert not set(stage_digests("stt_r50", root, schedule)) & {spatial, temporal}


def test_every_ablation_changes_what_is_trained(root: Path) -> None:
    file = data("stt")
    last = {name: stage_digests("stt", root, "smoke", name)[-1] for name in (FULL, *file["ablations"])}
    assert len(set(last.values())) == len(last)


def test_ablations_of_what_a_checkpoint_replaces_are_left_out(root: Path) -> None:
    settings: dict[str, Any] = {"schedule": "chain", "data": root, "estimate": False, "fetch": False}
    full, *others = variants(METHODS / "stt.py", **settings)
    assert [stage.type for stage in full.stages] == ["ChainDistillation"]
    assert full.skipped is None
    assert all(one.skipped and not one.stages for one in others)
    why = {one.name: one.skipped for one in others}["one level"]
    assert why == (
        "stage 4 starts from the checkpoint stt-r18-small, so training.1.reconstruction_weights changes nothing; "
        "-o training.4.weights=None trains the stages before it"
    )
    whole = variants(METHODS / "stt.py", overrides=["training.4.weights=None"], **settings)
    assert [stage.type for stage in whole[0].stages] == [
        "Spatial",
        "Temporal",
        "Whitening",
        "ChainDistillation",
    ]
    assert all(one.skipped is None for one in whole if one.name != "supervised teacher")


def test_spatial_only_is_evaluated_as_its_own_method_is() -> None:
    changed = config.override(data("stt"), changes_of(data("stt"), "spatial step only"))["method"]
    assert changed["backbone"] == data("stt_spatial")["method"]["backbone"] | {"strides": [1, 2, 1, 1]}
    assert changed["colour"] == data("stt_spatial")["method"]["colour"] == "rgb"


def test_settings_of_the_paper_are_in_the_file() -> None:
    spatial, temporal, *ours = data("stt")["training"]
    assert [stage["updates"] for stage in ours] == [0, 0, 0]
    assert (spatial["queue"], spatial["temperature"], spatial["key_momentum"]) == (65536, 0.2, 0.999)
    assert (temporal["local_weight"], temporal["global_weight"], temporal["radii"]) == (1000.0, 50.0, (12, 6))
    assert temporal["updates"] == round(800 * 3471 / 64)


def test_whitening_ensemble_and_chains_of_stt_are_of_one_network_under_every_ablation() -> None:
    for name in ("stt", "stt_s4"):
        file = data(name)
        for variant in ({}, *file["ablations"].values(), *file["schedules"].values()):
            changed = config.override(file, variant)
            whitening, *later = changed["training"][2:]
            same = {key: whitening[key] for key in inspect.signature(Whitened).parameters if key in whitening}
            for stage in later:
                assert stage["backbone"] == {"type": "Whitened"} | same
                assert stage["colour"] == whitening["colour"]

# ruff: noqa: C408 (settings read as they do in a method file)
"""The cache of stages: digests, sharing, locks, damage, estimates, the stand-in for missing data."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from corrbench import run_weights
from corrbench.datasets.roots import DataMissing
from corrbench.training import cache, speed


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CORRBENCH_DATA", raising=False)


@pytest.fixture
def method(spatial: dict[str, Any], temporal: dict[str, Any]) -> dict[str, Any]:
    for stage in (spatial, temporal):
        stage["dataset"] = dict(type=stage["dataset"]["type"], folders=["clips"])
    return dict(
        method=dict(type="LabelPropagation", backbone=dict(type="ResNet", width=8, layer=3), colour="lab"),
        training=[spatial | {"updates": 2}, temporal | {"updates": 2}],
        schedules={"smoke": {"training.0.updates": 1, "training.1.updates": 1}, "tiny": {"training.1.updates": 3}},
    )  # fmt: skip


def digests(method: dict[str, Any], root: Path, **settings: Any) -> list[str]:
    return [p.digest for p in cache.plan(method, root=root, estimate=False, **settings)]


def test_digest_is_of_what_changes_the_weights(
    method: dict[str, Any], data_root: Path, tmp_path: Path
) -> None:
    first = digests(method, data_root)
    assert len(set(first)) == 2
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "clips").symlink_to(data_root / "clips")
    assert digests(method, tmp_path / "elsewhere") == first
    later = digests(method, data_root, changes={"training.1.global_weight": 1.0})
    assert (later[0] == first[0], later[1] == first[1]) == (True, False)
    earlier = digests(method, data_root, changes={"training.0.crop": 48})
    assert (earlier[0] == first[0], earlier[1] == first[1]) == (False, False)
    assert not set(digests(method, data_root, seed=1)) & set(first)
    assert (
        digests(method, data_root, changes={"training.0.bn_groups": 2}) == first
    )  # the same value, written out
    assert digests(method, data_root, schedule="tiny")[0] == first[0]


def test_a_stage_of_no_updates_is_left_out(method: dict[str, Any], data_root: Path) -> None:
    only = digests(method, data_root, changes={"training.1.updates": 0})
    assert only == digests(method, data_root)[:1]
    with pytest.raises(ValueError, match="every stage of `training` has 0 updates"):
        digests(method, data_root, changes={"training.0.updates": 0, "training.1.updates": 0})


def test_joint_training_takes_the_settings_of_the_stage_it_replaces(
    method: dict[str, Any], data_root: Path
) -> None:
    joint = {"training.0.updates": 0, "training.1.contrast_weight": 1.0, "training.1.global_weight": 0.0}
    (stage,) = cache.plan(method, root=data_root, changes=joint, estimate=False)
    assert stage.settings["contrast"]["queue"] == 16
    other = cache.plan(method, root=data_root, changes=joint | {"training.0.queue": 32}, estimate=False)
    assert other[0].digest != stage.digest


def test_what_is_missing_is_trained_once_and_shared(method: dict[str, Any], data_root: Path) -> None:
    said: list[str] = []
    settings: dict[str, Any] = dict(root=data_root, progress=False, say=said.append)
    first = cache.train_missing(method, **settings)
    assert len(said) == 2
    assert all("2 of 2 updates to train" in line for line in said)
    assert cache.sha256(first.path) == first.sha256
    assert [s["type"] for s in first.info["stages"]] == ["Spatial", "Temporal"]
    assert first.info["stages"][1]["parent"] == first.info["stages"][0]["digest"]
    before = (first.path.stat().st_mtime_ns, len(said))
    again = cache.train_missing(method, **settings)
    assert (again.path, again.path.stat().st_mtime_ns, len(said)) == (first.path, *before)
    cache.train_missing(method, changes={"training.1.local_weight": 0.0}, **settings)
    assert [line.endswith("cached") for line in said[2:]] == [True, False]
    assert len(list(cache.folder_of_stages().glob("*/weights.safetensors"))) == 3
    assert all(p.cached and p.seconds == 0 for p in cache.plan(method, root=data_root))


def test_weights_load_into_the_methods_backbone(method: dict[str, Any], data_root: Path) -> None:
    from corrbench import zoo
    from corrbench.registry import BACKBONES, build

    trained = cache.train_missing(method, root=data_root, progress=False, say=lambda _: None)
    backbone = build(BACKBONES, method["method"]["backbone"])
    before = backbone.conv1.weight.clone()
    zoo.load_into(backbone, None, trained.path, trained.sha256)
    assert not torch.equal(before, backbone.conv1.weight)


def test_changed_weights_are_not_used(method: dict[str, Any], data_root: Path) -> None:
    trained = cache.train_missing(method, root=data_root, progress=False, say=lambda _: None)
    with open(trained.path, "ab") as handle:
        handle.write(b"!")
    with pytest.raises(ValueError, match="was changed after training"):
        cache.train_missing(method, root=data_root, progress=False)


def test_plan_says_what_a_checkpoint_has_left(method: dict[str, Any], data_root: Path) -> None:
    from corrbench.registry import STAGES, build
    from corrbench.training import checkpoint

    stage = cache.plan(method, root=data_root, estimate=False)[0]
    network = build(STAGES, stage.settings).network(None, 0)
    optimiser = build(STAGES, stage.settings).optimiser_of(network)
    checkpoint.save(stage.folder / "checkpoint.pt", 1, network, optimiser, stage.digest)
    again = cache.plan(method, root=data_root, estimate=False)[0]
    assert (again.done, again.cached) == (1, False)
    assert "1 of 2 updates to train" in again.line()


def test_estimates_are_measured_then_recorded_by_training(method: dict[str, Any], data_root: Path) -> None:
    first = cache.plan(method, root=data_root)
    assert [p.basis for p in first] == ["measured", "measured"]
    assert all(0 < p.seconds < 60 for p in first)
    longer = cache.plan(
        method, root=data_root, changes={"training.0.updates": 20, "training.1.score": "entropy"}
    )
    assert longer[0].seconds == pytest.approx(10 * first[0].seconds)  # measured once in a process
    assert longer[1].seconds == first[1].seconds
    cache.train_missing(method, root=data_root, progress=False, say=lambda _: None)
    again = cache.plan(
        method, root=data_root, changes={"training.0.updates": 20, "training.1.score": "entropy"}
    )
    assert [p.basis for p in again] == ["recorded", "recorded"]
    joint = {"training.0.updates": 0, "training.1.contrast_weight": 1.0, "training.1.global_weight": 0.0}
    assert cache.plan(method, root=data_root, changes=joint)[0].seconds > 0


def test_durations_in_words() -> None:
    assert [speed.words(s) for s in (40, 600, 9000, 500_000)] == ["40 s", "10 min", "2.5 h", "5.8 days"]


def test_a_second_process_waits_and_a_dead_ones_lock_is_free(tmp_path: Path) -> None:
    folder = tmp_path / "stage"
    program = (
        "import sys,time;from pathlib import Path;from corrbench.training.cache import lock\n"
        "with lock(Path(sys.argv[1]), print):\n    print('mine', flush=True); time.sleep(600)"
    )
    other = subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "mine\n"
        with open(folder / "lock", "a+") as handle, pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        said: list[str] = []

        def heard(text: str) -> None:
            said.append(text)
            other.kill()  # as kill -9: nothing is cleaned up, yet the lock is ours next

        with cache.lock(folder, heard):
            assert (folder / "lock").read_text() == str(os.getpid())
        assert f"process {other.pid} trains this stage" in said[0]
    finally:
        other.kill()
        other.wait()
        assert other.stdout is not None
        other.stdout.close()


def test_missing_data_is_an_error_but_for_the_smoke_schedule(
    method: dict[str, Any], data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from corrbench.datasets import synthetic

    (tmp_path / "nothing").mkdir()
    (tmp_path / "rendered").mkdir()
    (tmp_path / "rendered" / "JPEGImages").symlink_to(data_root / "clips")
    monkeypatch.setattr(synthetic, "ensure", lambda kind: tmp_path / "rendered")
    for settings in (dict(schedule="tiny"), dict(), dict(schedule="smoke", sample=False)):
        with pytest.raises(DataMissing, match="holds no clips"):
            cache.plan(method, root=tmp_path / "nothing", estimate=False, **settings)
    said: list[str] = []
    trained = cache.train_missing(
        method, root=tmp_path / "nothing", schedule="smoke", progress=False, say=said.append
    )
    assert trained.info["synthetic"]
    assert [text for text in said if "NO TRAINING DATA" in text] == list(trained.notes)
    assert json.loads((trained.path.parent / "stage.json").read_text())["data"]["synthetic"] is True


def test_unknown_schedules_and_keys_name_the_known_ones(method: dict[str, Any], data_root: Path) -> None:
    with pytest.raises(ValueError, match=r"'smoek' is no schedule.*'smoke'"):
        cache.plan(method, schedule="smoek", root=data_root)
    with pytest.raises(ValueError, match=r"training.1 has no 'globl_weight'"):
        cache.plan(method, changes={"training.1.globl_weight": 0}, root=data_root)
    with pytest.raises(ValueError, match="nothing that could be trained"):
        cache.plan({"method": method["method"]}, root=data_root)


def test_weights_of_a_schedule_lend_the_method_its_name(method: dict[str, Any], data_root: Path) -> None:
    training = {"root": data_root, "device": "cpu", "sample": False, "changes": {}}
    before = run_weights.settle(method, None, "tiny", 0, training)
    assert (before.variant, len(before.to_train), before.sha256) == ("tiny", 2, None)
    made = cache.train_missing(method, schedule="tiny", root=data_root, progress=False, say=lambda line: None)
    after = run_weights.settle(method, None, "tiny", 0, training)
    assert (after.variant, after.to_train, after.sha256) == ("tiny", (), made.sha256)
    assert after.trained is not None
    assert after.trained["schedule"] == "tiny"


def test_changes_of_a_run_count_on_top_of_its_schedule(method: dict[str, Any], data_root: Path) -> None:
    """`--schedule tiny -o training.1.updates=5` is another training than `--schedule tiny`, not the same."""
    training = {"root": data_root, "device": "cpu", "sample": False}
    plain = run_weights.settle(method, None, "tiny", 0, training | {"changes": {}})
    changed = run_weights.settle(method, None, "tiny", 0, training | {"changes": {"training.1.updates": 5}})
    assert changed.name == "tiny schedule with training.1.updates=5, seed 0"
    assert changed.to_train[0] == plain.to_train[0]
    assert "5 of 5 updates" in changed.to_train[1]
    assert "5 of 5 updates" not in plain.to_train[1]

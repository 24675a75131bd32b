# ruff: noqa: C408 (settings read as they do in a method file)
"""Stages: what they feed, what their networks return, joint training, and settings that cannot work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from corrbench.backbones.colour import to_input
from corrbench.datasets.roots import DataMissing
from corrbench.datasets.unlabelled import Photos, Videos, read_photo
from corrbench.registry import STAGES, build
from corrbench.training import loop
from corrbench.training.checkpoint import load_weights
from corrbench.training.schedule import rate, sample_numbers
from corrbench.training.spatial import MoCo
from corrbench.training.stage import Part

WHOLE = Part(0, 0, 2, 0, 2)


def test_every_epoch_shows_every_sample_once_and_epochs_differ() -> None:
    first, second = sample_numbers(7, 3, 0, 7), sample_numbers(7, 3, 7, 7)
    assert sorted(first) == sorted(second) == list(range(7))
    assert first != second
    assert sample_numbers(7, 3, 5, 4) == (first + second)[5:9]
    assert sample_numbers(7, 4, 0, 7) != first


def test_rate_warms_up_and_ends_where_it_is_told() -> None:
    rates = [rate(u, 100, 2.0, 10, 0.001) for u in range(101)]
    assert rates[0] == 0.2
    assert rates[9] == rates[10] == 2.0
    assert rates[55] == pytest.approx(2.0 * (0.001 + 0.999 * 0.5))
    assert rates[100] == pytest.approx(0.002)


def test_photos_and_videos_find_what_lies_below_their_folders(data_root: Path) -> None:
    photos, videos = Photos(["photos"], str(data_root)), Videos(["clips"], str(data_root))
    assert len(photos) == 5
    assert [videos.frames(v) for v in range(len(videos))] == [4, 5, 6]
    assert photos.read(0).shape == (40, 52, 3)
    np.testing.assert_array_equal(videos.read(1, 2), read_photo(data_root / "clips" / "clip1" / "00002.jpg"))
    assert min(Photos(["photos"], str(data_root), side=20).read(0).shape[:2]) == 20


def test_digest_of_data_is_of_names_and_sizes_not_of_place(data_root: Path, tmp_path: Path) -> None:
    (tmp_path / "clips").symlink_to(data_root / "clips")
    here, there = Videos(["clips"], str(data_root)), Videos(["clips"], str(tmp_path))
    assert here.digest() == there.digest()
    assert here.digest() != Videos(["clips"], str(data_root), side=30).digest()
    assert here.digest() != Videos([str(data_root / "clips" / "clip0")]).digest()


def test_missing_training_data_says_where_it_was_sought(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"holds no nowhere"):
        Photos(["nowhere"], str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no \.jpg or \.png"):
        Photos(["empty"], str(tmp_path))
    with pytest.raises(ValueError, match="no folder of frames"):
        Videos(["empty"], str(tmp_path))
    (tmp_path / "broken.jpg").write_bytes(b"no jpeg")
    with pytest.raises(ValueError, match=r"broken.jpg: is damaged"):
        read_photo(tmp_path / "broken.jpg")


def test_temporal_pairs_are_neighbours_cropped_and_flipped_alike(
    temporal: dict[str, Any], data_root: Path
) -> None:
    stage = build(
        STAGES, temporal | {"area": (1.0, 1.0), "aspect": (1.7, 1.8), "flip_share": 1.0, "crop": 72}
    )
    feed = stage.feed(0)
    batch = feed.fetch(Part(3, 0, 1, 0, 2))
    videos = Videos(["clips"], str(data_root))
    frames = {(v, t): videos.read(v, t).transpose(2, 0, 1) for v in range(3) for t in range(videos.frames(v))}
    keys = [
        next(k for k, f in frames.items() if np.array_equal(f[:, :, : c.shape[-1]], c))
        for c in batch["crops"].numpy()
    ]
    assert keys[0][0] == keys[1][0]
    assert keys[1][1] == keys[0][1] + 1
    mirrored = feed.prepare(batch, torch.device("cpu"))["frames"]
    plain = feed.prepare(batch | {"flip": ~batch["flip"]}, torch.device("cpu"))["frames"]
    torch.testing.assert_close(mirrored.flip(3), plain, atol=0.02, rtol=0)


def test_student_sees_lab_and_teacher_rgb_of_the_same_pixels(temporal: dict[str, Any]) -> None:
    batch = build(STAGES, temporal).feed(0)
    ready = batch.prepare(batch.fetch(WHOLE), torch.device("cpu"))
    assert ready["frames"].shape == ready["teacher"].shape == (4, 3, 64, 64)
    std, mean = torch.tensor([0.229, 0.224, 0.225]), torch.tensor([0.485, 0.456, 0.406])
    rgb = ((ready["teacher"].permute(0, 2, 3, 1) * std + mean) * 255).round().to(torch.uint8)
    torch.testing.assert_close(to_input(rgb, "lab"), ready["frames"])


def test_temporal_losses_are_those_that_the_weights_ask_for(temporal: dict[str, Any]) -> None:
    parent = build(STAGES, temporal | {"global_weight": 0.0}).network(None, 0).backbone.state_dict()

    def names(**changes: Any) -> list[str]:
        stage = build(STAGES, temporal | changes)
        feed = stage.feed(0)
        network = stage.network(parent, 0).train()
        losses = network(feed.prepare(feed.fetch(WHOLE), torch.device("cpu")))
        assert all(loss.isfinite() for loss in losses.values())
        return list(losses)

    assert names() == ["reconstruction2", "reconstruction3", "local", "global"]
    assert names(global_weight=0.0, local_weight=0.0) == ["reconstruction2", "reconstruction3"]
    assert names(reconstruction_weights=(0.0, 1.0), local_weight=0.0) == ["reconstruction3", "global"]
    one = {"levels": (3,), "radii": (6,), "reconstruction_weights": (1.0,), "local_weight": 0.0}
    assert names(**one) == ["reconstruction3", "global"]
    assert names(colour="rgb", channels=(0, 1, 2), dropout=False)[:1] == ["reconstruction2"]


def test_teacher_stays_as_it_is(temporal: dict[str, Any], tmp_path: Path) -> None:
    parent = build(STAGES, temporal | {"global_weight": 0.0}).network(None, 5).backbone.state_dict()
    parent = {k: v.clone() for k, v in parent.items()}
    stage = build(STAGES, temporal)
    network = stage.network(parent, 0).train()
    assert not network.teacher.training
    feed = stage.feed(0)
    adam = stage.optimiser_of(network)
    sum(network(feed.prepare(feed.fetch(WHOLE), torch.device("cpu"))).values()).backward()
    adam.step()
    for name, value in network.teacher.state_dict().items():
        torch.testing.assert_close(value, parent[name], rtol=0, atol=0)
    assert any((v != parent[k]).any() for k, v in network.backbone.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"teacher": None}, "needs a teacher"),
        ({"levels": (3,), "radii": (6,), "reconstruction_weights": (1.0,)}, "needs two levels"),
        ({"levels": (2, 3), "radii": (6,)}, "one to one"),
        ({"batch": 3, "accumulate": 2}, "accumulate must divide batch"),
        ({"optimiser": "lamb"}, "optimiser 'lamb' is not known"),
        ({"autocast": "float16"}, "autocast 'float16'"),
        ({"channels": (3,)}, "some of 0, 1, 2"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    temporal: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        build(STAGES, temporal | changes)


def test_parent_of_another_depth_is_refused(temporal: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give both stages the same depth"):
        build(STAGES, temporal).network({"conv1.weight": torch.zeros(8, 3, 7, 7)}, 0)
    with pytest.raises(ValueError, match="needs a trained teacher"):
        build(STAGES, temporal).network(None, 0)


def test_keys_enter_the_queue_unshuffled_and_own_keys_are_the_positives(spatial: dict[str, Any]) -> None:
    stage = build(STAGES, spatial)
    network = stage.network(None, 0).eval()  # running statistics: a key does not depend on its group
    feed = stage.feed(0)
    ready = feed.prepare(feed.fetch(Part(0, 0, 4, 0, 4)), torch.device("cpu"))
    straight = torch.empty_like(ready["key"])
    straight[ready["shuffle"]] = ready["key"]
    assert ready["shuffle"].tolist() != [0, 1, 2, 3]
    before = network.queue.clone()
    network(ready)
    want = torch.nn.functional.normalize(
        network.slow_head(network.slow_backbone(straight).mean((2, 3))), dim=1
    )
    torch.testing.assert_close(network.queue[:4], want)
    torch.testing.assert_close(network.queue[4:], before[4:])
    assert int(network.place) == 4


def test_key_encoder_follows_slowly_and_gets_no_gradient(spatial: dict[str, Any]) -> None:
    stage = build(STAGES, spatial | {"key_momentum": 0.9})
    network = stage.network(None, 0).train()
    assert not any(p.requires_grad for p in network.slow_backbone.parameters())
    slow, fast = network.slow_backbone.conv1.weight, network.backbone.conv1.weight
    with torch.no_grad():
        fast += 1
    before = slow.clone()
    network.begin()
    torch.testing.assert_close(slow, 0.9 * before + 0.1 * fast)


def test_grouped_normalisation_keeps_a_key_apart_from_the_whole_batch(spatial: dict[str, Any]) -> None:
    keys = torch.rand(8, 3, 32, 32)
    by_groups = {}
    for groups in (1, 4):
        network = build(STAGES, spatial | {"bn_groups": groups}).network(None, 0).train()
        by_groups[groups] = network._keys(keys)
    assert not torch.allclose(by_groups[1], by_groups[4], atol=1e-3)
    alone = build(STAGES, spatial | {"bn_groups": 1}).network(None, 0).train()
    torch.testing.assert_close(by_groups[4][:2], alone._keys(keys[:2]))


def test_moco_v1_is_a_matter_of_settings(spatial: dict[str, Any]) -> None:
    first = dict(
        head="linear", temperature=0.07, jitter=(0.4,) * 4, jitter_share=1.0, grey_first=True, blur_share=0.0
    )
    network = build(STAGES, spatial | first).network(None, 0)
    assert isinstance(network, MoCo)
    assert len(network.head) == 1
    assert len(build(STAGES, spatial).network(None, 0).head) == 3


def test_joint_training_shares_the_weights_of_both_losses(
    spatial: dict[str, Any], temporal: dict[str, Any], tmp_path: Path
) -> None:
    joint = build(
        STAGES, temporal | {"contrast_weight": 1.0, "contrast": spatial, "global_weight": 0.0, "updates": 2}
    )
    network = joint.network(None, 0).train()
    inner = network.contrast.backbone
    assert inner.conv1.weight is network.backbone.conv1.weight
    assert inner.bn1.running_mean is network.backbone.bn1.running_mean
    assert (inner.stem_pool, network.backbone.stem_pool) == ("max", None)
    outcome = loop.train(joint, tmp_path)
    assert set(outcome.losses) == {"reconstruction2", "reconstruction3", "local", "contrast"}
    assert load_weights(tmp_path / "weights.safetensors").keys() == network.backbone.state_dict().keys()


def test_both_stages_learn_on_a_small_set(
    spatial: dict[str, Any], temporal: dict[str, Any], tmp_path: Path
) -> None:
    still = {"area": (1.0, 1.0), "flip_share": 0.0}
    stage = build(STAGES, temporal | still | {"updates": 60, "global_weight": 0.0, "lr": 1e-2})
    seen: list[dict[str, float]] = []

    class Log(loop.Journal):
        def write(self, done: int, losses: dict[str, float], learning_rate: float) -> None:
            seen.append(losses)

    loop.train(stage, tmp_path / "t", journal=Log(None))
    first, last = seen[0], seen[-1]
    assert last["reconstruction2"] < 0.94 * first["reconstruction2"]
    assert last["local"] < 0.5 * first["local"]
    seen.clear()
    easy = {
        "area": (0.6, 1.0),
        "jitter_share": 0.0,
        "grey_share": 0.0,
        "queue": 8,
        "batch": 8,
        "bn_groups": 1,
        "crop": 64,
    }
    photos = {"dataset": spatial["dataset"] | {"folders": ["photos"]}}
    loop.train(build(STAGES, spatial | easy | photos | {"updates": 160}), tmp_path / "s", journal=Log(None))
    assert seen[-1]["contrast"] < 0.94 * seen[1]["contrast"]  # the first values are against a random queue

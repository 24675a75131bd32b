"""Photographs as videos, and mixtures of data sets: same pixels every time, motion that is what it says, bad settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corrbench import config
from corrbench.datasets.moving import MixedVideos, MovingPhotos
from corrbench.datasets.roots import DataMissing
from corrbench.registry import STAGES, build
from corrbench.training.planning import identity, plan, stage_digest
from corrbench.training.stage import Part

STILL = {"turn": 0.0, "zoom": 1.0, "shift": 0.0, "bend": 0.0, "noise": 0.0}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ramps `photos/*.png`, red four times the column and green four times the row; and `clips/<name>/*.png` of them."""
    (tmp_path / "photos").mkdir()
    y, x = np.meshgrid(np.arange(40), np.arange(60), indexing="ij")
    for number in range(4):
        ramp = np.stack([4 * x, 4 * y, 0 * x + 60 * number], -1).astype(np.uint8)
        Image.fromarray(ramp).save(tmp_path / "photos" / f"{number}.png")
        if number < 2:
            folder = tmp_path / "clips" / str(number)
            folder.mkdir(parents=True)
            for t in range(3 + number):
                Image.fromarray(ramp + np.uint8(t)).save(folder / f"{t}.png")
    return tmp_path


def test_frames_show_the_places_that_the_motion_says(root: Path) -> None:
    moving = MovingPhotos(["photos"], str(root), noise=0.0)
    for video in range(4):
        for frame in (0, 7, 15):
            seen, at = moving.read(video, frame), moving.places(video, frame, (40, 60))
            inside = ((at > 1) & (at < np.array([38, 58])[:, None, None])).all(0)
            assert inside.mean() > 0.5
            shown = np.stack([seen[..., 1], seen[..., 0]]) / 4
            assert np.abs(shown - at)[:, inside].max() < 0.2
            assert np.abs(seen[..., 2].astype(int) - 60 * video).max() <= 1


def test_motion_is_smooth_in_time_differs_between_photographs_and_stays_within_its_settings(
    root: Path,
) -> None:
    moving = MovingPhotos(["photos"], str(root), turn=0.0, zoom=1.0, bend=0.0, shift=0.25)
    ends = [moving.places(v, 15, (40, 60)) - moving.places(v, 0, (40, 60)) for v in range(4)]
    lengths = [float(np.linalg.norm(end[:, 0, 0])) for end in ends]
    assert all(np.allclose(end, end[:, :1, :1]) for end in ends)
    assert max(lengths) <= 0.25 * 40 + 1e-9
    assert len({round(length, 6) for length in lengths}) == 4
    half = moving.places(1, 9, (40, 60)) - moving.places(1, 0, (40, 60))
    np.testing.assert_allclose(half, ends[1] * 9 / 15, atol=1e-9)
    turned = MovingPhotos(["photos"], str(root), turn=20.0, zoom=1.0, bend=0.0, shift=0.0)
    angles = []
    for video in range(4):
        at = turned.places(video, 15, (41, 61))
        step = at[:, 20, 31] - at[:, 20, 30]
        angles.append(np.degrees(np.arctan2(step[0], step[1])))
    assert max(map(abs, angles)) <= 10 + 1e-9  # half of the turn to either side
    assert np.std(angles) > 0.5


def test_the_same_frame_is_the_same_pixels_and_noise_is_each_frames_own(root: Path) -> None:
    one, other = MovingPhotos(["photos"], str(root)), MovingPhotos(["photos"], str(root))
    np.testing.assert_array_equal(one.read(2, 5), other.read(2, 5))
    assert (one.read(2, 5) != MovingPhotos(["photos"], str(root), seed=1).read(2, 5)).any()
    noisy = MovingPhotos(["photos"], str(root), **STILL | {"noise": 5.0})
    difference = noisy.read(1, 0)[..., 2].astype(float) - noisy.read(1, 1)[..., 2]
    assert difference.std() == pytest.approx(5 * 2**0.5, rel=0.1)


def test_without_motion_a_frame_is_the_photograph(root: Path) -> None:
    still = MovingPhotos(["photos"], str(root), **STILL)
    np.testing.assert_array_equal(still.read(3, 11), still.photos.read(3))
    assert len(still) == 4
    assert still.frames(0) == 16


def test_beyond_the_border_lies_the_reflection(root: Path) -> None:
    moving = MovingPhotos(["photos"], str(root), **STILL | {"shift": 1.5})
    at = moving.places(0, 0, (40, 60))
    seen = moving.read(0, 0)
    reflected = np.abs(np.mod(at[1] + 0.5, 120) - 0.5)
    reflected = np.minimum(reflected, 119 - reflected)
    assert (at[1] < 0).any() or (at[1] > 59).any() or (at[0] < 0).any() or (at[0] > 39).any()
    np.testing.assert_allclose(seen[..., 0] / 4, np.clip(reflected, 0, 59), atol=0.6)


def test_a_mixture_gives_each_part_as_often_as_it_says(root: Path) -> None:
    parts = [{"type": "Videos", "folders": ["clips"]}, {"type": "MovingPhotos", "folders": ["photos"]}]
    mixed = MixedVideos(parts, [3, 1], str(root))
    assert len(mixed) == 3 * 2 + 4
    assert [mixed.frames(v) for v in range(10)] == [3, 4] * 3 + [16] * 4
    np.testing.assert_array_equal(mixed.read(3, 2), mixed.read(1, 2))
    np.testing.assert_array_equal(mixed.read(7, 4), mixed.parts[1].read(1, 4))
    assert mixed.name == "clips + photos (moving)"
    assert MixedVideos(parts, root=str(root)).times == (1, 1)
    with pytest.raises(IndexError):
        mixed.read(10, 0)


def test_digests_follow_every_setting_and_no_place(root: Path, tmp_path: Path) -> None:
    parts = [{"type": "Videos", "folders": ["clips"]}, {"type": "MovingPhotos", "folders": ["photos"]}]
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("clips", "photos"):
        (moved / name).symlink_to(root / name)
    digests = [
        MixedVideos(parts, [3, 1], str(root)).digest(),
        MixedVideos(parts, [1, 3], str(root)).digest(),
        MixedVideos(parts[::-1], [3, 1], str(root)).digest(),
        MixedVideos([parts[0], parts[1] | {"bend": 0.1}], [3, 1], str(root)).digest(),
    ]
    assert len(set(digests)) == 4
    assert MixedVideos(parts, [3, 1], str(moved)).digest() == digests[0]


def test_wrong_settings_say_what_they_must_be(root: Path) -> None:
    with pytest.raises(ValueError, match="frames 1 must be 2 or more"):
        MovingPhotos(["photos"], str(root), frames=1)
    part = {"type": "MovingPhotos", "folders": ["photos"]}
    with pytest.raises(ValueError, match=r"times \[2, 1\] must be one whole number"):
        MixedVideos([part], [2, 1], str(root))
    with pytest.raises(ValueError, match="times"):
        MixedVideos([part], [0], str(root))


def test_the_second_step_trains_on_a_mixture(root: Path) -> None:
    dataset = {
        "type": "MixedVideos",
        "parts": [{"type": "Videos", "folders": ["clips"]}, {"type": "MovingPhotos", "folders": ["photos"]}],
        "times": [2, 1],
        "root": str(root),
    }
    backbone = {"type": "ResNet", "width": 8, "stem_pool": None, "strides": (1, 2, 2, 4)}
    settings = {
        "type": "Temporal", "backbone": backbone, "dataset": dataset, "updates": 1, "batch": 4, "crop": 32,
        "radii": (4, 2), "global_weight": 0.0,
    }  # fmt: skip
    batch = build(STAGES, settings).feed(0).fetch(Part(0, 0, 4, 0, 4))
    assert len(batch["crops"]) == 8
    once = settings | {"dataset": dataset | {"times": [1, 1]}}
    digests = {stage_digest(identity(config.resolve(STAGES, each)), None, 0) for each in (settings, once)}
    assert len(digests) == 2


def test_rendered_videos_stand_in_for_a_mixture_that_is_not_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    dataset = {"type": "MixedVideos", "parts": [{"type": "Videos", "folders": ["nowhere"]}]}
    stage = {
        "type": "Temporal",
        "backbone": {"type": "ResNet"},
        "dataset": dataset,
        "updates": 1,
        "global_weight": 0.0,
    }
    (planned,) = plan(
        {"training": [stage], "schedules": {"smoke": {}}}, schedule="smoke", root=tmp_path, estimate=False
    )
    assert planned.synthetic
    assert planned.settings["dataset"]["type"] == "Videos"
    with pytest.raises(DataMissing, match="nowhere"):
        plan({"training": [stage], "schedules": {"smoke": {}}}, schedule="smoke", root=tmp_path, sample=False)

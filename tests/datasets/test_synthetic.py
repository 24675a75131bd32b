"""The rendered benchmark: the same pixels everywhere, exact labels and flow, whole or absent on disk."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from corrbench.datasets import DAVIS, JHMDB, VIP, Synthetic, read_mark, synthetic, synthetic_config
from corrbench.datasets.rendering import Scene, flow, render_frame, top_layers
from corrbench.datasets.rendering_warp import Drift, Wave
from corrbench.datasets.synthetic_files import joints
from corrbench.datasets.synthetic_people import CLIPS, PART_SCENES
from corrbench.datasets.synthetic_scenes import SCENES
from corrbench.datasets.verify import verify
from corrbench.datasets.vip import CLASSES


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache") / "corrbench" / f"synthetic-v{synthetic.VERSION}"
    synthetic.render(folder)
    return folder


@pytest.fixture
def cached(rendered: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(rendered.parents[1]))
    return rendered


def test_content_is_the_reference(rendered: Path) -> None:
    """Pixels and labels are pinned. A change of one of them needs a new VERSION and new numbers everywhere."""
    for kind, folder in synthetic.FOLDERS.items():
        mark = read_mark(rendered / folder)
        assert mark is not None
        assert mark.content == synthetic.reference()[kind]
        assert mark.name == f"synthetic-{kind} (rendered, v1)"


@pytest.mark.parametrize("name", ["coins", "ride"])
def test_rendering_twice_gives_the_same_bits(name: str) -> None:
    first, second = (render_frame(SCENES[name](), 7) for _ in range(2))
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.mask, second.mask)


def test_read_by_the_real_loaders(rendered: Path) -> None:
    davis, jhmdb, vip = DAVIS(rendered / "DAVIS"), JHMDB(rendered / "JHMDB"), VIP(rendered / "VIP")
    for dataset, count in ((davis, 8), (jhmdb, 6), (vip, 4)):
        assert dataset.synthetic
        assert dataset.name.startswith("synthetic-")
        assert "CC0" in dataset.licence
        assert (len(dataset.names()), dataset.official) == (count, count)
        for name in dataset.names():
            sequence = dataset.load(name)
            for t in (0, len(sequence) - 1):
                assert sequence.frame(t).shape == (*sequence.size, 3)
                assert sequence.label(t) is not None
    assert len(set(davis.digest() + jhmdb.digest() + vip.digest())) > 1
    assert davis.digest() != DAVIS(rendered / "DAVIS", sequences=["cat", "coins"]).digest()
    assert sum(len(davis.load(name).objects) for name in davis.names()) == 19
    assert DAVIS(rendered / "DAVIS", year=2016).load("coins").objects == ("1",)


def test_files_hold_what_was_rendered(rendered: Path) -> None:
    scene, sequence = SCENES["herd"](), DAVIS(rendered / "DAVIS").load("herd")
    frame = render_frame(scene, 9)
    assert np.array_equal(sequence.frame(9), frame.image)
    assert np.array_equal(sequence.label(9), frame.mask)
    clip, read = CLIPS["walking"](), JHMDB(rendered / "JHMDB").load("walking")
    position, _ = joints(clip)
    assert np.abs(np.stack([read.label(t) for t in range(len(read))]) - position).max() < 1e-3
    part = VIP(rendered / "VIP").load("stage")
    assert np.array_equal(part.label(3), render_frame(PART_SCENES["stage"](), 3).parts)


@pytest.mark.parametrize("name", SCENES)
def test_flow_carries_frame_t_onto_the_next(name: str) -> None:
    """On visible pixels, colours (lighting divided out) and masks agree; without the flow they do not."""
    scene, t = SCENES[name](), 6
    now, later = render_frame(scene, t), render_frame(scene, t + 1)
    field, visible = flow(scene, t, t + 1)
    h, w = scene.size
    y, x = np.mgrid[:h, :w].astype(np.float64)
    to_x, to_y = x + field[..., 0], y + field[..., 1]
    sure = ndimage.binary_erosion(visible, iterations=2) & ndimage.binary_erosion(
        np.equal(ndimage.minimum_filter(now.mask, 5), ndimage.maximum_filter(now.mask, 5))
    )

    def colours(image: np.ndarray, at_x: np.ndarray, at_y: np.ndarray, time: int) -> np.ndarray:
        channels = [
            ndimage.map_coordinates(image[..., c].astype(float), [at_y, at_x], order=1) for c in range(3)
        ]
        return np.stack(channels, -1) / scene.light.gain(time, at_x, at_y)

    here = colours(now.image, x, y, t)
    error = np.abs(colours(later.image, to_x, to_y, t + 1) - here).mean(-1)
    still = np.abs(colours(later.image, x, y, t + 1) - here).mean(-1)
    moved = sure & (now.mask > 0)
    assert moved.sum() > 1000
    assert np.median(error[moved]) < 5  # the noise is 2 in either frame
    assert error[moved].mean() < 0.35 * still[moved].mean()
    carried = ndimage.map_coordinates(later.mask, [np.rint(to_y), np.rint(to_x)], order=0)
    assert (carried == now.mask)[sure].mean() > 0.998


def test_flow_of_a_camera_pan_is_the_pan() -> None:
    scene = SCENES["street"]()
    field, visible = flow(scene, 3, 4)
    ground = (top_layers(scene, 3, *np.meshgrid(np.arange(426.0), np.arange(240.0))) == 0) & visible
    assert np.abs(field[ground] - [-1.2, 0]).max() < 1e-4


def test_warps_and_their_inverses_agree() -> None:
    waves = (Wave((3.0, 1.0), (0.05, 0.07), 0.3, 0.5), Wave((0.8, 2.4), (0.09, -0.05), 1.1, -0.4))
    motion = Drift((40, 30), (2, 1), spin=0.2, zoom=0.03, squash=0.2, mirror=-1, waves=waves)
    draws = np.random.default_rng(0).uniform(-60, 60, (2, 500))
    for moment in (0.0, 3.5, 11.0):
        warp = motion(moment)
        back = warp.to_image(*warp.to_plane(*draws))
        assert np.abs(np.stack(back) - draws).max() < 1e-5


@pytest.mark.parametrize("name", CLIPS)
def test_visible_joints_lie_on_their_own_limbs(name: str) -> None:
    """A joint that is said to show lies on the figure; wrists, knees and ankles on the class that bears them."""
    clip = CLIPS[name]()
    position, visible = joints(clip)
    h, w = clip.scene.size
    assert 0.5 < visible.mean() <= 1
    for t in range(0, clip.scene.frames, 6):
        frame = render_frame(clip.scene, t)
        for joint, (x, y) in enumerate(position[t]):
            column, row = int(np.rint(x)), int(np.rint(y))
            if not visible[t, joint] or not (0 <= column < w and 0 <= row < h):
                continue
            around = frame.mask[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            assert (around == 1).any()
        x, y = position[t, 2]
        if visible[t, 2]:
            assert CLASSES[frame.parts[int(np.rint(y)), int(np.rint(x))]] in ("face", "right-arm", "left-arm")


def test_part_classes_cover_arms_legs_clothes_and_both_sides() -> None:
    seen = set()
    for make in PART_SCENES.values():
        scene = make()
        for t in (0, scene.frames - 1):
            seen |= set(np.unique(render_frame(scene, t).parts).tolist())
    names = {CLASSES[number] for number in seen}
    assert names >= {"background", "hair", "face", "upper-clothes", "pants", "skirt"}
    assert names >= {f"{side}-{part}" for side in ("left", "right") for part in ("arm", "leg", "shoe")}


def test_objects_get_hidden_and_leave(rendered: Path) -> None:
    """Somewhere an object loses more than half of its pixels to an occluder or the border."""
    davis = DAVIS(rendered / "DAVIS")
    losses = {}
    for name in davis.names():
        sequence = davis.load(name)
        areas = np.stack([np.bincount(sequence.label(t).ravel(), minlength=5) for t in range(len(sequence))])
        for number in map(int, sequence.objects):
            losses[name, number] = areas[:, number].min() / areas[0, number]
    assert sum(loss < 0.5 for loss in losses.values()) >= 4


def test_ensure_renders_once_and_mends(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert synthetic.ensure("parts") == cached / "VIP"
    before = {kind: (cached / folder).stat().st_ino for kind, folder in synthetic.FOLDERS.items()}
    damaged = next((cached / "VIP/VIP_Fine/Images/park").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-20])
    assert not verify("synthetic", cached).sound
    assert VIP(synthetic.ensure("parts")).load("park").frame(0).shape == (240, 426, 3)
    assert verify("synthetic", cached).sound
    after = {kind: (cached / folder).stat().st_ino for kind, folder in synthetic.FOLDERS.items()}
    assert [kind for kind in before if before[kind] != after[kind]] == ["parts"]
    assert sorted(p.name for p in cached.iterdir()) == [
        "DAVIS",
        "JHMDB",
        "VIP",
    ]  # nothing half-made stays behind


def test_ensure_replaces_what_an_older_version_rendered(cached: Path) -> None:
    path = cached / "VIP/synthetic.json"
    path.write_text(path.read_text().replace(synthetic.reference()["parts"]["yard"], "0" * 64))
    synthetic.ensure("parts")
    assert "0" * 64 not in path.read_text()


def test_other_arithmetic_is_told_by_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("corrbench.datasets.synthetic_files.PART_SCENES", {"park": PART_SCENES["park"]})
    monkeypatch.setattr(synthetic, "reference", lambda: {"parts": {"park": "0"}})
    root = synthetic.ensure("parts")
    assert VIP(root).name == "synthetic-parts (rendered, v1, other pixels than the reference)"
    before = root.stat().st_ino
    assert synthetic.ensure("parts").stat().st_ino == before


def test_stands_in_for_missing_data(cached: Path) -> None:
    assert synthetic_config({"type": "DAVIS", "year": 2017}) == {
        "type": "DAVIS",
        "root": str(cached / "DAVIS"),
    }
    assert Synthetic("pose").name == "synthetic-pose (rendered, v1)"
    with pytest.raises(ValueError, match="no synthetic stand-in for 'BADJA'"):
        synthetic_config({"type": "BADJA"})
    with pytest.raises(ValueError, match="kind='flow': the synthetic benchmark has vos, pose, parts"):
        Synthetic("flow")


def test_render_spares_folders_of_others(tmp_path: Path) -> None:
    (tmp_path / "VIP").mkdir()
    with pytest.raises(ValueError, match="exists and was not rendered by corrbench"):
        synthetic.render(tmp_path, ["parts"])


def test_flow_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: Scene = SCENES["cat"]()
    monkeypatch.setattr("corrbench.datasets.synthetic_files.SCENES", {"cat": lambda: made})
    (root,) = synthetic.render(tmp_path, ["vos"], flow=True)
    data = (root / "Flow/cat/00004.flo").read_bytes()
    assert data[:4] == b"PIEH"
    assert tuple(np.frombuffer(data[4:12], "<i4")) == (426, 240)
    assert np.array_equal(np.frombuffer(data[12:], "<f4").reshape(240, 426, 2), flow(made, 4, 5)[0])
    assert len(list((root / "Flow/cat").iterdir())) == made.frames - 1


def test_a_damaged_mark_is_named(rendered: Path, tmp_path: Path) -> None:
    shutil.copytree(rendered / "VIP", tmp_path / "VIP")
    (tmp_path / "VIP/synthetic.json").write_text("{}")
    with pytest.raises(ValueError, match=r"synthetic\.json: not a mark of a rendered benchmark"):
        VIP(tmp_path / "VIP")


def test_frames_look_like_photographs(rendered: Path) -> None:
    """Neither flat nor noise: neighbouring pixels resemble each other, far ones do not."""
    for name in DAVIS(rendered / "DAVIS").names():
        with Image.open(rendered / f"DAVIS/JPEGImages/480p/{name}/00000.png") as image:
            grey = np.asarray(image.convert("L"), np.float64)
        grey -= grey.mean()
        near, far = ((grey[:, :-d] * grey[:, d:]).mean() / (grey**2).mean() for d in (1, 40))
        assert grey.std() > 20
        assert near > 0.75
        assert far < 0.7 * near


def test_rendering_is_quick() -> None:
    """0.03 s of processor time a frame where this was written; ten times that is a mistake, not a slow machine."""
    scenes = [make() for make in SCENES.values()]
    start = time.process_time()
    for scene in scenes:
        render_frame(scene, 1)
    assert (time.process_time() - start) / len(scenes) < 0.3

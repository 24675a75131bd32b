"""`data verify`: what is missing, what is damaged, and what could only be checked for structure."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from corrbench.cli import main
from corrbench.datasets import DataMissing
from corrbench.datasets.davis import official_lists
from corrbench.datasets.verify import command, verify, write_manifest
from corrbench.indexed_png import encode


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny "full copy" of the val list, two frames each, and a manifest of it."""
    root = tmp_path_factory.mktemp("data") / "DAVIS"
    names = official_lists()[2017, "val"]
    pixels = np.random.default_rng(0).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    for name in names:
        for part in ("JPEGImages", "Annotations"):
            (root / part / "480p" / name).mkdir(parents=True)
        for t in range(2):
            Image.fromarray(pixels + t).save(root / f"JPEGImages/480p/{name}/{t:05d}.jpg")
            (root / f"Annotations/480p/{name}/{t:05d}.png").write_bytes(encode(pixels[..., 0] % 2))
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_text("\n".join(names))
    manifest = root.parent / "manifest.json"
    assert write_manifest("davis", root, manifest) == 30
    return root, manifest


@pytest.fixture
def copy(whole: tuple[Path, Path], tmp_path: Path) -> Path:
    shutil.copytree(whole[0], tmp_path / "DAVIS")
    return tmp_path / "DAVIS"


def test_a_whole_copy_is_sound(whole: tuple[Path, Path]) -> None:
    report = verify("davis", whole[0], manifest=whole[1], decode=True)
    assert (report.sound, len(report.there), report.official) == (True, 30, 30)
    assert (report.compared, report.structural) == (120, 0)
    assert "complete, and nothing is wrong with it" in report.text()
    assert "CC BY-NC 4.0" in report.text()


def test_every_kind_of_damage_is_named(copy: Path, whole: tuple[Path, Path]) -> None:
    frames, masks = copy / "JPEGImages/480p", copy / "Annotations/480p"
    (frames / "dog/00000.jpg").unlink()
    data = (frames / "cows/00001.jpg").read_bytes()
    (frames / "cows/00001.jpg").write_bytes(data[:-40])
    with Image.open(frames / "goat/00000.jpg") as image:
        image.copy().save(frames / "goat/00000.jpg", quality=40)
    (masks / "judo/00001.png").write_bytes(encode(np.zeros((8, 10), np.uint8)))
    Image.new("RGB", (10, 8)).save(masks / "pigs/00000.png")
    shutil.copy(frames / "india/00001.jpg", frames / "india/00002.jpg")
    shutil.rmtree(frames / "camel")
    shutil.rmtree(masks / "camel")
    text, sound = command("davis", copy, manifest=whole[1])
    assert not sound
    for line in (
        f"MISSING {frames}/dog/00000.jpg",
        "MISSING camel: the whole sequence (2 frames)",
        f"DAMAGED {frames}/cows/00001.jpg: this frame is damaged or not an image",
        f"DAMAGED {frames}/goat/00000.jpg: not the file of the official release (encoded anew, or damaged)",
        f"DAMAGED {masks}/judo/00001.png: other pixels than the mask of the official release",
        f"DAMAGED {masks}/pigs/00000.png: an 8-bit RGB PNG",
        f"DAMAGED {frames}/india/00002.jpg: india has 2 frames, this is one too many",
        "29 of 30 sequences are there",
        "2 missing, 5 damaged",
    ):
        assert line in text


def test_masks_are_compared_by_their_pixels(copy: Path, whole: tuple[Path, Path]) -> None:
    path = copy / "Annotations/480p/dog/00000.png"
    with Image.open(path) as image:
        ids = np.asarray(image)
    Image.fromarray(ids).save(path, compress_level=0)
    assert verify("davis", copy, manifest=whole[1]).sound


def test_without_checksums_only_structure_is_claimed(copy: Path, whole: tuple[Path, Path]) -> None:
    manifest = json.loads(whole[1].read_text())
    for entry in manifest["sequences"].values():
        del entry["frame_sha256"], entry["mask_sha256"], entry["size"]
    bare = copy.parent / "bare.json"
    bare.write_text(json.dumps(manifest))
    report = verify("davis", copy, manifest=bare)
    assert (report.sound, report.compared, report.structural) == (True, 0, 120)
    assert "no known checksum: checked for structure only" in report.text()
    cut = copy / "JPEGImages/480p/soapbox/00001.jpg"
    cut.write_bytes(cut.read_bytes()[:-40])
    Image.new("RGB", (9, 8)).save(copy / "JPEGImages/480p/shooting/00001.jpg")
    assert verify("davis", copy, manifest=bare).damaged == [
        f"{copy}/JPEGImages/480p/shooting/00001.jpg: this frame is 9x8, expected 10x8 as the rest of its sequence; "
        "it must not be resized, use the original",
        f"{cut}: this frame is cut off; fetch it again",
    ]


def test_the_manifest_of_davis() -> None:
    manifest = json.loads(
        (Path(__file__).parents[2] / "corrbench/datasets/manifests/davis.json").read_text(encoding="utf-8")
    )["sequences"]
    val = official_lists()[2017, "val"]
    assert sum(manifest[name]["frames"] for name in val) == 1999
    for entry in manifest.values():
        for digests in (entry.get("frame_sha256"), entry.get("mask_sha256")):
            assert digests is None or len(digests) == entry["frames"]


def test_unknown_names_and_bad_manifests(tmp_path: Path, whole: tuple[Path, Path]) -> None:
    with pytest.raises(ValueError, match=r"Did you mean 'davis'"):
        verify("davs")
    with pytest.raises(DataMissing, match="DAVIS is not on this machine"):
        verify("davis")
    bad = tmp_path / "m.json"
    bad.write_text("[]")
    with pytest.raises(ValueError, match=r"m\.json: not a manifest"):
        verify("davis", whole[0], manifest=bad)


@pytest.mark.parametrize(
    "entry", [3, {}, {"frames": 2, "frame_sha256": ["0" * 16]}, {"frames": 2, "size": [8]}], ids=str
)
def test_a_manifest_with_a_bad_entry_is_refused(
    entry: object, tmp_path: Path, whole: tuple[Path, Path]
) -> None:
    bad = tmp_path / "m.json"
    bad.write_text(json.dumps({"sequences": {"dog": entry}}))
    with pytest.raises(ValueError, match=r"m\.json: 'dog' is no entry of a manifest"):
        verify("davis", whole[0], manifest=bad)


def test_the_command_takes_a_manifest(whole: tuple[Path, Path], copy: Path) -> None:
    """Altered pixels are found by the given manifest alone: the one that comes with corrbench knows other files."""
    mask = copy / "Annotations/480p/dog/00000.png"
    mask.write_bytes(encode(np.zeros((8, 10), np.uint8)))
    given = ["data", "verify", "davis", "--data", str(copy.parent), "--manifest", str(whole[1])]
    found = CliRunner().invoke(main, given)
    assert found.exit_code == 1
    assert f"DAMAGED {mask}: other pixels than the mask of the official release" in found.output
    assert "120 files compared by sha256" in found.output
    mask.write_bytes((whole[0] / mask.relative_to(copy)).read_bytes())
    assert CliRunner().invoke(main, given).exit_code == 0


def test_a_manifest_that_would_not_be_read_is_refused(whole: tuple[Path, Path]) -> None:
    found = CliRunner().invoke(main, ["data", "verify", "jhmdb", "--manifest", str(whole[1])])
    assert found.exit_code == 2
    assert "manifest.json: a manifest of one's own is for davis, not for 'jhmdb'" in found.output


@pytest.mark.parametrize(("name", "there", "official"), [("jhmdb", 0, 268), ("badja", 4, 7)])
def test_real_copies_are_undamaged_as_far_as_they_go(
    real_data: Path, name: str, there: int, official: int
) -> None:
    report = verify(name, real_data)
    assert (len(report.there), report.official, report.damaged) == (there, official, [])
    assert len(report.missing) == official - there


def test_real_davis_has_the_recorded_content(real_data: Path) -> None:
    report = verify("davis", real_data)
    assert report.damaged == []
    assert report.compared == 2 * 630
    assert len(report.there) + len(report.missing) == 30

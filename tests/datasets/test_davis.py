"""DAVIS: lists, sizes, objects, both years, digests, and every way in which a copy can be broken."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corrbench.datasets import DAVIS, Sequence, read_frames
from corrbench.datasets.davis import official_lists
from corrbench.indexed_png import encode

NAMES = ("blackswan", "bmx-trees")


def add(root: Path, name: str, masks: list[np.ndarray], ending: str = ".jpg") -> None:
    frames, labels = root / "JPEGImages" / "480p" / name, root / "Annotations" / "480p" / name
    frames.mkdir(parents=True)
    labels.mkdir(parents=True)
    for t, mask in enumerate(masks):
        pixels = np.random.default_rng(t).integers(0, 256, (*mask.shape, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(frames / f"{t:05d}{ending}")
        (labels / f"{t:05d}.png").write_bytes(encode(mask))


def mask(h: int, w: int, *ids: int) -> np.ndarray:
    """Ids as vertical stripes of four pixels, background elsewhere."""
    out = np.zeros((h, w), np.uint8)
    for place, number in enumerate(ids):
        out[:, 4 * place : 4 * place + 4] = number
    return out


def listed(root: Path, names: tuple[str, ...], year: int = 2017) -> None:
    path = root / "ImageSets" / str(year) / "val.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(names) + "\n\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two sequences of the official list, of different widths; bmx-trees has two objects and void pixels."""
    root = tmp_path / "DAVIS"
    add(root, "blackswan", [mask(12, 21, 1)] * 4)
    add(root, "bmx-trees", [mask(12, 33, 1, 2, 255), mask(12, 33, 1, 0, 255), mask(12, 33, 0, 2, 3)])
    listed(root, NAMES[::-1])
    return root


def test_a_part_of_the_list_keeps_the_official_name_order_and_count(root: Path) -> None:
    davis = DAVIS(root)
    assert (davis.name, davis.official, davis.kind, davis.synthetic) == ("DAVIS-2017 val", 30, "vos", False)
    assert davis.names() == NAMES  # the official order, whatever the file's
    assert "CC BY-NC" in davis.licence
    assert DAVIS(root, sequences=["bmx-trees"]).names() == ("bmx-trees",)


def test_official_lists() -> None:
    lists = official_lists()
    counts = {key: len(names) for key, names in lists.items()}
    assert counts == {(2016, "train"): 30, (2016, "val"): 20, (2017, "train"): 60, (2017, "val"): 30}
    assert set(lists[2016, "val"]) < set(lists[2017, "val"])
    assert not set(lists[2017, "train"]) & set(lists[2017, "val"])


def test_sequences_have_their_own_size(root: Path) -> None:
    swan, trees = (DAVIS(root).load(name) for name in NAMES)
    assert (swan.size, trees.size, len(swan), len(trees)) == ((12, 21), (12, 33), 4, 3)
    assert trees.frame(1).shape == (12, 33, 3)
    assert trees.frame_names == ("00000", "00001", "00002")


def test_objects_are_those_up_to_the_highest_id_of_frame_0(root: Path) -> None:
    trees = DAVIS(root).load("bmx-trees")
    assert trees.objects == ("1", "2")  # 255 is void, 3 comes later
    assert set(np.unique(trees.label(1))) == {0, 1, 255}  # object 2 has vanished
    assert trees.extra["absent"] == ()


def test_an_id_that_frame_0_skips_is_counted_and_named_absent(root: Path) -> None:
    (root / "Annotations/480p/blackswan/00000.png").write_bytes(encode(mask(12, 21, 1, 3)))
    swan = DAVIS(root).load("blackswan")
    assert (swan.objects, swan.extra["absent"]) == (("1", "2", "3"), ("2",))


def test_2016_merges_objects_and_keeps_void(root: Path) -> None:
    listed(root, NAMES, 2016)
    davis = DAVIS(root, year=2016)
    trees = davis.load("bmx-trees")
    assert (davis.name, davis.official, trees.objects) == ("DAVIS-2016 val", 20, ("1",))
    assert np.array_equal(trees.label(0), mask(12, 33, 1, 1, 255))


def test_2016_reads_the_first_release_where_255_is_the_object(root: Path) -> None:
    listed(root, ("blackswan",), 2016)
    for t in range(4):
        Image.fromarray(mask(12, 21, 255)).save(root / f"Annotations/480p/blackswan/{t:05d}.png")
    assert np.array_equal(DAVIS(root, year=2016).load("blackswan").label(2), mask(12, 21, 1))


def test_without_a_2016_list_the_official_one_is_taken(root: Path) -> None:
    assert DAVIS(root, year=2016, sequences=["blackswan"]).names() == ("blackswan",)
    with pytest.raises(ValueError, match=r"breakdance: this folder of the sequence 'breakdance' is missing"):
        DAVIS(root, year=2016)


def test_other_names_are_never_called_davis(root: Path) -> None:
    add(root, "my-dog", [mask(12, 16, 1)] * 2, ".png")
    listed(root, ("my-dog", "blackswan"))
    davis = DAVIS(root)
    assert (davis.name, davis.official) == ("own sequences in DAVIS layout", 2)
    assert davis.names() == ("my-dog", "blackswan")
    assert davis.load("my-dog").frame(1).dtype == np.uint8


def test_frames_are_decoded_in_parallel_as_one_by_one(root: Path) -> None:
    swan = DAVIS(root).load("blackswan")
    one_by_one = np.stack([swan.frame(t) for t in (3, 0, 2)])
    for threads in (1, 2, 5):
        assert np.array_equal(read_frames(swan, (3, 0, 2), threads), one_by_one)
    assert read_frames(swan).shape == (4, 12, 21, 3)


def test_digest_is_of_content_not_of_place_or_order(root: Path, tmp_path: Path) -> None:
    digest = DAVIS(root).digest()
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    listed(copy, NAMES)
    assert DAVIS(copy).digest() == digest
    assert DAVIS(copy, sequences=["bmx-trees"]).digest() != digest
    assert DAVIS(copy, year=2016, sequences=NAMES).digest() != digest


@pytest.mark.parametrize("part", ["JPEGImages", "Annotations"])
def test_digest_sees_every_frame_and_mask(root: Path, part: str) -> None:
    digest = DAVIS(root).digest()
    path = sorted((root / part / "480p/bmx-trees").iterdir())[-1]
    path.write_bytes(path.read_bytes() + b"\0")
    assert DAVIS(root).digest() != digest


def remove(path: str) -> Callable[[Path], None]:
    def breakage(root: Path) -> None:
        target = root / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    return breakage


def write_list(text: str) -> Callable[[Path], None]:
    def breakage(root: Path) -> None:
        (root / "ImageSets/2017/val.txt").write_text(text)

    return breakage


def no_list(root: Path) -> None:
    for path in ("ImageSets", *(f"JPEGImages/480p/{name}" for name in NAMES)):
        shutil.rmtree(root / path)


def no_object(root: Path) -> None:
    (root / "Annotations/480p/blackswan/00000.png").write_bytes(encode(mask(12, 21, 255)))


def stray(root: Path) -> None:
    shutil.copy(root / "JPEGImages/480p/blackswan/00000.jpg", root / "JPEGImages/480p/blackswan/a.jpg")


def narrow_frame(root: Path) -> None:
    Image.fromarray(np.zeros((12, 20, 3), np.uint8)).save(root / "JPEGImages/480p/blackswan/00003.jpg")


def narrow_mask(root: Path) -> None:
    (root / "Annotations/480p/blackswan/00000.png").write_bytes(encode(mask(12, 20, 1)))


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "frame missing in the middle": (
        remove("JPEGImages/480p/blackswan/00001.jpg"),
        r"00001\.jpg: this frame is missing \(00002\.jpg stands in its place\)",
    ),
    "mask missing in the middle": (
        remove("Annotations/480p/blackswan/00002.png"),
        r"00002\.png: this mask is missing",
    ),
    "last mask missing": (
        remove("Annotations/480p/blackswan/00003.png"),
        r"blackswan: 4 frames but 3 masks; \S+00003\.jpg has no counterpart",
    ),
    "last frame missing": (
        remove("JPEGImages/480p/blackswan/00003.jpg"),
        r"blackswan: 3 frames but 4 masks; \S+00003\.png has no counterpart",
    ),
    "no masks": (
        remove("Annotations/480p/blackswan"),
        r"Annotations/480p/blackswan: this folder of the sequence",
    ),
    "listed but absent": (
        write_list("blackswan\ncamel\n"),
        r"camel: this folder of the sequence 'camel' is missing",
    ),
    "list missing": (
        no_list,
        r"val\.txt: this list of sequences is missing",
    ),
    "list empty": (write_list("\n \n"), r"val\.txt: this list of sequences is empty"),
    "listed twice": (write_list("blackswan\nblackswan\n"), r"names the sequence 'blackswan' twice"),
    "list of paths": (
        write_list("/JPEGImages/480p/blackswan/00000.jpg\n"),
        r"is not a sequence name; write the bare folder name",
    ),
    "resolution": (remove("JPEGImages/480p"), r"no folder for resolution='480p'; this copy has none"),
    "no object": (no_object, r"00000\.png: no object in the first frame"),
    "stray file": (stray, r"00004\.jpg: this frame is missing \(a\.jpg stands in its place\)"),
    "first mask of another size": (narrow_mask, r"this mask is 20x12, expected 21x12"),
    "frame of another size": (narrow_frame, r"00003\.jpg: this frame is 20x12, expected 21x12"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_copies(root: Path, case: str) -> None:
    breakage, message = BROKEN[case]
    breakage(root)
    with pytest.raises(ValueError, match=message) as error:
        read_frames(DAVIS(root).load("blackswan"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"year": 2018}, "DAVIS has annotations for 2016 train"),
        ({"split": "test-dev"}, "not for year=2017 split='test-dev'"),
        (
            {"sequences": ["blackswam"]},
            "'blackswam' is not a sequence of DAVIS-2017 val. Did you mean 'blackswan'",
        ),
        ({"sequences": []}, "give a list of sequence names"),
        ({"sequences": "blackswan"}, "give a list of sequence names"),
        ({"resolution": "1080p"}, "no folder for resolution='1080p'; this copy has 480p"),
    ],
)
def test_bad_settings(root: Path, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as error:
        DAVIS(root, **settings)  # type: ignore[arg-type]
    assert message in str(error.value)


def test_unknown_sequence(root: Path) -> None:
    with pytest.raises(ValueError, match="Did you mean 'bmx-trees'"):
        DAVIS(root).load("bmx-tree")


def test_sequences_of_decoded_frames() -> None:
    frames = np.zeros((3, 4, 5, 3), np.uint8)
    sequence = Sequence("s", frames, (4, 5), (None, np.zeros((2, 2), np.float32), None), ("a", "b"))
    assert sequence.label(0) is None
    assert sequence.label(1) is not None
    assert read_frames(sequence).shape == (3, 4, 5, 3)
    with pytest.raises(IndexError, match="has the frames 0 to 2, not 3"):
        sequence.frame(3)
    with pytest.raises(ValueError, match="s: 3 frames but 1 labels"):
        Sequence("s", frames, (4, 5), (None,), ())


def test_real_davis(real_data: Path) -> None:
    """The ten sequences: official counts, 854x480, eleven objects."""
    davis = DAVIS(real_data)
    assert davis.name == "DAVIS-2017 val"
    sequences = [davis.load(name) for name in davis.names()]
    assert all(sequence.size[0] == 480 for sequence in sequences)
    if len(sequences) == 10:
        assert sum(map(len, sequences)) == 630
        assert sum(len(sequence.objects) for sequence in sequences) == 11

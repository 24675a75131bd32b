"""VIP_Fine's layout: pairs of frames and masks by number, the list of videos, and files that are wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corrbench.datasets import vip
from corrbench.datasets.vip import VIP

SIZE = (20, 28)


def mask(seed: int) -> np.ndarray:
    labels = np.random.default_rng(seed).integers(0, 20, SIZE).astype(np.uint8)
    labels[0] = 255
    return labels


def write_video(
    fine: Path, name: str, numbers: list[int], categories: str = "Annotations/Category_ids"
) -> None:
    for folder in (fine / "Images" / name, fine / categories / name):
        folder.mkdir(parents=True)
    for n in numbers:
        Image.fromarray(np.full((*SIZE, 3), n, np.uint8)).save(fine / "Images" / name / f"{n:012d}.jpg")
        Image.fromarray(mask(n)).save(fine / categories / name / f"{n:012d}.png")


@pytest.fixture
def fine(tmp_path):
    """Two of three listed videos, every 25th frame, as the release has them."""
    fine = tmp_path / "VIP" / "VIP_Fine"
    write_video(fine, "videos7", [1, 26, 51])
    write_video(fine, "videos30", [1, 26])
    write_video(fine, "videos99", [1])  # not of the list
    (fine / "lists").mkdir()
    (fine / "lists" / "val_videos.txt").write_text("videos30\nvideos7\nvideos8\n")
    return fine


def test_twenty_classes_of_the_field():
    assert len(vip.CLASSES) == len(set(vip.CLASSES)) == 20
    assert (vip.CLASSES[0], vip.CLASSES[13], vip.CLASSES[19]) == ("background", "face", "left-shoe")


@pytest.mark.parametrize("given", ["VIP", "."])
def test_videos_of_the_list_in_its_order(fine, tmp_path, given):
    data = VIP(tmp_path / given)
    assert data.names() == ("videos30", "videos7")
    assert (data.official, data.kind, data.synthetic, data.name) == (3, "parts", False, "VIP_Fine val")
    video = data.load("videos7")
    assert (len(video), video.size, video.objects) == (3, SIZE, vip.CLASSES)
    assert video.frame_names == (f"{1:012d}", f"{26:012d}", f"{51:012d}")
    for t, number in enumerate((1, 26, 51)):
        np.testing.assert_array_equal(video.label(t), mask(number))
        assert abs(int(video.frame(t).mean()) - number) <= 1  # JPEG


def test_masks_beside_no_category_folder_as_stt_reads_them(fine, tmp_path):
    with_folder = VIP(tmp_path).digest()
    categories = fine / "Annotations" / "Category_ids"
    for folder in list(categories.iterdir()):
        folder.rename(fine / "Annotations" / folder.name)
    categories.rmdir()
    assert VIP(tmp_path).digest() == with_folder


def test_digest_is_of_content(fine, tmp_path):
    before = VIP(tmp_path).digest()
    assert VIP(tmp_path, sequences=["videos7"]).digest() != before
    path = fine / "Annotations" / "Category_ids" / "videos7" / f"{26:012d}.png"
    Image.fromarray(mask(3)).save(path)
    assert VIP(tmp_path).digest() != before


def remove(*where):
    def change(fine):
        fine.joinpath(*where).unlink()

    return change


def write(array, *where):
    def change(fine):
        Image.fromarray(array).save(fine.joinpath(*where))

    return change


def text(content, *where):
    def change(fine):
        fine.joinpath(*where).write_text(content)

    return change


MASK = ("Annotations", "Category_ids", "videos7", f"{26:012d}.png")
LIST = ("lists", "val_videos.txt")
WRONG = {
    "a frame without a mask": (remove(*MASK), "has no counterpart"),
    "a mask without a frame": (remove("Images", "videos7", f"{26:012d}.jpg"), "has no counterpart"),
    "a class that is none": (
        write(np.full(SIZE, 20, np.uint8), *MASK),
        "holds the class 20, but VIP has 20, 0 to 19",
    ),
    "instance numbers in colour": (
        write(np.zeros((*SIZE, 3), np.uint8), *MASK),
        "save the numbers, not their colours",
    ),
    "another size": (write(np.zeros((8, 8), np.uint8), *MASK), "is 8x8, expected 28x20"),
    "a truncated mask": (text("PNG", *MASK), "damaged or not an image"),
    "no list": (remove(*LIST), "list of sequences cannot be read"),
    "an empty list": (text("\n", *LIST), "is empty"),
    "a list of other videos": (text("videos1\n", *LIST), "none of the 1 videos"),
    "a list with a path": (text("videos7\n../videos30\n", *LIST), "is not a sequence name"),
    "a video twice": (text("videos7\nvideos7\n", *LIST), "twice"),
}


def read_all_labels(root):
    video = VIP(root).load("videos7")
    for t in range(len(video)):
        video.label(t)


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_refused_in_one_sentence_that_names_them(fine, tmp_path, case):
    change, words = WRONG[case]
    change(fine)
    with pytest.raises(ValueError, match=words) as error:
        read_all_labels(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_folders_that_are_missing(fine, tmp_path):
    folder = fine / "Annotations" / "Category_ids" / "videos7"
    folder.rename(fine / "taken")
    with pytest.raises(ValueError, match="this folder is missing, though"):
        VIP(tmp_path)
    (fine / "taken").rename(folder)
    with pytest.raises(ValueError, match="is not a video of VIP_Fine val"):
        VIP(tmp_path).load("videos99")
    with pytest.raises(ValueError, match="is not a video of VIP_Fine val"):
        VIP(tmp_path, sequences=["videos8"])
    (fine / "Images").rename(fine / "images")
    with pytest.raises(ValueError, match="this folder of VIP_Fine is missing"):
        VIP(tmp_path)

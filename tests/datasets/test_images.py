"""Frames and masks are read exactly or refused in one sentence that names the file and the remedy."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from corrbench.datasets import image_size, read_image, read_index_mask

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
IDS = (np.arange(20 * 30).reshape(20, 30) // 200).astype(np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **settings: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **settings)
    return stream.getvalue()


def grey_png(depth: int, row: bytes) -> bytes:
    """A one-row greyscale PNG of a bit depth that Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 4, 1, depth, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" + row))
        + chunk(b"IEND", b"")
    )


def palette_image(ids: np.ndarray) -> Image.Image:
    image = Image.fromarray(ids)
    image.putpalette(list(range(256)) * 3)
    return image


def exif_turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.fromarray(RGB), "JPEG", exif=exif)


def translucent() -> Image.Image:
    return Image.fromarray(np.dstack([RGB, np.full((20, 30), 128, np.uint8)]))


def test_frames_come_back_as_rgb(tmp_path: Path) -> None:
    path = tmp_path / "f.png"
    path.write_bytes(encoded(Image.fromarray(RGB)))
    assert np.array_equal(read_image(path, (20, 30)), RGB)
    assert image_size(path) == (20, 30)
    path.write_bytes(encoded(Image.fromarray(RGB[..., 0])))
    assert np.array_equal(read_image(path), np.repeat(RGB[..., :1], 3, -1))


def test_jpeg_is_decoded_as_pillow_does(tmp_path: Path) -> None:
    path = tmp_path / "f.jpg"
    path.write_bytes(encoded(Image.fromarray(RGB), "JPEG", quality=90))
    with Image.open(path) as image:
        assert np.array_equal(read_image(path), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("image", [palette_image(IDS), Image.fromarray(IDS)], ids=["palette", "grey"])
def test_masks_come_back_as_numbers(tmp_path: Path, image: Image.Image) -> None:
    path = tmp_path / "m.png"
    path.write_bytes(encoded(image))
    assert np.array_equal(read_index_mask(path, (20, 30)), IDS)


def test_palettes_of_few_bits_keep_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    image = palette_image(IDS)
    path.write_bytes(encoded(image, bits=2))
    assert path.read_bytes()[24] == 2
    assert np.array_equal(read_index_mask(path), IDS)


JPEG, PNG = encoded(Image.fromarray(RGB), "JPEG"), encoded(Image.fromarray(RGB))
BAD_FRAMES: dict[str, tuple[bytes | None, str]] = {
    "missing": (None, "is missing; `corrbench data verify`"),
    "empty": (b"", "is empty; fetch it again"),
    "no image": (b"hello, this is text", "damaged or not an image (unknown format)"),
    "truncated JPEG": (JPEG[:-40], "damaged or not an image (image file is truncated"),
    "truncated PNG": (PNG[: len(PNG) // 2], "damaged or not an image ("),
    "16 bit": (encoded(Image.fromarray(np.full((20, 30), 999, np.uint16))), "a 16-bit greyscale PNG"),
    "alpha": (encoded(translucent()), "an 8-bit RGB-with-alpha PNG"),
    "CMYK": (encoded(Image.fromarray(RGB).convert("CMYK"), "JPEG"), "a JPEG file of mode CMYK"),
    "GIF": (encoded(palette_image(IDS), "GIF"), "a GIF file, but a frame is a JPEG or PNG file"),
    "EXIF": (exif_turned(), "EXIF orientation tag"),
    "size": (encoded(Image.fromarray(RGB[:, :10])), "is 10x20, expected 30x20"),
}


@pytest.mark.parametrize("case", BAD_FRAMES)
def test_bad_frames(tmp_path: Path, case: str) -> None:
    path = tmp_path / "00007.jpg"
    data, message = BAD_FRAMES[case]
    if data is not None:
        path.write_bytes(data)
    check_refused(read_image, path, message)


BAD_MASKS: dict[str, tuple[bytes | None, str]] = {
    "missing": (None, "this mask is missing"),
    "RGB": (encoded(Image.fromarray(RGB)), "an 8-bit RGB PNG, but a mask is a palette PNG"),
    "16 bit": (encoded(Image.fromarray(np.full((20, 30), 3, np.uint16))), "a 16-bit greyscale PNG"),
    "2-bit grey": (grey_png(2, b"\x1b"), "a 2-bit greyscale PNG"),
    "1 bit": (encoded(Image.fromarray(IDS > 0)), "a 1-bit greyscale PNG"),
    "JPEG": (encoded(Image.fromarray(IDS), "JPEG"), "a JPEG file of mode L, but a mask is a palette PNG"),
    "truncated": (encoded(palette_image(IDS))[:-30], "damaged or not an image ("),
    "size": (encoded(palette_image(IDS[:, :10])), "this mask is 10x20, expected 30x20"),
}


@pytest.mark.parametrize("case", BAD_MASKS)
def test_bad_masks(tmp_path: Path, case: str) -> None:
    path = tmp_path / "00007.png"
    data, message = BAD_MASKS[case]
    if data is not None:
        path.write_bytes(data)
    size = None if case == "2-bit grey" else (20, 30)
    check_refused(lambda p, _: read_index_mask(p, size), path, message)


def check_refused(read: Callable[[Path, tuple[int, int]], object], path: Path, message: str) -> None:
    with pytest.raises(ValueError) as error:
        read(path, (20, 30))
    text = str(error.value)
    assert text.startswith(f"{path}: ")
    assert message in text
    assert "\n" not in text


def test_truncated_files_are_refused_however_pillow_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f.jpg"
    path.write_bytes(JPEG[:-40])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ValueError, match="LOAD_TRUNCATED_IMAGES"):
        read_image(path)

"""Frames and index masks from files, strictly: what cannot be read exactly is refused in one sentence."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

Size = tuple[int, int]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_COLOURS = {0: "greyscale", 2: "RGB", 3: "palette", 4: "greyscale-with-alpha", 6: "RGB-with-alpha"}
EXIF_ORIENTATION = 0x0112


def read_image(path: str | Path, size: Size | None = None) -> np.ndarray:
    """A frame as uint8 `(h, w, 3)` RGB, from an 8-bit RGB, palette or grey JPEG or PNG file.

    `ValueError` naming the file for anything else: missing, not an image, truncated, 16-bit, with an alpha
    channel, CMYK, turned by an EXIF tag (decoders disagree on that one), or not of `size` (h, w) where one is
    given.
    """
    opened = _open(Path(path), "frame", size)
    image = opened.image
    if opened.depth == 16 or image.mode not in ("RGB", "L", "P") or "transparency" in image.info:
        raise ValueError(
            f"{path}: {opened.kind()}, but a frame is 8-bit RGB (or grey) without alpha; "
            "convert it, or fetch the original file again"
        )
    if image.format == "JPEG" and image.getexif().get(EXIF_ORIENTATION, 1) != 1:
        raise ValueError(
            f"{path}: has an EXIF orientation tag, which decoders treat differently; "
            "turn the pixels themselves and remove the tag"
        )
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def read_index_mask(path: str | Path, size: Size | None = None) -> np.ndarray:
    """A mask of object or class numbers as uint8 `(h, w)`, from a palette PNG or an 8-bit grey PNG file.

    `ValueError` naming the file for anything else: missing, truncated, RGB (colours are not numbers), 16-bit,
    grey with fewer than 8 bits (decoders rescale it), JPEG (changes numbers), or not of `size` (h, w) where
    one is given.
    """
    opened = _open(Path(path), "mask", size)
    if opened.colour != 3 and (opened.colour, opened.depth) != (0, 8):
        raise ValueError(
            f"{path}: {opened.kind()}, but a mask is a palette PNG (or 8-bit greyscale) whose pixel values "
            "are the object numbers; save the numbers, not their colours"
        )
    return np.asarray(opened.image)


def image_size(path: str | Path) -> Size:
    """(h, w) from the header of an image file, without decoding it."""
    image = _open(Path(path), "image", decode=False).image
    return image.height, image.width


@dataclass(frozen=True)
class _Opened:
    """An image, and its PNG bit depth and colour type (-1: not a PNG), which Pillow's modes hide."""

    image: Image.Image
    depth: int
    colour: int

    def kind(self) -> str:
        if self.colour < 0:
            return f"a {self.image.format} file of mode {self.image.mode}"
        return f"{'an' if self.depth == 8 else 'a'} {self.depth}-bit {PNG_COLOURS.get(self.colour, 'unknown')} PNG"


def _open(path: Path, role: str, size: Size | None = None, decode: bool = True) -> _Opened:
    """A JPEG or PNG file, decoded; Pillow's several errors for damage become one sentence."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise ValueError(
            f"{path}: not read, because PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set, which lets damaged files "
            "pass; set it to False"
        )
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(
            f"{path}: this {role} is missing; `corrbench data verify` lists all that is"
        ) from None
    except OSError as error:
        raise ValueError(f"{path}: this {role} cannot be read ({error.strerror}); check the path") from None
    try:
        image = Image.open(io.BytesIO(data))
        if decode:
            image.load()
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        what = "is empty" if not data else f"is damaged or not an image ({_first_line(error)})"
        raise ValueError(f"{path}: this {role} {what}; fetch it again") from None
    if image.format not in ("JPEG", "PNG"):
        raise ValueError(f"{path}: a {image.format} file, but a {role} is a JPEG or PNG file; convert it")
    if size is not None and (image.height, image.width) != tuple(size):
        raise ValueError(
            f"{path}: this {role} is {image.width}x{image.height}, expected {size[1]}x{size[0]} as the rest "
            "of its sequence; it must not be resized, use the original"
        )
    return _Opened(image, *((data[24], data[25]) if data.startswith(PNG_SIGNATURE) else (8, -1)))


def _first_line(error: Exception) -> str:
    text = (str(error) or type(error).__name__).splitlines()[0]
    return "unknown format" if text.startswith("cannot identify") else text

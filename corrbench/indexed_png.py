"""One mask as an indexed PNG, the form that DAVIS tools exchange: pixel values are object ids, colours are decoration.

Reading is stricter than an image library's: the header is looked at before anything is decoded, so that an RGB picture
of a mask, a 16-bit file or one of another size is named for what it is, and every chunk's checksum is compared.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Mask = npt.NDArray[np.uint8]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREYSCALE, _INDEXED = 0, 3
_COLOUR_TYPES = {2: "an RGB", 4: "a greyscale-and-alpha", 6: "an RGBA"}
_OTHER_FORMATS = {b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF"}


def davis_palette() -> bytes:
    """The 256 colours of PASCAL VOC and DAVIS, 768 bytes: the bits of an id dealt to red, green and blue in turn."""
    ids = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((ids >> channel) & 1) << (7 - bit)).astype(np.uint8)
        ids >>= 3
    return colours.tobytes()


_PALETTE = davis_palette()


def encode(mask_HW: npt.ArrayLike) -> bytes:
    """A PNG of colour type 3 with the DAVIS palette, from ids 0..255 (h, w)."""
    mask = np.ascontiguousarray(mask_HW)
    if mask.ndim != 2 or mask.size == 0 or mask.dtype != np.uint8:
        raise ValueError(f"a mask is uint8 (h, w), got {mask.dtype} {mask.shape}")
    image = Image.fromarray(mask)
    image.putpalette(_PALETTE)
    buffer = io.BytesIO()
    image.save(
        buffer, "PNG", compress_level=3
    )  # half the time of the default for 1.6 times the bytes, about 4 KB
    return buffer.getvalue()


def decode(path: Path, size: tuple[int, int], max_id: int) -> Mask:
    """Read one mask, uint8 (h, w), or raise ValueError naming the file, what was expected and the remedy.

    size: (h, w) of the sequence. max_id: the highest id that may appear. Accepted: indexed PNG, and 8-bit greyscale
    PNG whose values are ids (some tools drop the palette).
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be read ({error.strerror}); check the file and its permissions"
        ) from None
    _check_header(path, data, size)
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            mask = np.array(image).astype(np.uint8)
    except (OSError, SyntaxError, ValueError, zlib.error, struct.error) as error:
        raise ValueError(f"{path}: corrupt PNG ({error}); write this frame again") from None
    if mask.shape != size:  # cannot differ from the header, unless the image library is at fault
        raise ValueError(f"{path}: decodes to {mask.shape}, its header says {size}; write this frame again")
    _check_ids(path, mask, max_id)
    return mask


def _check_header(path: Path, data: bytes, size: tuple[int, int]) -> None:
    if not data:
        raise ValueError(f"{path}: empty file (0 bytes), expected an indexed PNG; write this frame again")
    if not data.startswith(SIGNATURE):
        other = next((name for magic, name in _OTHER_FORMATS.items() if data.startswith(magic)), None)
        found = f"a {other} file" if other else "not a PNG file"
        raise ValueError(f"{path}: {found}, expected an indexed PNG; save masks losslessly as indexed PNG")
    _check_chunks(path, data)
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    if depth == 16:
        raise ValueError(
            f"{path}: 16 bits a pixel, expected an indexed PNG of 8 bits; save the ids as uint8 with a palette"
        )
    if colour not in (_GREYSCALE, _INDEXED):
        kind = _COLOUR_TYPES.get(colour, f"a colour-type-{colour}")
        raise ValueError(
            f"{path}: {kind} PNG, expected an indexed PNG whose pixel values are object ids; "
            "save the ids themselves with a palette, not their colours"
        )
    if (height, width) != size:
        raise ValueError(
            f"{path}: {height} x {width} (height x width), expected {size[0]} x {size[1]}; "
            "predict at the annotation's size, or resize ids with nearest neighbour"
        )


def _check_chunks(path: Path, data: bytes) -> None:
    """Walk the chunks: lengths must fit, checksums agree, the first be IHDR, the last IEND."""
    at, first = len(SIGNATURE), True
    while True:
        head = data[at : at + 8]
        length, kind = struct.unpack(">I4s", head) if len(head) == 8 else (0, b"")
        body = data[at + 4 : at + 8 + length]
        tail = data[at + 8 + length : at + 12 + length]
        if len(head) < 8 or len(tail) < 4:
            raise ValueError(f"{path}: truncated PNG ({len(data)} bytes); write this frame again")
        if zlib.crc32(body) != int.from_bytes(tail, "big") or (first and (kind, length) != (b"IHDR", 13)):
            raise ValueError(f"{path}: corrupt PNG (a checksum does not match); write this frame again")
        if kind == b"IEND":
            return
        at, first = at + 12 + length, False


def _check_ids(path: Path, mask: Mask, max_id: int) -> None:
    if mask.max() <= max_id:
        return
    ids = np.unique(mask)
    above = ids[ids > max_id].tolist()
    listed = ", ".join(map(str, above[:6])) + (", ..." if len(above) > 6 else "")
    expected = f"ids here go from 0 (background) to {max_id}"
    if set(ids.tolist()) <= {0, 255}:
        remedy = "this looks like a black-and-white mask: save 1 for the object, not 255"
    elif len(above) > 20:
        remedy = "this looks like a photograph or a soft mask: save the id of each pixel"
    else:
        remedy = "number objects as the first frame's annotation does; 255 (void) is not for predictions"
    raise ValueError(f"{path}: unknown id {listed}; {expected}; {remedy}")

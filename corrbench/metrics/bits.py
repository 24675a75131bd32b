"""Masks as rows of bits: shifting, growing and counting many pixels with one machine instruction.

A mask (H, W) becomes words (H, n), bit i of word w being pixel x = w * bits + i, with at least `guard` zero bits after
the last pixel of a row. The guard lets a whole stack of rows be shifted as one long string of bits: what leaves a row
falls into the guard and never reaches the next row's pixels. The functions on words use nothing but `<< >> | & ^ ~`
and slices, so the same code runs on numpy (uint64) and on torch (uint8, any device), with equal results.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isqrt
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Words = Any  # numpy uint64 or torch uint8: see above


def pack_numpy(masks_HW: Iterable[npt.NDArray[Any]], guard: int) -> npt.NDArray[np.uint64]:
    """Pack the nonzero pixels of masks (H, W) into uint64 words (masks, H, ceil((W + guard) / 64))."""
    packed = []
    for mask in masks_HW:
        height, width = mask.shape
        row = np.zeros((height, -(-(width + guard) // 64) * 8), dtype=np.uint8)
        row[:, : -(-width // 8)] = np.packbits(mask, axis=1, bitorder="little")
        packed.append(row.view("<u8"))
    return np.stack(packed).astype(np.uint64, copy=False)


def pack_torch(mask_HW: torch.Tensor, guard: int) -> torch.Tensor:
    """Pack the nonzero pixels of masks (..., H, W) into uint8 words (..., H, ceil((W + guard) / 8))."""
    import torch

    columns = -(-(mask_HW.shape[-1] + guard) // 8) * 8
    bits = torch.nn.functional.pad((mask_HW != 0).to(torch.uint8), (0, columns - mask_HW.shape[-1]))
    words = bits[..., 0::8].clone()
    for bit in range(1, 8):
        words |= bits[..., bit::8] << bit
    return words


def cut(words_Hn: npt.NDArray[np.uint64], guard: int) -> tuple[npt.NDArray[np.uint64], int]:
    """The rows and words that hold any pixel of masks (..., H, n), with what `boundary` and `dilate` need around.

    Returns the smaller stack (..., h, m), contiguous, and the image column at which it starts; size 0 where all masks
    are empty. A pixel's boundary lies up to one row above and one column left of it; a guard of zeros stays on the right.
    """
    union = np.bitwise_or.reduce(words_Hn.reshape(-1, *words_Hn.shape[-2:]), axis=0)
    occupied = np.flatnonzero(union)
    if not len(occupied):
        return words_Hn[..., :0, :], 0
    upper, lower = int(occupied[0]) // union.shape[1], int(occupied[-1]) // union.shape[1]
    top, bottom = max(upper - 1, 0), lower + 2  # a zero row below keeps the last row's rule harmless
    used = np.bitwise_or.reduce(union[upper : lower + 1], axis=0)
    columns = np.flatnonzero(used)
    first, last = int(columns[0]), int(columns[-1])
    if first and int(used[first]) & 1:
        first -= 1
    free = 64 - int(used[last]).bit_length()
    return np.ascontiguousarray(
        words_Hn[..., top:bottom, first : last + 1 - (free - guard) // 64]
    ), 64 * first


def boundary(words_Hn: Words, width: int) -> Words:
    """The boundary pixels of masks (..., H, n): those that differ from their right, lower or lower right neighbour.

    As `_seg2bmap` of davis2017-evaluation has it (after Martin et al., 2003): the last row looks right only, the last
    column (pixel `width` - 1, wherever it lies) looks down only, and the last corner is never boundary.
    """
    right = _shifted_left(words_Hn, 1)
    edge = words_Hn ^ right
    down = words_Hn[..., :-1, :] ^ words_Hn[..., 1:, :]
    above = edge[..., :-1, :]  # a name for it: `edge[...] |= x` would also copy the part onto itself
    above |= down
    above |= words_Hn[..., :-1, :] ^ right[..., 1:, :]
    bits = _bits(words_Hn)
    edge[..., -1] &= (1 << (bits - 1)) - 1  # the guard's last bit saw the next row's first pixel
    word, bit = divmod(width - 1, bits)
    if word < words_Hn.shape[-1]:
        edge[..., word] &= ~(1 << bit) & ((1 << bits) - 1)
        edge[..., :-1, word] |= down[..., word] & (1 << bit)
    return edge


def dilate(words_Hn: Words, radius: int) -> Words:
    """Dilate masks (..., H, n) by the disk x*x + y*y <= radius*radius; needs a guard of `radius` bits.

    A disk is a stack of rows: each half-width is grown from the one before, and its copies laid above and below. Pixels
    outside the mask are empty. The guard of the result holds rubbish.
    """
    half_widths = [isqrt(radius * radius - dy * dy) for dy in range(radius + 1)]
    row, grown = words_Hn, 0
    result = words_Hn ^ words_Hn
    for dy in range(radius, -1, -1):
        row, grown = _grow(row, grown, half_widths[dy]), half_widths[dy]
        if dy >= words_Hn.shape[-2]:
            continue
        if dy == 0:
            result |= row
        else:
            below, above = result[..., dy:, :], result[..., :-dy, :]
            below |= row[..., :-dy, :]
            above |= row[..., dy:, :]
    return result


def count(words_Hn: Words) -> Any:
    """Number of set bits of each mask: (..., H, n) -> int64 (...)."""
    if isinstance(words_Hn, np.ndarray):
        if hasattr(np, "bitwise_count"):  # numpy 2
            return np.bitwise_count(words_Hn).sum(axis=(-2, -1), dtype=np.int64)
        return _BITS_OF_BYTE[words_Hn.view(np.uint8)].sum(axis=(-2, -1), dtype=np.int64)
    pairs = words_Hn - ((words_Hn >> 1) & 0x55)
    nibbles = (pairs & 0x33) + ((pairs >> 2) & 0x33)
    return ((nibbles + (nibbles >> 4)) & 0x0F).flatten(-2).sum(-1)


_BITS_OF_BYTE = np.array([value.bit_count() for value in range(256)], dtype=np.uint8)


def _bits(words: Words) -> int:
    return 8 * int(words.dtype.itemsize)


def _grow(row: Words, grown: int, half_width: int) -> Words:
    """Dilate along x by half_width, given `row` that is already dilated by `grown`."""
    while grown < half_width:
        step = min(half_width - grown, 2 * grown + 1, _bits(row) - 1)
        wider = _shifted_left(row, step)
        wider |= _shifted_right(row, step)
        if step > grown:
            wider |= row  # the two shifted copies leave a gap in the middle
        row, grown = wider, grown + step
    return row


def _shifted_left(words: Words, step: int) -> Words:
    """Pixel x takes the value of pixel x + step (0 < step < bits), over the whole stack as one string of bits."""
    flat = words.reshape(-1)
    moved = flat >> step
    carried = moved[:-1]
    carried |= flat[1:] << (_bits(words) - step)
    return moved.reshape(words.shape)


def _shifted_right(words: Words, step: int) -> Words:
    flat = words.reshape(-1)
    moved = flat << step
    carried = moved[1:]
    carried |= flat[:-1] >> (_bits(words) - step)
    return moved.reshape(words.shape)

"""Similarities of a tile of queries to all keys that they see: the inner part of every exact path on plain torch.

A tile of queries shares a box of keys, the union of its windows, clipped at the border. The box's similarities to all
context frames are one (frames, rows, columns, queries) array of some MB, with -inf where a query's own window does not
reach. Column strips of all frames are packed once for many targets, so that a box is a view of them, never a copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from corrbench.propagation.types import Context, Window

TILE = (8, 16)  # rows and columns of queries that share a product; measured in docs/performance.md
BLOCK = (
    1 << 23
)  # similarities held at once, in floats: frames of a tile are taken in blocks of at most this many
STRIP = 1 << 23  # packed key strips held at once, in floats, beyond the context of one target


@dataclass(frozen=True)
class Keys:
    """Distinct context frames that a tile sees alike: whole, or through the window; `slots[i]` are those of `frames[i]`."""

    whole: bool
    frames: tuple[int, ...]
    slots: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Block:
    """Similarities (frames, rows, columns, queries) of one tile of target t to some of its context frames.

    -inf where a query's window does not reach. Key row 0 and column 0 are row `top`, column `left` of the grid; `cells`
    are the queries' positions in the grid. The array is overwritten by the next block.
    """

    t: int
    cells: Tensor
    keys: Keys
    similarity: Tensor
    top: int
    left: int

    def cell(self, position: Tensor, width: int) -> tuple[Tensor, Tensor]:
        """Frame (its place in `keys`) and grid cell of positions in the flattened (frames, rows, columns)."""
        _, rows, columns, _ = self.similarity.shape
        y, x = position // columns % rows + self.top, position % columns + self.left
        return position // (rows * columns), y * width + x


@dataclass(frozen=True)
class _Area:
    """Rows and columns of the grid, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    def around(self, reach: int, h: int, w: int) -> _Area:
        return _Area(
            max(0, self.top - reach),
            min(h, self.bottom + reach),
            max(0, self.left - reach),
            min(w, self.right + reach),
        )

    @property
    def size(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)


@dataclass(frozen=True)
class _Strip:
    """Key vectors (frames, h, columns, C): `vectors[f - base]` of frame f >= base, `first[0]` of frame 0."""

    vectors: Tensor
    first: Tensor
    base: int

    def multiply(self, query_Cq: Tensor, frames: tuple[int, ...], rows: slice, out: Tensor) -> None:
        """Products of these rows' keys with the queries into `out` (frames, keys, queries).

        Frames that follow each other are one call.
        """
        start = 0
        while start < len(frames):
            stop = start + 1
            while frames[start] > 0 and stop < len(frames) and frames[stop] == frames[stop - 1] + 1:
                stop += 1
            f = frames[start] - self.base
            held = self.first if frames[start] == 0 else self.vectors[f : f + stop - start]
            keys = held[:, rows].flatten(1, 2)
            torch.bmm(keys, query_Cq.expand(len(keys), *query_Cq.shape), out=out[start:stop])
            start = stop


def blocks(
    vectors_ThwC: Tensor,
    targets: range,
    window: Window,
    context: Context,
    tile: tuple[int, int] = TILE,
    starts: range | None = None,
) -> Iterator[Block]:
    """Similarities of every tile of every target frame to all its context frames; of a tile, slots ascend.

    `starts` are the first columns of the tiles that are wanted, all of `columns_of` if None.
    """
    _, h, w, channels = vectors_ThwC.shape
    rows, columns = tile
    reach = 0 if window.mask == "none" else len(window.half_widths()) - 1
    buffer = vectors_ThwC.new_empty(min(BLOCK, len(vectors_ThwC) * h * w * rows * columns))
    for x in starts or columns_of(w, tile):
        left, right = max(0, x - reach), min(w, x + columns + reach)
        for some in _chunks(targets, max(1, STRIP // (h * (right - left) * channels))):
            base = max(1, some.start - context.frames)
            strip = _Strip(
                vectors_ThwC[base : some.stop - 1, :, left:right].contiguous(),  # the last target is no key
                vectors_ThwC[:1, :, left:right].contiguous(),
                base,
            )
            for y in range(0, h, rows):
                area = _Area(y, min(y + rows, h), x, min(x + columns, w))
                yield from _tile(
                    vectors_ThwC, some, window, context, area, area.around(reach, h, w), strip, buffer
                )
            del strip  # or two of them are held while the next one is packed


def columns_of(w: int, tile: tuple[int, int]) -> range:
    """First columns of the tiles of a grid w cells wide."""
    if min(tile) < 1:
        raise ValueError(f"tile={tile!r}: expected (rows, columns), both at least 1")
    return range(0, w, tile[1])


def _tile(
    vectors_ThwC: Tensor,
    targets: range,
    window: Window,
    context: Context,
    area: _Area,
    box: _Area,
    strip: _Strip,
    buffer: Tensor,
) -> Iterator[Block]:
    """The blocks of one tile, of target after target."""
    _, h, w, _ = vectors_ThwC.shape
    barrier = _barrier(window, area, box, vectors_ThwC)
    y, x = torch.arange(area.top, area.bottom), torch.arange(area.left, area.right)
    cells = (y[:, None] * w + x).flatten().to(vectors_ThwC.device)
    everything = _Strip(vectors_ThwC, vectors_ThwC[:1], 0)
    for t in targets:
        query = vectors_ThwC[t, area.top : area.bottom, area.left : area.right].flatten(0, 1).T.contiguous()
        for keys in _keys(context.of(t), window):
            source, seen = (everything, _Area(0, h, 0, w)) if keys.whole else (strip, box)
            one = seen.size * area.size
            for part in _split(keys, max(1, BLOCK // one)):
                if buffer.numel() < len(part.frames) * one:  # a single frame may be larger than a block
                    buffer = buffer.new_empty(len(part.frames) * one)
                flat = buffer[: len(part.frames) * one].view(len(part.frames), seen.size, area.size)
                source.multiply(query, part.frames, slice(seen.top, seen.bottom), flat)
                similarity = flat.unflatten(1, (seen.bottom - seen.top, seen.right - seen.left))
                if barrier is not None and not keys.whole:
                    similarity += barrier
                yield Block(t, cells, part, similarity, seen.top, seen.left)


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Run with `count` torch threads, then as before."""
    before = torch.get_num_threads()
    if count is not None:
        if count < 1:
            raise ValueError(f"threads={count!r}: expected at least 1")
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _keys(slots: tuple[int, ...], window: Window) -> list[Keys]:
    """The slots of a target as distinct frames, those seen whole first (slot 0, or all)."""
    groups: dict[bool, dict[int, list[int]]] = {}
    for slot, frame in enumerate(slots):
        groups.setdefault(window.sees_all(slot), {}).setdefault(frame, []).append(slot)
    return [
        Keys(whole, tuple(groups[whole]), tuple(map(tuple, groups[whole].values())))
        for whole in (True, False)
        if whole in groups
    ]


def _split(keys: Keys, most: int) -> list[Keys]:
    return [
        Keys(keys.whole, keys.frames[i : i + most], keys.slots[i : i + most])
        for i in range(0, len(keys.frames), most)
    ]


def _barrier(window: Window, tile: _Area, box: _Area, like: Tensor) -> Tensor | None:
    """0 where a query of the tile sees a key of the box, -inf elsewhere: (rows, columns, queries)."""
    if window.mask == "none":
        return None
    widths = torch.tensor(window.half_widths())
    dy = (torch.arange(box.top, box.bottom)[:, None] - torch.arange(tile.top, tile.bottom)).abs()
    dx = (torch.arange(box.left, box.right)[:, None] - torch.arange(tile.left, tile.right)).abs()
    width = torch.where(dy < len(widths), widths[dy.clamp_max(len(widths) - 1)], -1)
    seen = dx[None, :, None, :] <= width[:, None, :, None]
    return torch.where(seen, 0.0, -torch.inf).flatten(2).to(like)


def _chunks(targets: range, most: int) -> list[range]:
    return [targets[i : i + most] for i in range(0, len(targets), most)]

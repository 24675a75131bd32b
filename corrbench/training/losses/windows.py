"""Square windows without the dense affinity: tiles of queries, each against the keys its window can reach.

A tile of T x T queries and radius r sees (T + 2m) x (T + 2m) keys, margin m >= r: at 64 x 64 cells, r = 12 and T = 8 that
is 1,024 keys a query instead of 4,096, in GEMMs. Inside a tile the exact window is a constant mask; keys beyond the map
are zero vectors, masked where the caller says so.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F

# Added to a masked logit. Finite, so that a padded query whose window holds no key stays finite; exp() of it is exactly 0.
MASKED = -1e30


@dataclass(frozen=True)
class Tiling:
    """How a grid (h, w) is cut: `tile` queries a side, `margin` more keys on each side, window radius `radius`."""

    size: tuple[int, int]
    radius: int
    tile: int
    margin: int

    def __post_init__(self) -> None:
        if self.radius < 0 or self.tile < 1 or self.margin < self.radius:
            raise ValueError(f"a tiling needs radius >= 0, tile >= 1 and margin >= radius, got {self}")

    @classmethod
    def of(cls, size: tuple[int, int], radius: int) -> Tiling:
        """The tiling for a window of `radius`, with the tile side that was fastest for it."""
        return cls(size, radius, 8 if radius >= 8 else 4, radius)

    @property
    def counts(self) -> tuple[int, int]:
        """Tiles down and across."""
        return -(-self.size[0] // self.tile), -(-self.size[1] // self.tile)

    @property
    def reach(self) -> int:
        """Keys a side of a tile."""
        return self.tile + 2 * self.margin

    def window_mask(self, like: torch.Tensor) -> torch.Tensor:
        """0 inside the window, MASKED outside: (tile*tile, reach*reach), of `like`'s dtype and device."""
        return _window_mask(self, like.dtype, like.device)

    def map_mask(self, row: int, like: torch.Tensor) -> torch.Tensor:
        """0 for keys on the map, MASKED for those beyond it: (tiles across, 1, reach*reach), for tile row `row`."""
        return _map_mask(self, like.dtype, like.device)[row]

    def queries(self, maps_BChw: torch.Tensor) -> torch.Tensor:
        """(B, tiles down, tiles across, tile*tile, C): the queries of each tile, zeros beyond the map."""
        (h, w), (down, across), t = self.size, self.counts, self.tile
        padded = F.pad(maps_BChw, (0, across * t - w, 0, down * t - h))
        b, c = padded.shape[:2]
        cut = padded.view(b, c, down, t, across, t).permute(0, 2, 4, 3, 5, 1)
        return cut.reshape(b, down, across, t * t, c)

    def untile(self, tiles_BDAQC: torch.Tensor) -> torch.Tensor:
        """Inverse of `queries`: (B, C, h, w)."""
        (h, w), (down, across), t = self.size, self.counts, self.tile
        b, c = tiles_BDAQC.shape[0], tiles_BDAQC.shape[-1]
        maps = tiles_BDAQC.view(b, down, across, t, t, c).permute(0, 5, 1, 3, 2, 4)
        return maps.reshape(b, c, down * t, across * t)[:, :, :h, :w]

    def padded_keys(self, maps_BChw: torch.Tensor) -> torch.Tensor:
        """(B, H', W', C) with zeros around the map, so that every tile's keys are a slice."""
        (h, w), (down, across), t, m = self.size, self.counts, self.tile, self.margin
        padded = F.pad(maps_BChw, (m, across * t - w + m, m, down * t - h + m))
        return padded.permute(0, 2, 3, 1).contiguous()

    def keys(self, padded_BHWC: torch.Tensor, row: int) -> torch.Tensor:
        """(B, tiles across, reach*reach, C): the keys of each tile of tile row `row`."""
        rows = padded_BHWC[:, row * self.tile : row * self.tile + self.reach]
        cut = rows.unfold(2, self.reach, self.tile)  # (B, reach, across, C, reach)
        b, _, across, c, _ = cut.shape
        return cut.permute(0, 2, 1, 4, 3).reshape(b, across, self.reach**2, c)

    def add_keys(self, padded_BHWC: torch.Tensor, row: int, tiles_BAKC: torch.Tensor) -> None:
        """Adjoint of `keys`: add each tile's (reach*reach, C) back where its keys came from, in place."""
        b, across, _, c = tiles_BAKC.shape
        cut = tiles_BAKC.view(b, across, self.reach, self.reach, c)
        rows = padded_BHWC[:, row * self.tile : row * self.tile + self.reach]
        for x in range(across):
            rows[:, :, x * self.tile : x * self.tile + self.reach] += cut[:, x]

    def cropped_keys(self, padded_BHWC: torch.Tensor) -> torch.Tensor:
        """Adjoint of `padded_keys`: (B, C, h, w)."""
        (h, w), m = self.size, self.margin
        return padded_BHWC[:, m : m + h, m : m + w].permute(0, 3, 1, 2)

    def rows(self) -> Iterator[int]:
        """Tile rows, the unit of work that bounds memory."""
        return iter(range(self.counts[0]))


@functools.lru_cache(maxsize=64)
def _window_mask(tiling: Tiling, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    t, m, reach = tiling.tile, tiling.margin, tiling.reach
    near = (torch.arange(t)[:, None] + m - torch.arange(reach)[None]).abs() <= tiling.radius  # (t, reach)
    inside = near[:, None, :, None] & near[None, :, None, :]
    mask = torch.zeros(inside.shape, dtype=dtype).masked_fill(~inside, MASKED)
    return mask.view(t * t, reach * reach).to(device)


@functools.lru_cache(maxsize=64)
def _map_mask(tiling: Tiling, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    on_map = [
        (
            (
                at := torch.arange(count)[:, None] * tiling.tile
                - tiling.margin
                + torch.arange(tiling.reach)[None]
            )
            >= 0
        )
        & (at < side)
        for count, side in zip(tiling.counts, tiling.size, strict=True)
    ]
    inside = on_map[0][:, None, :, None] & on_map[1][None, :, None, :]  # (down, across, reach, reach)
    mask = torch.zeros(inside.shape, dtype=dtype).masked_fill(~inside, MASKED)
    return mask.flatten(2)[:, :, None].to(device)

"""What propagation speaks in: which cells a query sees, which frames are context, and the neighbours found."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Window:
    """The cells of a context frame that a query cell sees: those within `radius` cells of its own position.

    `square`: max(|dy|, |dx|), `circle`: the Euclidean length, must be <= radius (< radius where `strict`); `none`: the
    whole frame. Slot 0, frame 0 in its role as "first", is seen whole where `first_masked` is False; other slots that
    show frame 0 are masked like any.
    """

    mask: str = "square"
    radius: float = 12.0
    strict: bool = False
    first_masked: bool = True

    def __post_init__(self) -> None:
        if self.mask not in ("square", "circle", "none"):
            raise ValueError(f"window mask={self.mask!r}: expected square, circle or none")
        if not (self.radius >= 0 and math.isfinite(self.radius)):
            raise ValueError(f"window radius={self.radius!r}: expected a finite number of at least 0")
        if self.mask != "none" and self.strict and self.radius == 0:
            raise ValueError(
                "window radius=0 with strict=True leaves no key (distance < 0): raise the radius"
            )

    def half_widths(self) -> tuple[int, ...]:
        """Entry |dy| is the largest |dx| that is seen |dy| rows away; no entry, nothing seen. Describes the mask."""
        if self.mask == "none":
            raise ValueError("a window without a mask has no half-widths: it shows the whole frame")
        reach = math.ceil(self.radius) - 1 if self.strict else math.floor(self.radius)
        if self.mask == "square":
            return (reach,) * (reach + 1)
        return tuple(max(dx for dx in range(reach + 1) if self._sees(dy, dx)) for dy in range(reach + 1))

    def offsets(self) -> Tensor:
        """All (dy, dx) that are seen, int64 (n, 2), in raster order."""
        widths = self.half_widths()
        rows = range(1 - len(widths), len(widths))
        return torch.tensor(
            [(dy, dx) for dy in rows for dx in range(-widths[abs(dy)], widths[abs(dy)] + 1)],
            dtype=torch.int64,
        )

    def dense(self, h: int, w: int) -> Tensor:
        """The mask of a grid as bool (h*w queries, h*w keys)."""
        if self.mask == "none":
            return torch.ones(h * w, h * w, dtype=torch.bool)
        y, x = torch.arange(h), torch.arange(w)
        dy, dx = (y[:, None] - y).abs(), (x[:, None] - x).abs()
        widths = torch.full((h,), -1)
        known = torch.tensor(self.half_widths()[:h])
        widths[: len(known)] = known
        return (dx[None, :, None, :] <= widths[dy][:, None, :, None]).reshape(h * w, h * w)

    def sees_all(self, slot: int) -> bool:
        """Whether a slot is not masked."""
        return self.mask == "none" or (slot == 0 and not self.first_masked)

    def _sees(self, dy: int, dx: int) -> bool:
        square, limit = dy * dy + dx * dx, self.radius * self.radius
        return square < limit if self.strict else square <= limit


@dataclass(frozen=True)
class Context:
    """The frames whose labels target frame t is made of: frame 0, then up to `frames` preceding ones, oldest first.

    `early` says what happens where fewer exist. `twice`: frame 0 is there as first and again as a preceding frame
    (STT, VFS: frame 1 sees it twice); `copies`: missing frames are copies of frame 0 (CRW: frame 1 sees 1 + `frames` of
    them); `unique`: frame 0 only once, fewer slots (DINO).
    """

    frames: int = 20
    early: str = "twice"

    def __post_init__(self) -> None:
        if self.early not in ("twice", "copies", "unique"):
            raise ValueError(f"context early={self.early!r}: expected twice, copies or unique")
        if self.frames < 0:
            raise ValueError(f"context frames={self.frames!r}: expected at least 0")

    def of(self, t: int) -> tuple[int, ...]:
        """Frame numbers of target frame t >= 1, one a slot; slot 0 is always frame 0."""
        if t < 1:
            raise ValueError(f"target frame {t}: only frames from 1 on have a context")
        start = t - self.frames
        if self.early == "copies":
            return (0, *(max(0, i) for i in range(start, t)))
        return (0, *range(max(start, 1 if self.early == "unique" else 0), t))


@dataclass(frozen=True)
class Neighbours:
    """The best keys of every query of frames 1..T-1, ordered by (similarity descending, index ascending).

    `index` int32 (T-1, h*w, k) is slot * h*w + cell in the context of that frame; `similarity` float32 of the same
    shape is the cosine (or the dot product of features left as they are). Where fewer than k keys exist the rest is
    index -1 and similarity -inf. The same frame in two slots makes two keys of exactly equal similarity. `redone`: how
    many queries a path of reduced precision could not certify and computed again in float32; None where it has no count.
    """

    index: Tensor
    similarity: Tensor
    grid: tuple[int, int]
    context: Context
    redone: int | None = None

    def __post_init__(self) -> None:
        cells = self.grid[0] * self.grid[1]
        if self.index.shape != self.similarity.shape or self.index.ndim != 3 or self.index.shape[1] != cells:
            raise ValueError(
                f"neighbours of shape {tuple(self.index.shape)} and {tuple(self.similarity.shape)}: expected "
                f"twice (frames - 1, {cells}, k) for a grid of {self.grid[0]}x{self.grid[1]}"
            )

    @property
    def k(self) -> int:
        return self.index.shape[2]


def as_vectors(features_TChw: Tensor, normalise: bool, start: int = 0) -> Tensor:
    """Features as float32 vectors (T, h*w, C), of unit length if `normalise`; a zero vector stays zero.

    Every path starts here, so that they agree on the rounding of the normalisation. `start` is the number of the first
    frame given, for messages. ValueError for features that are
    not four-dimensional, empty, or hold NaN, infinity, or values whose squares overflow.
    """
    if features_TChw.ndim != 4 or 0 in features_TChw.shape:
        raise ValueError(
            f"features of shape {tuple(features_TChw.shape)}: expected (frames, channels, h, w), none of them 0"
        )
    if not features_TChw.dtype.is_floating_point:
        raise ValueError(f"features of type {features_TChw.dtype}: expected floating point")
    frames, channels, h, w = features_TChw.shape
    vectors = torch.empty(frames, h * w, channels, device=features_TChw.device)
    for t in range(frames):  # a frame at a time: no second copy of the clip
        vectors[t], finite = frame_vectors(features_TChw[t], normalise)
        if not finite:
            raise not_finite(start + t)
    return vectors


def frame_vectors(features_Chw: Tensor, normalise: bool) -> tuple[Tensor, Tensor]:
    """One frame of `as_vectors`, float32 (h*w, C), and whether it is finite, as a bool tensor: nothing waits for a GPU."""
    maps = features_Chw.detach().float()
    norm = torch.linalg.vector_norm(maps, dim=0, keepdim=True)  # over maps, as released code: same rounding
    finite = torch.isfinite(norm * norm).all()
    return (maps / norm.clamp_min(1e-12) if normalise else maps).flatten(1).T, finite


def not_finite(frame: int) -> ValueError:
    """The error of a frame that `frame_vectors` finds not finite."""
    return ValueError(
        f"features of frame {frame} hold NaN, infinity or values too large to be squared: the backbone's output "
        "must be finite"
    )


def check_count(k: int) -> None:
    """ValueError unless k, the number of neighbours asked for, is at least 1."""
    if k < 1:
        raise ValueError(f"k={k!r} neighbours: expected at least 1")

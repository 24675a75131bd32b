"""Exact neighbours on a GPU: fp16 tensor cores find candidates within a certified bound, float32 ranks them.

A program owns 8 x 16 queries and streams the keys of their common window through the tensor cores, entry by entry;
affinities are never written. Rounding to fp16 moves a similarity by at most |dq||k| + |q||dk| + |dq||dk| (measured
residuals) plus what the additions lose; every key within twice that of a lower bound of the k-th best is kept, rescored
in float32 and ordered by (similarity descending, index ascending). A query whose buffer overflows (near-constant regions,
more ties than room) is redone in float32 and counted. Nothing is approximate.
"""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from corrbench import memory
from corrbench.propagation.gpu_frames import Frames
from corrbench.propagation.types import Context, Neighbours, Window, check_count

MOST = 32  # the largest k of this path; the lower bound needs more groups than that
REDO = 2**28  # bytes of similarities at once, where queries are redone


@dataclass(frozen=True)
class Launch:
    """How the search kernel is laid out: queries of a tile, keys a step, warps and stages. Changes the time only."""

    tile: tuple[int, int] = (8, 16)
    keys: int = 64
    warps: int = 8
    stages: int = 2


@cache
def available() -> bool:
    """Whether torch sees a GPU that Triton compiles for."""
    if not torch.cuda.is_available():
        return False
    try:
        import triton  # noqa: F401
    except ImportError:
        return False
    return torch.cuda.get_device_capability() >= (7, 5)


def interpreted() -> bool:
    """Whether Triton's interpreter is on, which runs the kernels on CPU tensors."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@dataclass(frozen=True)
class Entries:
    """The distinct context frames of target frames: an entry is a frame with its window, and the slots that show it."""

    target: Tensor  # int32 (n,), rows of the frames held
    row: Tensor  # int32 (n, E)
    whole: Tensor  # int32 (n, E), 1 where the entry is not masked
    count: Tensor  # int32 (n,)
    slots: Tensor  # int32 (n, E, copies), ascending, -1 behind the last


def entries_of(
    targets: range, window: Window, context: Context, place: dict[int, int], device: torch.device
) -> Entries:
    """Entries of the target frames, oldest first, the newest context frame last; `place` is the row of a frame."""
    tables: list[dict[tuple[int, bool], list[int]]] = []
    for t in targets:
        table: dict[tuple[int, bool], list[int]] = {}
        for slot, f in enumerate(context.of(t)):
            table.setdefault((f, window.sees_all(slot)), []).append(slot)
        tables.append(table)
    width = max(len(table) for table in tables)
    copies = max(len(slots) for table in tables for slots in table.values())
    row, whole = torch.zeros(2, len(tables), width, dtype=torch.int32)
    slots = torch.full((len(tables), width, copies), -1, dtype=torch.int32)
    for i, table in enumerate(tables):
        row[i, : len(table)] = torch.tensor([place[f] for f, _ in table])
        whole[i, : len(table)] = torch.tensor([int(w) for _, w in table])
        for entry, own in enumerate(table.values()):
            slots[i, entry, : len(own)] = torch.tensor(own)
    target = torch.tensor([place[t] for t in targets], dtype=torch.int32)
    count = torch.tensor([len(table) for table in tables], dtype=torch.int32)
    return Entries(*(t.to(device) for t in (target, row, whole, count, slots)))


def neighbours(
    features_TChw: Tensor,
    window: Window,
    context: Context,
    k: int,
    *,
    normalise: bool = True,
    budget: int | None = None,
    device: torch.device | str | None = None,
    launch: Launch | None = None,
) -> Neighbours:
    """The k best keys of every query of frames 1..T-1, see `Neighbours`.

    `device` is the GPU (absent: where the features lie; they may lie in the CPU's memory and be streamed). `budget` bounds
    the bytes that the search takes there beyond the features (see `memory.Clip`); without one it is what is free. k above
    32 runs the tiled form. Nothing of this changes a result. Out of memory, frames are searched in groups half the size.
    """
    check_count(k)
    device = torch.device(device) if device is not None else features_TChw.device
    if features_TChw.ndim != 4 or 0 in features_TChw.shape or k > MOST:
        from corrbench.propagation import cpu  # also says what is wrong with features of another shape

        return cpu.neighbours(features_TChw.to(device), window, context, k, normalise=normalise)
    frames, channels, h, w = features_TChw.shape
    clip = memory.Clip(frames, (h, w), channels, context.frames, k)
    step = clip.targets_at_once(memory.free(device) if budget is None else budget)
    index = torch.full((frames - 1, h * w, k), -1, dtype=torch.int32, device=device)
    similarity = torch.full((frames - 1, h * w, k), -math.inf, device=device)
    redone, start = 0, 1
    held: Frames | None = None
    while start < frames:
        targets = range(start, min(start + step, frames))
        try:
            held = held or Frames(features_TChw, normalise, device, clip.rows(step))
            held.hold({f for t in targets for f in (t, *context.of(t))})
            part = slice(start - 1, targets[-1])
            redone += _search(
                held, targets, window, context, k, (h, w), index[part], similarity[part], launch or Launch()
            )
        except torch.OutOfMemoryError:
            if step == 1:
                raise
            held, step = None, max(1, step // 2)
            torch.cuda.empty_cache()
            warnings.warn(
                f"out of memory on {device}: going on with {step} frames at once",
                RuntimeWarning,
                stacklevel=2,
            )
            continue
        start = targets.stop
    return Neighbours(index, similarity, (h, w), context, redone)


def _search(
    held: Frames, targets: range, window: Window, context: Context, k: int, grid: tuple[int, int], index: Tensor,
    similarity: Tensor, launch: Launch,
) -> int:  # fmt: skip
    """Fill index and similarity (targets, Q, k); how many queries were redone."""
    from corrbench.propagation import gpu_kernels as kernels

    h, w = grid
    n, cells, channels = len(targets), h * w, held.vectors.shape[2]
    device = held.device
    entries = entries_of(targets, window, context, held.row, device)
    width, copies = entries.slots.shape[1:]
    slack, scale = held.slack(), held.scale()
    buffer = torch.empty(n, cells, memory.ROOM, dtype=torch.int32, device=device)
    score = torch.empty(n, cells, memory.ROOM, device=device)
    found = torch.zeros(n, cells, dtype=torch.int32, device=device)
    mask = {"none": 0, "square": 1, "circle": 2}[window.mask]
    reach, limit = _reach(window)
    block = min(256, max(16, 1 << (channels - 1).bit_length())) if channels <= 256 else 128
    ty, tx = launch.tile
    kernels.search[(math.ceil(h / ty) * math.ceil(w / tx), n)](
        held.half, slack if scale is None else scale, entries.target, entries.row, entries.whole, entries.count, slack,
        buffer, score, found, h, w, channels, width, reach, limit, k, STEPS=14, SHAPE=mask, SCALED=scale is not None,
        TY=ty, TX=tx, BN=launch.keys, BC=block, CHUNKS=math.ceil(channels / block), CAP=memory.ROOM,
        num_warps=launch.warps, num_stages=launch.stages,
    )  # fmt: skip
    rows = n * cells
    kept = torch.empty(n, cells, memory.KEPT, dtype=torch.int32, device=device)
    crowded = torch.empty(n, cells, dtype=torch.int8, device=device)
    many = 64 if interpreted() else 8
    kernels.compact[(math.ceil(rows / many),)](
        buffer, score, found, entries.target, slack, kept, crowded, rows, cells, k, STEPS=20, CAP=memory.ROOM,
        KEPT=memory.KEPT, BR=many, num_warps=4,
    )  # fmt: skip
    del buffer, score
    many = 64 if interpreted() else 4
    kernels.rank[(math.ceil(rows / many),)](
        held.vectors, entries.target, entries.row, entries.slots, kept, index, similarity, rows, cells, channels, width,
        copies, k, KEPT=memory.KEPT, BR=many, BC=32, num_warps=4,
    )  # fmt: skip
    del kept
    return _redo(held, entries, crowded, targets, window, context, k, grid, index, similarity)


def _reach(window: Window) -> tuple[int, int]:
    """Largest |dy| or |dx| that is seen, and largest dy*dy + dx*dx (integers, so a circle is exact)."""
    if window.mask == "none":
        return 0, 0
    square = window.radius * window.radius
    limit = math.ceil(square) - 1 if window.strict else math.floor(square)
    return len(window.half_widths()) - 1, limit


def _redo(
    held: Frames, entries: Entries, crowded: Tensor, targets: range, window: Window, context: Context, k: int,
    grid: tuple[int, int], index: Tensor, similarity: Tensor,
) -> int:  # fmt: skip
    """Crowded queries (n, Q) in float32: whole frames where they are many, else one by one; how many there were."""
    from corrbench.propagation import gpu_kernels as kernels

    h, w = grid
    places = crowded.nonzero()
    if not len(places):
        return 0
    frame, cell = places.int().unbind(1)
    frame, cell = frame.contiguous(), cell.contiguous()
    width, copies = entries.slots.shape[1:]
    reach, limit = _reach(window)
    mask = {"none": 0, "square": 1, "circle": 2}[window.mask]
    whole = window.mask == "none" or not window.first_masked
    span = h * w if whole else min(h, 2 * reach + 1) * min(w, 2 * reach + 1)
    many = 512 if interpreted() else 64
    step = max(1, REDO // (4 * width * span))
    for start in range(0, len(places), step):
        at, query = frame[start : start + step], cell[start : start + step]
        score = torch.empty(len(at), width, span, device=held.device)
        kernels.measure[(len(at), width, math.ceil(span / many))](
            held.vectors, at, query, entries.target, entries.row, entries.whole, entries.count, score, h, w,
            held.vectors.shape[2], width, span, reach, limit, SHAPE=mask, BN=many, BC=32, num_warps=4,
        )  # fmt: skip
        best = torch.empty(len(at), k, dtype=torch.int32, device=held.device)
        value = torch.empty(len(at), k, device=held.device)
        kernels.choose[(len(at),)](
            score, at, query, entries.whole, entries.slots, best, value, h, w, width, span, reach, copies, k,
            SHAPE=mask, BN=1024, num_warps=4,
        )  # fmt: skip
        index[at.long(), query.long()], similarity[at.long(), query.long()] = best, value
    return len(places)

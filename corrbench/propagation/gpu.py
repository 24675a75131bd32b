"""Exact neighbours on a GPU: fp16 tensor cores find candidates within a certified bound, float32 ranks them.

A program owns 8 x 16 queries and streams the keys of their common window through the tensor cores, entry by entry;
affinities are never written. Rounding to fp16 moves a similarity by at most |dq||k| + |q||dk| + |dq||dk| (measured
residuals) plus the accumulation's error; every key within twice that of a lower bound of the k-th best is kept, rescored
in float32 and ordered by (similarity descending, index ascending). A query whose buffer overflows (near-constant regions,
more ties than room) is redone in float32 and counted. Nothing is approximate.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from corrbench.propagation.types import Context, Neighbours, Window, as_vectors, check_count

ROOM = 128  # candidates a query while searching
KEPT = 48  # candidates a query that are rescored; more within the bound than this, and the query is redone
TILE = (8, 16)
MOST = 32  # the largest k of this path; the lower bound needs more groups (BN) than that
BUDGET = 4 * 2**30  # bytes of candidate buffers at once, where no budget is given


@dataclass
class Counts:
    """Queries searched and queries redone in float32 since the start, for the record."""

    searched: int = 0
    redone: int = 0


counts = Counts()


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

    target: Tensor  # int32 (n,)
    frame: Tensor  # int32 (n, E)
    whole: Tensor  # int32 (n, E), 1 where the entry is not masked
    count: Tensor  # int32 (n,)
    slots: tuple[tuple[tuple[int, ...], ...], ...]  # target -> entry -> slots, ascending


def entries_of(targets: range, window: Window, context: Context, device: torch.device) -> Entries:
    """Entries of the target frames, oldest first, the newest context frame last."""
    tables: list[dict[tuple[int, bool], list[int]]] = []
    for t in targets:
        table: dict[tuple[int, bool], list[int]] = {}
        for slot, f in enumerate(context.of(t)):
            table.setdefault((f, window.sees_all(slot)), []).append(slot)
        tables.append(table)
    width = max(len(table) for table in tables)
    frame, whole = torch.zeros(2, len(tables), width, dtype=torch.int32)
    for row, table in enumerate(tables):
        frame[row, : len(table)] = torch.tensor([f for f, _ in table])
        whole[row, : len(table)] = torch.tensor([int(w) for _, w in table])
    return Entries(
        torch.tensor(list(targets), dtype=torch.int32, device=device),
        frame.to(device),
        whole.to(device),
        torch.tensor([len(table) for table in tables], dtype=torch.int32, device=device),
        tuple(tuple(tuple(s) for s in table.values()) for table in tables),
    )


def neighbours(
    features_TChw: Tensor,
    window: Window,
    context: Context,
    k: int,
    *,
    normalise: bool = True,
    budget: int = BUDGET,
) -> Neighbours:
    """The k best keys of every query of frames 1..T-1, see `Neighbours`; `features` lie on the GPU.

    `budget` bounds the bytes of candidate buffers: frames are searched in groups that fit. k above 32 runs the tiled form.
    """
    check_count(k)
    if k > MOST:
        from corrbench.propagation import cpu

        return cpu.neighbours(features_TChw, window, context, k, normalise=normalise)
    vectors = as_vectors(features_TChw, normalise)
    frames, cells = vectors.shape[:2]
    h, w = int(features_TChw.shape[2]), int(features_TChw.shape[3])
    half, slack = halves(vectors)
    index = torch.full((frames - 1, cells, k), -1, dtype=torch.int32, device=vectors.device)
    similarity = torch.full((frames - 1, cells, k), -math.inf, device=vectors.device)
    step = max(1, budget // frame_bytes(cells))
    for start in range(1, frames, step):
        targets = range(start, min(start + step, frames))
        entries = entries_of(targets, window, context, vectors.device)
        candidate, crowded = _search(half, slack, entries, window, k, (h, w))
        place, value = _rank(vectors, candidate, entries, k)
        part = slice(start - 1, targets[-1])
        index[part], similarity[part] = place, value
        counts.searched += len(targets) * cells
        counts.redone += int(crowded.sum())
        for row in crowded.any(dim=1).nonzero().flatten().tolist():
            queries = crowded[row].nonzero().flatten()
            t = start + row
            index[t - 1, queries], similarity[t - 1, queries] = _exactly(
                vectors, t, queries, window, context, k, (h, w)
            )
    return Neighbours(index, similarity, (h, w), context)


def frame_bytes(cells: int) -> int:
    """Bytes that one target frame of the search needs: buffers of candidates, their order and their scores."""
    return cells * (ROOM * 8 + ROOM * 12 + KEPT * 24 + 64)


def halves(vectors_TQC: Tensor) -> tuple[Tensor, Tensor]:
    """fp16 vectors scaled to a length of at most 1, and every query's slack: twice the bound of a similarity's error."""
    longest = torch.linalg.vector_norm(vectors_TQC, dim=2).amax().clamp_min(1e-30)
    scaled = vectors_TQC / longest
    half = scaled.half()
    residual = torch.linalg.vector_norm(scaled - half.float(), dim=2)
    length = torch.linalg.vector_norm(half.float(), dim=2)
    worst, reach = residual.amax(), length.amax()
    # Products of fp16 are exact in float32; a tensor core's sum of C of them may lose a few units in the last place each.
    adding = (vectors_TQC.shape[2] + 8) * 2.0**-22 * length * reach
    return half, 2 * (residual * (reach + worst) + length * worst + adding)


def _search(
    half: Tensor, slack: Tensor, entries: Entries, window: Window, k: int, grid: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Candidates (n, Q, KEPT), entry * Q + cell or -1, and which queries (n, Q) had more of them than there is room for."""
    from corrbench.propagation import gpu_kernels

    h, w = grid
    n, cells, channels = len(entries.target), h * w, half.shape[2]
    index = torch.full((n, cells, ROOM), -1, dtype=torch.int32, device=half.device)
    score = torch.full((n, cells, ROOM), -math.inf, device=half.device)
    found = torch.zeros(n, cells, dtype=torch.int32, device=half.device)
    shape = {"none": 0, "square": 1, "circle": 2}[window.mask]
    reach, limit = _reach(window)
    block = min(256, max(16, 1 << (channels - 1).bit_length())) if channels <= 256 else 128
    gpu_kernels.search[(math.ceil(h / TILE[0]) * math.ceil(w / TILE[1]), n)](
        half, entries.target, entries.frame, entries.whole, entries.count, slack, index, score, found,
        h, w, channels, entries.frame.shape[1], reach, limit, k, STEPS=14,
        SHAPE=shape, TY=TILE[0], TX=TILE[1], BN=64, BC=block, CHUNKS=math.ceil(channels / block), CAP=ROOM,
        num_warps=8,
    )  # fmt: skip
    best, order = torch.sort(score, dim=2, descending=True)
    candidate = index.gather(2, order)
    last = best[:, :, k - 1 : k]  # the k-th best in fp16; -inf where fewer than k keys exist
    targets = entries.target.long()
    within = (best >= last - slack[targets][:, :, None]) & (best > -math.inf)
    crowded = (found > ROOM) | (within.sum(dim=2) > KEPT)
    return candidate.masked_fill(~within, -1)[:, :, :KEPT].contiguous(), crowded


def _reach(window: Window) -> tuple[int, int]:
    """Largest |dy| or |dx| that is seen, and largest dy*dy + dx*dx (integers, so a circle is exact)."""
    if window.mask == "none":
        return 0, 0
    square = window.radius * window.radius
    limit = math.ceil(square) - 1 if window.strict else math.floor(square)
    return len(window.half_widths()) - 1, limit


def _rank(vectors: Tensor, candidate: Tensor, entries: Entries, k: int) -> tuple[Tensor, Tensor]:
    """Index and float32 similarity (n, Q, k) of the best candidates, every slot of an entry a key of its own."""
    from corrbench.propagation import gpu_kernels

    n, cells, kept = candidate.shape
    value = torch.empty(n, cells, kept, device=vectors.device)
    rows = n * cells
    gpu_kernels.rescore[(math.ceil(rows / 4),)](
        vectors, entries.target, entries.frame, candidate, value, rows, cells, vectors.shape[2], entries.frame.shape[1],
        kept, BR=4, BM=1 << (kept - 1).bit_length(), BC=32, num_warps=4,
    )  # fmt: skip
    index = torch.full((n, cells, k), -1, dtype=torch.int32, device=vectors.device)
    similarity = torch.full((n, cells, k), -math.inf, device=vectors.device)
    for rows_of, slots in _alike(entries).items():
        part = torch.tensor(slots, device=vectors.device)
        index[part], similarity[part] = _order(candidate[part], value[part], rows_of, cells, k)
    return index, similarity


def _alike(entries: Entries) -> dict[tuple[tuple[int, ...], ...], list[int]]:
    """Slots of the entries -> the target frames that have them so: all but the early frames are alike."""
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for row, slots in enumerate(entries.slots):
        groups.setdefault(slots, []).append(row)
    return groups


def _order(
    candidate: Tensor, value: Tensor, slots: tuple[tuple[int, ...], ...], cells: int, k: int
) -> tuple[Tensor, Tensor]:
    copies = max(len(s) for s in slots)
    table = torch.full((len(slots), copies), -1, dtype=torch.int64, device=candidate.device)
    for entry, own in enumerate(slots):
        table[entry, : len(own)] = torch.tensor(own, device=candidate.device)
    there = candidate >= 0
    entry = torch.where(there, candidate // cells, 0).long()
    slot = table[entry]  # (n, Q, KEPT, copies)
    key = slot * cells + (candidate % cells).long()[..., None]
    good = there[..., None] & (slot >= 0)
    key = torch.where(good, key, torch.iinfo(torch.int64).max).flatten(2)
    score = torch.where(good, value[..., None], -math.inf).flatten(2)
    by_index = torch.argsort(key, dim=2, stable=True)
    key, score = key.gather(2, by_index), score.gather(2, by_index)
    score, by_score = torch.sort(score, dim=2, descending=True, stable=True)
    key, score = key.gather(2, by_score)[:, :, :k], score[:, :, :k]
    missing = k - score.shape[2]
    if missing > 0:
        key = torch.nn.functional.pad(key, (0, missing), value=-1)
        score = torch.nn.functional.pad(score, (0, missing), value=-math.inf)
    return key.masked_fill(score == -math.inf, -1).int(), score


def _exactly(
    vectors: Tensor, t: int, queries: Tensor, window: Window, context: Context, k: int, grid: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """The k best keys of some queries of frame t by the whole affinity in float32, a block of queries at a time."""
    h, w = grid
    slots = context.of(t)
    cells = h * w
    index = torch.full((len(queries), k), -1, dtype=torch.int32, device=vectors.device)
    similarity = torch.full((len(queries), k), -math.inf, device=vectors.device)
    seen_all = window.dense(h, w).to(vectors.device) if window.mask != "none" else None
    block = max(1, 2**26 // (len(slots) * cells))
    for start in range(0, len(queries), block):
        q = queries[start : start + block]
        per_frame = {f: vectors[t, q] @ vectors[f].T for f in set(slots)}
        parts = [
            per_frame[f]
            if seen_all is None or window.sees_all(slot)
            else per_frame[f].masked_fill(~seen_all[q], -math.inf)
            for slot, f in enumerate(slots)
        ]
        value, order = torch.sort(torch.cat(parts, dim=1), dim=1, descending=True, stable=True)
        n = min(k, value.shape[1])
        similarity[start : start + block, :n] = value[:, :n]
        index[start : start + block, :n] = order[:, :n].masked_fill(value[:, :n] == -math.inf, -1).int()
    return index, similarity

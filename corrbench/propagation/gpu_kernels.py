"""The Triton kernels of the GPU path: search on the tensor cores, compact, rank in float32; and the float32 redo.

`TRITON_INTERPRET=1` runs them on the CPU, slowly, with the same results; the tests do. Frames are named by their row in
the buffers held (see `gpu_frames`). A candidate is entry * cells + cell, an entry a distinct context frame with its window.
"""

from __future__ import annotations

import os

# Triton asks for a choice; contracted multiply-adds are within the certified bound and are what tensor cores do anyway.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")

import triton
import triton.language as tl

# Search scores are of vectors of a length of at most 1 (and some rounding), so all thresholds lie in here.
LOW, HIGH = tl.constexpr(-1.02), tl.constexpr(1.02)
NONE = tl.constexpr(2**31 - 1)  # larger than any key


@triton.jit
def _vectors(half_ptr, rows, ok, channel, C):
    """Channels of some fp16 vectors: (rows, channels)."""
    inside = channel < C
    return tl.load(
        half_ptr + rows[:, None] * C + channel[None, :], mask=ok[:, None] & inside[None, :], other=0.0
    )


@triton.jit
def _tile(
    half_ptr, scale_ptr, query, q_rows, q_ok, qy, qx, keys_from, y0, x0, nx, count, offset, W, C, reach, limit, whole,
    SHAPE: tl.constexpr, SCALED: tl.constexpr, BQ: tl.constexpr, BN: tl.constexpr, BC: tl.constexpr,
    CHUNKS: tl.constexpr,
):  # fmt: skip
    """Scores (BQ, BN) of a tile of queries to BN keys of one frame's region; -inf where a key is not seen."""
    j = offset + tl.arange(0, BN)
    ky = y0 + j // nx
    kx = x0 + j % nx
    there = j < count
    cell = tl.where(there, ky * W + kx, 0)
    score = tl.zeros((BQ, BN), dtype=tl.float32)
    for c in tl.static_range(CHUNKS):
        channel = c * BC + tl.arange(0, BC)
        key = tl.trans(_vectors(half_ptr, keys_from + cell, there, channel, C))
        if c == 0:
            score = tl.dot(query, key, acc=score)
        else:
            score = tl.dot(_vectors(half_ptr, q_rows, q_ok, channel, C), key, acc=score)
    if SCALED:
        score = score * tl.load(scale_ptr + keys_from + cell, mask=there, other=0.0)[None, :]
    seen = q_ok[:, None] & there[None, :]
    if SHAPE != 0:
        dy = tl.abs(qy[:, None] - ky[None, :])
        dx = tl.abs(qx[:, None] - kx[None, :])
        if SHAPE == 1:  # noqa: SIM108 (a constexpr branch)
            near = (dy <= reach) & (dx <= reach)
        else:
            near = dy * dy + dx * dx <= limit
        seen = seen & (near | (whole != 0))
    return tl.where(seen, score, float("-inf")), cell


@triton.jit
def _region(whole, ty, tx, H, W, reach, SHAPE: tl.constexpr, TY: tl.constexpr, TX: tl.constexpr):
    """First row, first column, width and number of the keys that any query of the tile can see."""
    free = (whole != 0) | (SHAPE == 0)
    y0 = tl.where(free, 0, tl.maximum(ty - reach, 0))
    y1 = tl.where(free, H, tl.minimum(ty + TY + reach, H))
    x0 = tl.where(free, 0, tl.maximum(tx - reach, 0))
    x1 = tl.where(free, W, tl.minimum(tx + TX + reach, W))
    return y0, x0, x1 - x0, (y1 - y0) * (x1 - x0)


@triton.jit
def _lower_bound(best, k, BR: tl.constexpr, STEPS: tl.constexpr):
    """Of every row a value that k of its entries reach, near the k-th largest; -inf where fewer are finite."""
    low = tl.full((BR,), LOW, dtype=tl.float32)
    high = tl.full((BR,), HIGH, dtype=tl.float32)
    for _ in tl.static_range(STEPS):
        middle = (low + high) * 0.5
        enough = tl.sum((best >= middle[:, None]).to(tl.int32), axis=1) >= k
        low = tl.where(enough, middle, low)
        high = tl.where(enough, high, middle)
    reached = tl.sum((best >= LOW).to(tl.int32), axis=1) >= k
    return tl.where(reached, low, float("-inf"))


@triton.jit
def search(
    half_ptr, scale_ptr, target_ptr, entry_row_ptr, entry_whole_ptr, entries_ptr, slack_ptr, index_ptr, score_ptr,
    found_ptr, H, W, C, E, reach, limit, k, STEPS: tl.constexpr, SHAPE: tl.constexpr, SCALED: tl.constexpr,
    TY: tl.constexpr, TX: tl.constexpr, BN: tl.constexpr, BC: tl.constexpr, CHUNKS: tl.constexpr, CAP: tl.constexpr,
):  # fmt: skip
    """Candidates for the k best keys of a tile of TY x TX queries of one target frame.

    `half` (rows, H*W, C) fp16, `scale` (rows, H*W) a key's length where lengths differ. Every key whose score is at least
    (a lower bound of the k-th best) - slack is written, so none of the true k best is lost; `found` counts them, also
    those for which the buffer of CAP had no room.

    The lower bound: keys fall into BN groups; the k-th largest of the groups' maxima is reached by k different keys. It
    is found by bisection once an entry, after a look at the newest entry that writes nothing.
    """
    frame = tl.program_id(1)
    across = tl.cdiv(W, TX)
    ty = (tl.program_id(0) // across) * TY
    tx = (tl.program_id(0) % across) * TX
    BQ: tl.constexpr = TY * TX
    lane = tl.arange(0, BQ)
    qy = ty + lane // TX
    qx = tx + lane % TX
    q_ok = (qy < H) & (qx < W)
    cells = H * W
    q_cell = tl.where(q_ok, qy * W + qx, 0)
    q_rows = tl.load(target_ptr + frame).to(tl.int64) * cells + q_cell
    entries = tl.load(entries_ptr + frame)
    slack = tl.load(slack_ptr + q_rows, mask=q_ok, other=0.0)
    query = _vectors(
        half_ptr, q_rows, q_ok, tl.arange(0, BC), C
    )  # read once, where one chunk holds all channels
    row = frame.to(tl.int64) * cells + q_cell
    best = tl.full((BQ, BN), float("-inf"), dtype=tl.float32)
    floor = tl.full((BQ,), float("-inf"), dtype=tl.float32)

    for step in range(0, entries + 1):
        entry = tl.where(step == 0, entries - 1, step - 1)
        whole = tl.load(entry_whole_ptr + frame * E + entry)
        keys_from = tl.load(entry_row_ptr + frame * E + entry).to(tl.int64) * cells
        y0, x0, nx, count = _region(whole, ty, tx, H, W, reach, SHAPE, TY, TX)
        for offset in range(0, count, BN):
            score, cell = _tile(
                half_ptr, scale_ptr, query, q_rows, q_ok, qy, qx, keys_from, y0, x0, nx, count, offset, W, C, reach,
                limit, whole, SHAPE, SCALED, BQ, BN, BC, CHUNKS,
            )  # fmt: skip
            if step == 0:
                best = tl.maximum(best, score)
            else:
                if step < entries:  # the newest entry's keys are in the maxima already
                    best = tl.maximum(best, score)
                hit = (score >= floor[:, None]) & (score > float("-inf"))
                rows = row[:, None] + tl.zeros((BQ, BN), dtype=tl.int64)
                place = tl.atomic_add(found_ptr + rows, tl.full((BQ, BN), 1, dtype=tl.int32), mask=hit)
                keep = hit & (place < CAP)
                where = rows * CAP + place
                what = tl.zeros((BQ, BN), dtype=tl.int32) + (entry * cells + cell)[None, :]
                tl.store(index_ptr + where, what, mask=keep)
                tl.store(score_ptr + where, score, mask=keep)
        floor = _lower_bound(best, k, BQ, STEPS) - slack


@triton.jit
def compact(
    index_ptr, score_ptr, found_ptr, target_ptr, slack_ptr, kept_ptr, crowded_ptr, rows, cells, k,
    STEPS: tl.constexpr, CAP: tl.constexpr, KEPT: tl.constexpr, BR: tl.constexpr,
):  # fmt: skip
    """The candidates within the slack of the k-th best of all: (rows, KEPT), -1 behind the last; and whether all fitted."""
    row = (tl.program_id(0) * BR + tl.arange(0, BR)).to(tl.int64)
    ok = row < rows
    found = tl.load(found_ptr + row, mask=ok, other=0)
    target = tl.load(target_ptr + row // cells, mask=ok, other=0).to(tl.int64)
    slack = tl.load(slack_ptr + target * cells + row % cells, mask=ok, other=0.0)
    column = tl.arange(0, CAP)
    there = ok[:, None] & (column[None, :] < found[:, None])
    score = tl.load(score_ptr + row[:, None] * CAP + column[None, :], mask=there, other=float("-inf"))
    floor = _lower_bound(score, k, BR, STEPS) - slack
    within = there & (score >= floor[:, None])
    candidate = tl.load(index_ptr + row[:, None] * CAP + column[None, :], mask=within, other=-1)
    place = tl.cumsum(within.to(tl.int32), axis=1) - 1
    count = tl.sum(within.to(tl.int32), axis=1)
    out = kept_ptr + row[:, None] * KEPT
    tl.store(out + place, candidate, mask=within & (place < KEPT))
    empty = ok[:, None] & (column[None, :] >= count[:, None]) & (column[None, :] < KEPT)
    tl.store(out + column[None, :], tl.full((BR, CAP), -1, dtype=tl.int32), mask=empty)
    tl.store(crowded_ptr + row, ((found > CAP) | (count > KEPT)).to(tl.int8), mask=ok)


@triton.jit
def _next_key(slots_ptr, slots_from, cell, cells, copies, equal, last_key, ok):
    """The lowest key of each candidate: of its first slot, or beyond `last_key` where its score is `equal` to the last."""
    key = tl.full(cell.shape, NONE, dtype=tl.int32)
    for copy in range(0, copies):
        slot = tl.load(slots_ptr + slots_from * copies + copy, mask=ok, other=-1)
        own = slot * cells + cell
        key = tl.where((slot >= 0) & ((equal == 0) | (own > last_key)), tl.minimum(key, own), key)
    return tl.where(ok, key, NONE)


@triton.jit
def rank(
    vector_ptr, target_ptr, entry_row_ptr, slots_ptr, kept_ptr, index_ptr, similarity_ptr, rows, cells, C, E, copies, k,
    KEPT: tl.constexpr, BR: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """float32 similarities of the candidates, and the k best keys by (similarity descending, key ascending)."""
    row = (tl.program_id(0) * BR + tl.arange(0, BR)).to(tl.int64)
    ok = row < rows
    column = tl.arange(0, KEPT)
    frame = row // cells
    candidate = tl.load(kept_ptr + row[:, None] * KEPT + column[None, :], mask=ok[:, None], other=-1)
    there = candidate >= 0
    entry = tl.where(there, candidate // cells, 0)
    cell = tl.where(there, candidate % cells, 0)
    place = frame[:, None] * E + entry
    source = tl.load(entry_row_ptr + place, mask=there, other=0).to(tl.int64)
    target = tl.load(target_ptr + frame, mask=ok, other=0).to(tl.int64)
    query_from = (target * cells + row % cells) * C
    key_from = (source * cells + cell) * C
    score = tl.zeros((BR, KEPT), dtype=tl.float32)
    for c in range(0, C, BC):
        channel = c + tl.arange(0, BC)
        inside = channel < C
        q = tl.load(
            vector_ptr + query_from[:, None] + channel[None, :], mask=ok[:, None] & inside[None, :], other=0.0
        )
        v = tl.load(
            vector_ptr + key_from[:, :, None] + channel[None, None, :],
            mask=there[:, :, None] & inside[None, None, :],
            other=0.0,
        )
        score += tl.sum(q[:, None, :] * v, axis=2)
    score = tl.where(there, score, float("-inf"))
    last_score = tl.full((BR,), float("inf"), dtype=tl.float32)
    last_key = tl.full((BR,), -1, dtype=tl.int32)
    for i in range(0, k):
        equal = score == last_score[:, None]
        key = _next_key(
            slots_ptr, place, cell, cells, copies, equal.to(tl.int32), last_key[:, None],
            there & (score <= last_score[:, None]),
        )  # fmt: skip
        left = tl.where(key < NONE, score, float("-inf"))
        value = tl.max(left, axis=1)
        choice = tl.min(tl.where((key < NONE) & (left == value[:, None]), key, NONE), axis=1)
        some = choice < NONE
        last_score = tl.where(some, value, float("-inf"))
        last_key = tl.where(some, choice, -1)
        tl.store(index_ptr + row * k + i, last_key, mask=ok)
        tl.store(similarity_ptr + row * k + i, last_score, mask=ok)


@triton.jit
def measure(
    vector_ptr, query_frame_ptr, query_cell_ptr, target_ptr, entry_row_ptr, entry_whole_ptr, entries_ptr, out_ptr,
    H, W, C, E, span, reach, limit, SHAPE: tl.constexpr, BN: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """float32 similarities of one query to the keys of one entry, into `out` (queries, E, span); -inf where not seen.

    A place of `out` is a cell of the frame where it is seen whole, else a cell of the box around the query.
    """
    q, entry, offset = tl.program_id(0), tl.program_id(1), tl.program_id(2) * BN
    frame = tl.load(query_frame_ptr + q)
    at = tl.load(query_cell_ptr + q)
    y, x = at // W, at % W
    cells = H * W
    entries = tl.load(entries_ptr + frame)
    whole = tl.load(entry_whole_ptr + frame * E + entry)
    y0, x0, nx, count = _region(whole, y, x, H, W, reach, SHAPE, 1, 1)
    j = offset + tl.arange(0, BN)
    ky = y0 + j // nx
    kx = x0 + j % nx
    seen = j < tl.where(entry < entries, count, 0)
    if SHAPE == 2:
        seen = seen & (
            (ky - y) * (ky - y) + (kx - x) * (kx - x) <= tl.where(whole != 0, H * H + W * W, limit)
        )
    source = tl.load(entry_row_ptr + frame * E + entry).to(tl.int64)
    target = tl.load(target_ptr + frame).to(tl.int64)
    total = tl.zeros((BN,), dtype=tl.float32)
    for c in range(0, C, BC):
        channel = c + tl.arange(0, BC)
        inside = channel < C
        query = tl.load(vector_ptr + (target * cells + at) * C + channel, mask=inside, other=0.0)
        key = tl.load(
            vector_ptr + (source * cells + ky * W + kx)[:, None] * C + channel[None, :],
            mask=seen[:, None] & inside[None, :],
            other=0.0,
        )
        total += tl.sum(query[None, :] * key, axis=1)
    place = (q.to(tl.int64) * E + entry) * span + j
    tl.store(out_ptr + place, tl.where(seen, total, float("-inf")), mask=j < span)


@triton.jit
def choose(
    score_ptr, query_frame_ptr, query_cell_ptr, entry_whole_ptr, slots_ptr, index_ptr, similarity_ptr,
    H, W, E, span, reach, copies, k, SHAPE: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """The k best keys of one query from what `measure` wrote, by (similarity descending, key ascending)."""
    q = tl.program_id(0)
    frame = tl.load(query_frame_ptr + q)
    at = tl.load(query_cell_ptr + q)
    cells = H * W
    last_score = tl.full((), float("inf"), dtype=tl.float32)
    last_key = tl.full((), -1, dtype=tl.int32)
    for i in range(0, k):
        value = tl.full((), float("-inf"), dtype=tl.float32)
        choice = tl.full((), NONE, dtype=tl.int32)
        for entry in range(0, E):
            whole = tl.load(entry_whole_ptr + frame * E + entry)
            y0, x0, nx, _ = _region(whole, at // W, at % W, H, W, reach, SHAPE, 1, 1)
            for offset in range(0, span, BN):
                j = offset + tl.arange(0, BN)
                from_ = (q.to(tl.int64) * E + entry) * span
                score = tl.load(score_ptr + from_ + j, mask=j < span, other=float("-inf"))
                cell = (y0 + j // nx) * W + x0 + j % nx
                left = (score > float("-inf")) & (score <= last_score)
                slots_from = tl.zeros((BN,), dtype=tl.int32) + frame * E + entry
                key = _next_key(
                    slots_ptr,
                    slots_from,
                    cell,
                    cells,
                    copies,
                    (score == last_score).to(tl.int32),
                    last_key,
                    left,
                )
                score = tl.where(key < NONE, score, float("-inf"))
                top = tl.max(score, axis=0)
                first = tl.min(tl.where((key < NONE) & (score == top), key, NONE), axis=0)
                better = (top > value) | ((top == value) & (first < choice))
                choice = tl.where(better, first, choice)
                value = tl.where(better, top, value)
        some = choice < NONE
        last_score = tl.where(some, value, float("-inf"))
        last_key = tl.where(some, choice, -1)
        tl.store(index_ptr + q * k + i, last_key)
        tl.store(similarity_ptr + q * k + i, last_score)

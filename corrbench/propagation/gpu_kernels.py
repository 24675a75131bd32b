"""The Triton kernels of the GPU path: search for candidates on the tensor cores, and their rescoring in float32.

`TRITON_INTERPRET=1` runs both on the CPU, slowly, with the same results; the tests do.
"""

from __future__ import annotations

import os

# Triton asks for a choice; contracted multiply-adds are within the certified bound and are what tensor cores do anyway.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")

import triton
import triton.language as tl

# Similarities are of vectors scaled to a length of at most 1, so all thresholds lie in here.
LOW, HIGH = tl.constexpr(-1.02), tl.constexpr(1.02)


@triton.jit
def _tile(
    half_ptr, base, q_rows, q_ok, qy, qx, keys_from, y0, x0, nx, count, offset, W, C, reach, limit, whole,
    SHAPE: tl.constexpr, BQ: tl.constexpr, BN: tl.constexpr, BC: tl.constexpr, CHUNKS: tl.constexpr,
):  # fmt: skip
    """Similarities (BQ, BN) of a tile of queries to BN keys of one frame's region; -inf where a key is not seen."""
    j = offset + tl.arange(0, BN)
    ky = y0 + j // nx
    kx = x0 + j % nx
    there = j < count
    cell = tl.where(there, ky * W + kx, 0)
    score = tl.zeros((BQ, BN), dtype=tl.float32)
    for c in tl.static_range(CHUNKS):
        channel = c * BC + tl.arange(0, BC)
        inside = channel < C
        q = tl.load(
            half_ptr + (base + q_rows)[:, None] * C + channel[None, :],
            mask=q_ok[:, None] & inside[None, :],
            other=0.0,
        )
        k = tl.load(
            half_ptr + (keys_from + cell)[None, :] * C + channel[:, None],
            mask=there[None, :] & inside[:, None],
            other=0.0,
        )
        score = tl.dot(q, k, acc=score)
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
def search(
    half_ptr, target_ptr, entry_frame_ptr, entry_whole_ptr, entries_ptr, slack_ptr, index_ptr, score_ptr, found_ptr,
    H, W, C, E, reach, limit, k, STEPS: tl.constexpr,
    SHAPE: tl.constexpr, TY: tl.constexpr, TX: tl.constexpr, BN: tl.constexpr, BC: tl.constexpr, CHUNKS: tl.constexpr,
    CAP: tl.constexpr,
):  # fmt: skip
    """Candidates for the k best keys of a tile of TY x TX queries of one target frame.

    `half` (T, H*W, C) fp16. An entry is a distinct context frame with its window; candidate = entry * H*W + cell. Every
    key whose fp16 similarity is at least (a lower bound of the k-th best) - slack is written, so none of the true k
    best is lost; `found` counts them, also those for which the buffer of CAP had no room.

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
    q_rows = tl.where(q_ok, qy * W + qx, 0)
    cells = H * W
    base = tl.load(target_ptr + frame).to(tl.int64) * cells
    entries = tl.load(entries_ptr + frame)
    slack = tl.load(slack_ptr + base + q_rows, mask=q_ok, other=0.0)
    row = frame.to(tl.int64) * cells + q_rows
    best = tl.full((BQ, BN), float("-inf"), dtype=tl.float32)
    floor = tl.full((BQ,), float("-inf"), dtype=tl.float32)

    for step in range(0, entries + 1):
        entry = tl.where(step == 0, entries - 1, step - 1)
        whole = tl.load(entry_whole_ptr + frame * E + entry)
        keys_from = tl.load(entry_frame_ptr + frame * E + entry).to(tl.int64) * cells
        y0, x0, nx, count = _region(whole, ty, tx, H, W, reach, SHAPE, TY, TX)
        for offset in range(0, count, BN):
            score, cell = _tile(
                half_ptr, base, q_rows, q_ok, qy, qx, keys_from, y0, x0, nx, count, offset, W, C, reach, limit, whole,
                SHAPE, BQ, BN, BC, CHUNKS,
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
        low = tl.full((BQ,), LOW, dtype=tl.float32)
        high = tl.full((BQ,), HIGH, dtype=tl.float32)
        for _ in tl.static_range(STEPS):
            middle = (low + high) * 0.5
            enough = tl.sum((best >= middle[:, None]).to(tl.int32), axis=1) >= k
            low = tl.where(enough, middle, low)
            high = tl.where(enough, high, middle)
        reached = tl.sum((best >= LOW).to(tl.int32), axis=1) >= k
        floor = tl.where(reached, low - slack, float("-inf"))


@triton.jit
def rescore(
    vector_ptr, target_ptr, entry_frame_ptr, candidate_ptr, out_ptr, rows, cells, C, E, M,
    BR: tl.constexpr, BM: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """float32 similarities (rows, M) of candidates (rows, M), -inf where the candidate is -1."""
    row = tl.program_id(0) * BR + tl.arange(0, BR)
    row_ok = row < rows
    column = tl.arange(0, BM)
    frame = row // cells
    candidate = tl.load(
        candidate_ptr + row[:, None] * M + column[None, :],
        mask=row_ok[:, None] & (column < M)[None, :],
        other=-1,
    )
    there = candidate >= 0
    entry = tl.where(there, candidate // cells, 0)
    cell = tl.where(there, candidate % cells, 0)
    source = tl.load(entry_frame_ptr + frame[:, None] * E + entry, mask=there, other=0).to(tl.int64)
    target = tl.load(target_ptr + frame, mask=row_ok, other=0).to(tl.int64)
    query_from = (target * cells + row % cells) * C
    key_from = (source * cells + cell) * C
    total = tl.zeros((BR, BM), dtype=tl.float32)
    for c in range(0, C, BC):
        channel = c + tl.arange(0, BC)
        inside = channel < C
        q = tl.load(
            vector_ptr + query_from[:, None] + channel[None, :],
            mask=row_ok[:, None] & inside[None, :],
            other=0.0,
        )
        k = tl.load(
            vector_ptr + key_from[:, :, None] + channel[None, None, :],
            mask=there[:, :, None] & inside[None, None, :],
            other=0.0,
        )
        total += tl.sum(q[:, None, :] * k, axis=2)
    tl.store(out_ptr + row[:, None].to(tl.int64) * M + column[None, :], tl.where(there, total, float("-inf")),
             mask=row_ok[:, None] & (column < M)[None, :])  # fmt: skip

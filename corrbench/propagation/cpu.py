"""The exact neighbour search on plain torch, tile by tile; never builds the dense affinity.

The best k keys of a query lie in the k box rows with the highest maxima: each of those rows holds a key that precedes
every key of any other row. So rows are ranked first, by one fast maximum, and only k of them are looked into.
A frame that stands in several slots is multiplied once; its keys are then repeated, and so tie exactly.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from corrbench.propagation.blocks import TILE, Block, blocks, columns_of, torch_threads
from corrbench.propagation.types import Context, Neighbours, Window, as_vectors, check_count


def neighbours(
    features_TChw: Tensor,
    window: Window,
    context: Context,
    k: int,
    *,
    normalise: bool = True,
    threads: int | None = None,
    tile: tuple[int, int] | None = None,
) -> Neighbours:
    """The k best keys of every query of frames 1..T-1, see `Neighbours`; `tile` and `threads` change the time only."""
    check_count(k)
    h, w = features_TChw.shape[-2:]
    vectors = as_vectors(features_TChw, normalise).unflatten(1, (h, w))
    targets = range(1, len(vectors))
    index, similarity = search(vectors, targets, window, context, k, tile or TILE, threads=threads)
    return Neighbours(index, similarity, (h, w), context)


def search(
    vectors_ThwC: Tensor,
    targets: range,
    window: Window,
    context: Context,
    k: int,
    tile: tuple[int, int] = TILE,
    *,
    threads: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Index and similarity (targets, h*w, k) of the neighbours of consecutive target frames.

    Threads (torch's number if None) take columns of tiles, each on one core: they never wait for each other, and a
    tile's sums are the same on any number of them.
    """
    h, w = vectors_ThwC.shape[1:3]
    shape = (len(targets), h * w, k)
    index = torch.full(shape, -1, dtype=torch.int32, device=vectors_ThwC.device)
    similarity = torch.full(shape, -torch.inf, device=vectors_ThwC.device)
    starts = columns_of(w, tile)
    count = torch.get_num_threads() if threads is None else threads
    if count < 1:
        raise ValueError(f"threads={threads!r}: expected at least 1")
    inference = torch.is_inference_mode_enabled()  # a property of the thread, so the workers need it, too

    def work(some: range) -> None:
        with torch.inference_mode(inference):
            for block in blocks(vectors_ThwC, targets, window, context, tile, some):
                _keep_best(block, index, similarity, targets.start, w)

    if vectors_ThwC.device.type != "cpu":
        work(starts)
        return index, similarity
    with torch_threads(1):
        if count == 1:
            work(starts)
        else:
            with ThreadPoolExecutor(count) as pool:
                list(pool.map(work, [starts[i : i + 1] for i in range(len(starts))]))
    return index, similarity


def _keep_best(block: Block, index: Tensor, similarity: Tensor, first: int, w: int) -> None:
    """Enter a block's best keys into the rows of its queries, after those of earlier blocks (lower slots)."""
    _, cells, k = index.shape
    value, position = select(block.similarity, k)
    frame, cell = block.cell(position, w)
    value, key = _into_slots(value, frame, cell, block.keys.slots, cells, k)
    row = block.t - first
    if similarity[row, block.cells[0], 0] > -torch.inf:
        value = torch.cat([similarity[row, block.cells], value], dim=1)
        key = torch.cat([index[row, block.cells].long(), key], dim=1)
        value, order = value.sort(dim=1, descending=True, stable=True)
        value, key = value[:, :k], key.gather(1, order)[:, :k]
    found = value.shape[1]
    similarity[row, block.cells, :found] = value
    index[row, block.cells, :found] = key.masked_fill(value == -torch.inf, -1).int()


def select(similarity_fyxq: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best keys of every query, (queries, <= k) values and positions in the flattened (frames, rows, columns).

    Ordered by (value descending, position ascending).
    """
    columns = similarity_fyxq.shape[2]
    rows_rxq = similarity_fyxq.flatten(0, 1)
    _, row = best(rows_rxq.amax(dim=1).T.contiguous(), k)
    row = row.sort(dim=1).values
    query = torch.arange(row.shape[0], device=row.device)[:, None]
    value, place = best(rows_rxq.permute(2, 0, 1)[query, row].flatten(1), k)
    return value, row.gather(1, place // columns) * columns + place % columns


def best(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k highest of every row and their positions, by (value descending, position ascending).

    torch.topk leaves the order of equals open, so a row whose k-th and next value are equal is sorted whole.
    """
    if values.shape[1] <= k:
        return values.sort(dim=1, descending=True, stable=True)
    top, place = values.topk(k + 1, dim=1)
    place = place[:, :k].sort(dim=1).values
    tied = (top[:, k - 1] == top[:, k]) & (top[:, k] > -torch.inf)
    if tied.any():
        place[tied] = values[tied].sort(dim=1, descending=True, stable=True).indices[:, :k].sort(dim=1).values
    top, order = values.gather(1, place).sort(dim=1, descending=True, stable=True)
    return top, place.gather(1, order)


def _into_slots(
    value: Tensor, frame: Tensor, cell: Tensor, slots: tuple[tuple[int, ...], ...], cells: int, k: int
) -> tuple[Tensor, Tensor]:
    """Keys of distinct frames as indices slot * cells + cell, a frame's keys repeated for each of its slots.

    The k best repeated keys are among the repetitions of the k best distinct ones, whose order is that of first slots.
    """
    most = min(k, max(len(s) for s in slots))
    table = torch.full((len(slots), most), -1, device=value.device)
    for i, s in enumerate(slots):
        table[i, : min(most, len(s))] = torch.tensor(s[:most], device=value.device)
    slot = table[frame]  # (queries, found, most)
    key = slot * cells + cell[..., None]
    if most == 1:
        return value, key[..., 0]
    repeated = value[..., None].expand_as(slot).masked_fill(slot < 0, -torch.inf).flatten(1)
    key, order = key.flatten(1).sort(dim=1)
    repeated, best = repeated.gather(1, order).sort(dim=1, descending=True, stable=True)
    return repeated[:, :k], key.gather(1, best)[:, :k]

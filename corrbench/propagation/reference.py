"""The definition of propagation, written to be read: dense affinity, some hundred queries of a frame at a time.

Slow (every query meets every key of every context frame) and short. Everything else in this package must agree with it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from corrbench.propagation.types import Context, Neighbours, Window, as_vectors, check_count
from corrbench.protocol import Protocol

QUERIES = 512  # at once; changes memory only


def similarities(
    vectors: Tensor, t: int, queries: slice, window: Window, context: Context, grid: tuple[int, int]
) -> Tensor:
    """Similarity of some queries of frame t to every key, (queries, slots, h*w) float32, -inf where masked.

    Float32 sums, as in released code: the golden outputs hold ties that only float32 breaks the same way. A frame's
    affinity is computed once, so copies of it in several slots tie exactly.
    """
    h, w = grid
    slots = context.of(t)
    seen = window.dense(h, w)[queries].to(vectors.device)
    per_frame = {f: vectors[t, queries] @ vectors[f].T for f in set(slots)}
    whole = [window.sees_all(slot) for slot in range(len(slots))]
    masked = [
        per_frame[f] if whole[slot] else per_frame[f].masked_fill(~seen, -torch.inf)
        for slot, f in enumerate(slots)
    ]
    return torch.stack(masked, dim=1)


def neighbours(
    features_TChw: Tensor, window: Window, context: Context, k: int, *, normalise: bool = True
) -> Neighbours:
    """The k best keys of every query of frames 1..T-1, see `Neighbours`."""
    check_count(k)
    vectors = as_vectors(features_TChw, normalise)
    frames, cells = vectors.shape[:2]
    h, w = features_TChw.shape[2:]
    index = torch.full((frames - 1, cells, k), -1, dtype=torch.int32, device=vectors.device)
    similarity = torch.full((frames - 1, cells, k), -torch.inf, device=vectors.device)
    for t in range(1, frames):
        for queries in _some(cells):
            every = similarities(vectors, t, queries, window, context, (h, w)).flatten(1)
            value, order = best(every, k)
            similarity[t - 1, queries, : value.shape[1]] = value
            index[t - 1, queries, : value.shape[1]] = order.masked_fill(value == -torch.inf, -1).int()
    return Neighbours(index, similarity, (h, w), context)


def average(similarity: Tensor, keys: Tensor, temperature: float, topk: int | None, scope: str) -> Tensor:
    """Labels (queries, classes) from `similarities` (queries, slots, h*w) and the keys' labels (slots, h*w, classes).

    `joint`: the best `topk` of all slots, softmax over them. `frame`: softmax over each slot, its best `topk` kept
    without renormalising, mean over the slots. Among equals the lower index is chosen.
    """
    if scope == "joint":
        value, order = best(similarity.flatten(1), topk)
        return weigh(softmax(value / temperature), keys.flatten(0, 1)[order])
    means = []
    for slot in range(similarity.shape[1]):
        share = torch.softmax(similarity[:, slot] / temperature, dim=1)
        _, order = best(similarity[:, slot], topk)
        means.append(weigh(share.gather(1, order), keys[slot][order]))
    return torch.stack(means).mean(dim=0)


def best(similarity: Tensor, topk: int | None) -> tuple[Tensor, Tensor]:
    """Values and positions of the rows' best `topk` entries (None: all), the lower position first among equals."""
    value, order = torch.sort(similarity, dim=1, descending=True, stable=True)
    return value[:, :topk], order[:, :topk]


def softmax(logits_qk: Tensor) -> Tensor:
    """Softmax over the keys, in released code's (keys, queries) layout: its last bits decide arg-maxima of labels that tie
    by the geometry of the upsampling, such as two objects whose border lies half way between two cells."""
    return torch.softmax(logits_qk.T.contiguous(), dim=0).T


def weigh(weight_qk: Tensor, label_qkc: Tensor) -> Tensor:
    """Weighted sums of the keys' labels, (queries, classes)."""
    return torch.bmm(weight_qk[:, None].contiguous(), label_qkc)[:, 0]


def store(label_Chw: Tensor, stored: str) -> Tensor:
    """What a predicted label becomes as context: `soft` itself, `hard` its arg-max as one-hot (the first of equals),
    `minmax` every map with a positive maximum stretched to [0, 1]."""
    if stored == "soft":
        return label_Chw
    if stored == "hard":
        classes = torch.arange(label_Chw.shape[0], device=label_Chw.device)
        best = (label_Chw == label_Chw.amax(dim=0)).int().argmax(dim=0)
        return (classes[:, None, None] == best).to(label_Chw.dtype)
    if stored == "minmax":
        low, high = label_Chw.amin(dim=(1, 2), keepdim=True), label_Chw.amax(dim=(1, 2), keepdim=True)
        return torch.where(high > 0, (label_Chw - low) / (high - low + 1e-12), label_Chw)
    raise ValueError(f"stored={stored!r}: expected soft, hard or minmax")


def carry(features_TChw: Tensor, first_label_Chw: Tensor, protocol: Protocol) -> Tensor:
    """Soft labels (T, classes, h, w) of all frames, frame 0 first, under any protocol."""
    window = Window(protocol.mask, protocol.radius, protocol.strict, protocol.first_masked)
    context = Context(protocol.context, protocol.early)
    vectors = as_vectors(features_TChw, protocol.normalise)
    frames, _, h, w = features_TChw.shape
    labels, memory = [first_label_Chw.float()], [first_label_Chw.float()]
    for t in range(1, frames):
        keys = torch.stack([memory[f].flatten(1).T for f in context.of(t)])  # (slots, h*w, classes)
        parts = [
            average(
                similarities(vectors, t, queries, window, context, (h, w)),
                keys, protocol.temperature, protocol.topk, protocol.topk_scope,
            )
            for queries in _some(h * w)
        ]  # fmt: skip
        labels.append(torch.cat(parts).T.reshape(-1, h, w))
        memory.append(store(labels[t], protocol.stored))
    return torch.stack(labels)


def _some(cells: int) -> list[slice]:
    return [slice(start, start + QUERIES) for start in range(0, cells, QUERIES)]

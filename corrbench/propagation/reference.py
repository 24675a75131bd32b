"""The definition of propagation, written to be read: dense affinity, one frame at a time.

Slow (the whole affinity of a frame is built) and short. Everything else in this package must agree with it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from corrbench.propagation.types import Context, Neighbours, Window, as_vectors, check_count
from corrbench.protocol import Protocol


def similarities(vectors: Tensor, t: int, window: Window, context: Context, grid: tuple[int, int]) -> Tensor:
    """Similarity of the queries of frame t to every key, (h*w, slots, h*w) float32, -inf where masked.

    Float32 sums, as in released code: the golden outputs hold ties that only float32 breaks the same way. A frame's
    affinity is computed once, so copies of it in several slots tie exactly.
    """
    h, w = grid
    slots = context.of(t)
    seen = window.dense(h, w)
    per_frame = {f: vectors[t] @ vectors[f].T for f in set(slots)}
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
    index = torch.full((frames - 1, cells, k), -1, dtype=torch.int32)
    similarity = torch.full((frames - 1, cells, k), -torch.inf)
    for t in range(1, frames):
        every = similarities(vectors, t, window, context, (h, w)).flatten(1)
        value, order = torch.sort(every, dim=1, descending=True, stable=True)  # stable: ties in index order
        found = min(k, every.shape[1])
        similarity[t - 1, :, :found] = value[:, :found]
        index[t - 1, :, :found] = order[:, :found].masked_fill(value[:, :found] == -torch.inf, -1).int()
    return Neighbours(index, similarity, (h, w), context)


def weights(similarity: Tensor, temperature: float, topk: int | None, scope: str) -> Tensor:
    """Weights of the keys, (h*w, slots, h*w), from `similarities`; keys that are not chosen weigh 0.

    `joint`: the best `topk` of all slots, softmax over them. `frame`: softmax over each slot, its best `topk` kept
    without renormalising, mean over the slots. Among equals the lower index is chosen.
    """
    if scope == "joint":
        flat = similarity.flatten(1)
        return torch.softmax(_best(flat, topk) / temperature, dim=1).view_as(similarity)
    share = torch.softmax(similarity / temperature, dim=2)
    kept = _best(similarity.flatten(0, 1), topk).view_as(similarity) > -torch.inf
    return torch.where(kept, share, 0) / similarity.shape[1]


def _best(similarity: Tensor, topk: int | None) -> Tensor:
    """The rows' best `topk` entries, the others -inf."""
    if topk is None or topk >= similarity.shape[1]:
        return similarity
    order = torch.sort(similarity, dim=1, descending=True, stable=True).indices[:, :topk]
    return torch.full_like(similarity, -torch.inf).scatter(1, order, similarity.gather(1, order))


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
        similarity = similarities(vectors, t, window, context, (h, w))
        weight = weights(similarity, protocol.temperature, protocol.topk, protocol.topk_scope).flatten(1)
        keys = torch.stack([memory[f] for f in context.of(t)], dim=1).flatten(1)  # (classes, slots*h*w)
        labels.append((weight @ keys.T).T.reshape(-1, h, w))
        memory.append(store(labels[t], protocol.stored))
    return torch.stack(labels)

"""Labels carried where weights need more than the best k keys: no top-k at all, or a softmax a context frame."""

from __future__ import annotations

import torch
from torch import Tensor

from corrbench.propagation import reference
from corrbench.propagation.blocks import Block, blocks, torch_threads
from corrbench.propagation.cpu import select
from corrbench.propagation.types import Context, Window, as_vectors
from corrbench.protocol import Protocol


def carry_every_key(
    features_TChw: Tensor, first_label_Chw: Tensor, protocol: Protocol, *, threads: int | None = None
) -> Tensor:
    """`carry` for protocols with `topk=None` (MAST) or `topk_scope="frame"` (UVC, TimeCycle), any protocol in fact.

    Affinities are made tile by tile and dropped; weights depend on the temperature, so nothing is kept for another run.
    """
    h, w = features_TChw.shape[-2:]
    window = Window(protocol.mask, protocol.radius, protocol.strict, protocol.first_masked)
    context = Context(protocol.context, protocol.early)
    with torch_threads(threads):
        vectors = as_vectors(features_TChw, protocol.normalise).unflatten(1, (h, w))
        first = first_label_Chw.to(vectors.device, torch.float32)
        labels, memory = [first], [first.permute(1, 2, 0)]
        for t in range(1, len(vectors)):
            slots = len(context.of(t))
            sums = _Sums(h * w, len(first), protocol.temperature, vectors)
            for block in blocks(vectors, range(t, t + 1), window, context):
                if protocol.topk_scope == "frame":
                    sums.add_frames(block, memory, protocol.topk, slots)
                else:
                    sums.add_joint(block, memory)
            labels.append(sums.result().T.reshape(-1, h, w))
            memory.append(reference.store(labels[t], protocol.stored).permute(1, 2, 0))
        return torch.stack(labels)


class _Sums:
    """Weighted label sums of one frame, block by block; joint softmaxes keep a running maximum so that nothing overflows."""

    def __init__(self, cells: int, classes: int, temperature: float, like: Tensor) -> None:
        self.temperature = temperature
        self.high = like.new_full((cells,), -torch.inf)
        self.mass = like.new_zeros(cells)
        self.label = like.new_zeros(cells, classes)

    def add_joint(self, block: Block, memory: list[Tensor]) -> None:
        """One softmax over all keys; a frame in several slots counts as often."""
        logits = block.similarity.flatten(1, 2) / self.temperature  # (frames, keys, queries)
        copies = torch.tensor([len(s) for s in block.keys.slots], device=logits.device)
        at = block.cells
        high = torch.maximum(self.high[at], logits.amax(dim=(0, 1)))
        scale = torch.exp(self.high[at] - high)
        weight = torch.exp(logits - high) * copies[:, None, None]
        near = _box_labels(block, memory)
        self.label[at] = self.label[at] * scale[:, None] + weight.flatten(0, 1).T @ near.flatten(0, 1)
        self.mass[at] = self.mass[at] * scale + weight.sum(dim=(0, 1))
        self.high[at] = high

    def add_frames(self, block: Block, memory: list[Tensor], topk: int | None, slots: int) -> None:
        """A softmax a frame, its best keys kept without renormalising, mean over the slots."""
        near = _box_labels(block, memory)
        self.mass[block.cells] = 1.0
        for i, copies in enumerate(block.keys.slots):
            similarity = block.similarity[i : i + 1]
            logits = similarity[0].flatten(0, 1) / self.temperature
            total = torch.logsumexp(logits, dim=0)
            if topk is None:
                label = torch.exp(logits - total).T @ near[i]
            else:
                value, position = select(similarity, topk)
                weight = torch.exp(value / self.temperature - total[:, None])
                label = torch.bmm(weight[:, None], near[i][position])[:, 0]
            self.label[block.cells] += label * (len(copies) / slots)

    def result(self) -> Tensor:
        return self.label / self.mass[:, None]


def _box_labels(block: Block, memory: list[Tensor]) -> Tensor:
    """Stored labels of a block's keys, (frames, keys, classes)."""
    _, rows, columns, _ = block.similarity.shape
    y, x = slice(block.top, block.top + rows), slice(block.left, block.left + columns)
    return torch.stack([memory[f][y, x].flatten(0, 1) for f in block.keys.frames])

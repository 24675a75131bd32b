"""Propagation of one frame as released code computes it: the baseline that ratios are stated against.

Written anew after `masked_attention_efficient` of VFS and Spa-then-Temp (query step 32, their default): every query meets
every key of every context frame, masked ones are set to -inf, then top-k, softmax, and the sum of labels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def square_mask(h: int, w: int, radius: int) -> Tensor:
    """Bool (h*w keys, h*w queries); released code makes it once a video, it is not timed."""
    y, x = torch.arange(h), torch.arange(w)
    dy, dx = (y[:, None] - y).abs() <= radius, (x[:, None] - x).abs() <= radius
    return (dy[:, None, :, None] & dx[None, :, None, :]).reshape(h * w, h * w)


def propagate_frame(
    query_Chw: Tensor,
    keys_CShw: Tensor,
    labels_LShw: Tensor,
    mask: Tensor,
    *,
    temperature: float,
    topk: int,
    step: int = 32,
    most: int | None = None,
) -> Tensor:
    """Soft label (L, h*w) of a frame from S context frames; `most` stops after so many queries (for timing a share)."""
    slots, cells = keys_CShw.shape[1], query_Chw[0].numel()
    query = F.normalize(query_Chw, dim=0).flatten(1)
    keys = F.normalize(keys_CShw, dim=0).flatten(1)
    labels = labels_LShw.flatten(1)
    out = torch.zeros(len(labels), cells, device=labels.device)
    for start in range(0, min(cells, most or cells), step):
        some = slice(start, start + step)
        affinity = torch.einsum("ck,cq->kq", keys, query[:, some]) / temperature
        affinity.view(slots, cells, -1).masked_fill_(~mask[None, :, some], -torch.inf)
        value, index = affinity.topk(topk, dim=0)
        near = labels.index_select(1, index.flatten()).view(len(labels), *index.shape)
        out[:, some] = torch.einsum("lkq,kq->lq", near, value.softmax(dim=0))
    return out

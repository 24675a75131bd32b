"""Windowed reconstruction: the reference frame's dropped channel, carried to the target frame by local correlation.

Li & Liu, CVPR 2023, section 3.2, after MAST (Lai, Lu & Xie, CVPR 2020) and CorrFlow (Lai & Xie, BMVC 2019).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import FunctionCtx, once_differentiable

from corrbench.registry import LOSSES
from corrbench.training.losses.windows import Tiling


@LOSSES.register_module()
def reconstruction(
    query_BChw: torch.Tensor,
    key_BChw: torch.Tensor,
    reference_B1HW: torch.Tensor,
    target_B1HW: torch.Tensor,
    radius: int,
    scale: float = 20.0,
) -> torch.Tensor:
    """Smooth L1 between the target frame's channel and its reconstruction from the reference frame.

    `query` are features of the target frame, `key` of the reference frame; the images are one channel at input size, H
    and W the same multiple of h and w. The reference is sampled at every stride-th pixel from pixel 0, carried by
    `carry_channel`, upsampled bilinearly (half-pixel centres), and both are multiplied by `scale`. Returns a scalar.
    """
    h, w = query_BChw.shape[-2:]
    height, width = reference_B1HW.shape[-2:]
    stride = height // h
    if height != stride * h or width != stride * w:
        raise ValueError(
            f"images of {height}x{width} are no multiple of feature maps of {h}x{w}; change the crop"
        )
    value = reference_B1HW[:, :, ::stride, ::stride]
    small = carry_channel(query_BChw, key_BChw, value, radius)
    full = F.interpolate(small, size=(height, width), mode="bilinear", align_corners=False)
    return F.smooth_l1_loss(scale * full, scale * target_B1HW)


def carry_channel(
    query_BChw: torch.Tensor, key_BChw: torch.Tensor, value_BVhw: torch.Tensor, radius: int
) -> torch.Tensor:
    """(B, V, h, w): sum over keys of softmax(q.k / sqrt(C)) times the key's value, keys with |dy|, |dx| <= radius.

    Features are not normalised, the temperature is 1, keys beyond the map do not count. The dense form has h*w x h*w
    entries; this one works tile row by tile row and computes a row's weights again in the backward pass, so memory is
    that of one row. Exact in both passes.
    """
    return _Carry.apply(query_BChw, key_BChw, value_BVhw, radius)


class _Carry(torch.autograd.Function):
    """Attention over a square window that keeps the log-sum-exp and recomputes the weights backwards."""

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, radius: int
    ) -> torch.Tensor:
        tiling = Tiling.of((query.shape[-2], query.shape[-1]), radius)
        q = tiling.queries(query) * query.shape[1] ** -0.5
        k, v = tiling.padded_keys(key), tiling.padded_keys(value)
        out = q.new_empty(*q.shape[:-1], value.shape[1])
        total = q.new_empty(q.shape[:-1])
        for row in tiling.rows():
            logits = _logits(tiling, q, k, row)
            total[:, row] = logits.logsumexp(-1)
            weights = logits.sub_(total[:, row, :, :, None]).exp_()
            out[:, row] = weights @ tiling.keys(v, row)
        ctx.tiling = tiling
        ctx.save_for_backward(query, key, value, out, total)
        return tiling.untile(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: torch.Tensor) -> Any:
        query, key, value, out, total = ctx.saved_tensors  # type: ignore[attr-defined]
        tiling: Tiling = ctx.tiling  # type: ignore[attr-defined]
        root = query.shape[1] ** -0.5
        q = tiling.queries(query) * root
        k, v = tiling.padded_keys(key), tiling.padded_keys(value)
        g = tiling.queries(grad)
        shared = (g * out).sum(-1, keepdim=True)
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for row in tiling.rows():
            weights = _logits(tiling, q, k, row).sub_(total[:, row, :, :, None]).exp_()
            if ctx.needs_input_grad[2]:  # type: ignore[attr-defined]
                tiling.add_keys(grad_v, row, weights.transpose(-1, -2) @ g[:, row])
            inner = g[:, row] @ tiling.keys(v, row).transpose(-1, -2)
            inner.sub_(shared[:, row]).mul_(weights)
            grad_q[:, row] = inner @ tiling.keys(k, row)
            tiling.add_keys(grad_k, row, inner.transpose(-1, -2) @ q[:, row])
        return (
            tiling.untile(grad_q) * root,
            tiling.cropped_keys(grad_k),
            tiling.cropped_keys(grad_v) if ctx.needs_input_grad[2] else None,  # type: ignore[attr-defined]
            None,
        )


def _logits(tiling: Tiling, q: torch.Tensor, k: torch.Tensor, row: int) -> torch.Tensor:
    """Masked logits of one tile row: (B, tiles across, tile*tile, reach*reach)."""
    logits = q[:, row] @ tiling.keys(k, row).transpose(-1, -2)
    return logits.add_(tiling.window_mask(q)).add_(tiling.map_mask(row, q))

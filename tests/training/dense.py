"""The local losses in their dense form, N x N affinities and all: what the windowed ones must equal."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def window(h: int, w: int, radius: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    at = torch.stack([y.flatten(), x.flatten()], -1)
    return (at[:, None] - at[None]).abs().amax(-1) <= radius


def correlation(query: torch.Tensor, key: torch.Tensor, radius: int) -> torch.Tensor:
    h, w = query.shape[-2:]
    logits = torch.einsum("bcn,bcm->bnm", query.flatten(2), key.flatten(2)) / query.shape[1] ** 0.5
    return logits.masked_fill(~window(h, w, radius).to(logits.device), -float("inf")).softmax(-1)


def carry(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, radius: int) -> torch.Tensor:
    carried = torch.einsum("bnm,bvm->bvn", correlation(query, key, radius), value.flatten(2))
    return carried.view(value.shape[:2] + query.shape[-2:])


def pooled(query: torch.Tensor, key: torch.Tensor, radius: int) -> torch.Tensor:
    b, _, h, w = query.shape
    c = correlation(query, key, radius).reshape(b * h * w, 1, h, w)
    over_keys = F.avg_pool2d(c, 2).view(b, h, w, -1).permute(0, 3, 1, 2)
    return F.avg_pool2d(over_keys, 2).flatten(2).transpose(1, 2)


def cost_volume(query: torch.Tensor, key: torch.Tensor, radius: int) -> torch.Tensor:
    h, w = query.shape[-2:]
    padded = F.pad(key, (radius,) * 4)
    side = range(2 * radius + 1)
    return torch.stack([(query * padded[:, :, y : y + h, x : x + w]).sum(1) for y in side for x in side], 1)


def local_distillation(
    fine: tuple[torch.Tensor, torch.Tensor],
    coarse: tuple[torch.Tensor, torch.Tensor],
    radii: tuple[int, int],
    mask: torch.Tensor,
    factor: float = 1.0,
) -> torch.Tensor:
    difference = correlation(*coarse, radii[1]) - factor * pooled(*fine, radii[0]).detach()
    weight = mask.flatten(1)[:, :, None].to(difference.dtype).expand_as(difference)
    return (difference.square() * weight).sum() / weight.sum()

"""What is carried along a clip, as the target of a direct match between its ends."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from corrbench.registry import LOSSES


def chain_targets(carried_Shw: torch.Tensor, reach: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Where each cell of a frame comes from, out of the labels that were carried to it: one class a source cell.

    `carried_Shw` is what each of the S = h * w source cells (raster order) gives to the cells of the frame, on a grid alike.
    For those Q = S cells: source cells (Q, n) int64, the n = (2 reach + 1)^2 round the one with the largest share, raster
    order; their shares (Q, n), summing to 1, 0 beside the map; and how certain that is (Q,), the part of the cell's
    whole label that they hold, in [0, 1].
    """
    h, w = carried_Shw.shape[1:]
    shares_QS = carried_Shw.flatten(1).T
    best_Q = shares_QS.argmax(1)
    offsets = torch.arange(-reach, reach + 1, device=best_Q.device)
    y_Qn = (best_Q // w)[:, None, None] + offsets[:, None] + 0 * offsets
    x_Qn = (best_Q % w)[:, None, None] + 0 * offsets[:, None] + offsets
    y_Qn, x_Qn = y_Qn.flatten(1), x_Qn.flatten(1)
    inside_Qn = (y_Qn >= 0) & (y_Qn < h) & (x_Qn >= 0) & (x_Qn < w)
    place_Qn = y_Qn.clamp(0, h - 1) * w + x_Qn.clamp(0, w - 1)
    share_Qn = shares_QS.gather(1, place_Qn) * inside_Qn
    held_Q = share_Qn.sum(1)
    least = torch.finfo(share_Qn.dtype).tiny
    certain_Q = held_Q / shares_QS.sum(1).clamp(min=least)
    return place_Qn, share_Qn / held_Q[:, None].clamp(min=least), certain_Q


@LOSSES.register_module()
def chain_distillation(
    query_QC: torch.Tensor,
    key_SC: torch.Tensor,
    place_Qn: torch.Tensor,
    share_Qn: torch.Tensor,
    certain_Q: torch.Tensor,
    temperature: float = 0.07,
) -> torch.Tensor:
    """Cross-entropy of a direct match with what was carried (`chain_targets`), `certain_Q` weighing the queries. A scalar.

    The match is the softmax over all source cells of cosine / temperature. Where nothing is certain the loss is 0, and so is
    its gradient.
    """
    cosines_QS = F.normalize(query_QC, dim=1) @ F.normalize(key_SC, dim=1).T
    found_Qn = (cosines_QS / temperature).log_softmax(1).gather(1, place_Qn)
    entropy_Q = -(share_Qn * found_Qn).sum(1)
    return (certain_Q * entropy_Q).sum() / certain_Q.sum().clamp(min=1e-9)

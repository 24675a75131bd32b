"""InfoNCE (van den Oord, Li & Vinyals 2018): between images against a queue (MoCo: He, Fan, Wu, Xie & Girshick, CVPR 2020),
and between the cells of two views (VADeR: Pinheiro et al., NeurIPS 2020)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from corrbench.registry import LOSSES


@LOSSES.register_module()
def info_nce(
    query_BD: torch.Tensor, key_BD: torch.Tensor, queue_KD: torch.Tensor, temperature: float = 0.2
) -> torch.Tensor:
    """Cross-entropy of picking a query's own key among it and the queue's K, unit vectors all. A scalar.

    Keys and queue are detached. MoCo v2 has temperature 0.2, v1 0.07.
    """
    own = (query_BD * key_BD.detach()).sum(1, keepdim=True)
    others = query_BD @ queue_KD.detach().T
    logits = torch.cat([own, others], 1) / temperature
    return F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))


@LOSSES.register_module()
def dense_info_nce(
    first_BCHW: torch.Tensor, second_BCHW: torch.Tensor, places_BHW2: torch.Tensor, temperature: float = 0.07
) -> torch.Tensor:
    """Cross-entropy of each cell's place in the other view, among the cells of all B views there; both ways. A scalar.

    Unit vectors a cell. `places` are where the cells of the first views lie in the second ones, (column, row) in cells; the
    target is shared out over the four cells around, bilinearly, and cells that lie outside do not count. The other way,
    each of those four has to find the cell that it came from. Without any overlap the loss is 0.
    """
    h, w = first_BCHW.shape[2:]
    cells_NC, others_NC = (x.permute(0, 2, 3, 1).flatten(0, 2) for x in (first_BCHW, second_BCHW))
    index_N4, share_N4 = _around(places_BHW2)
    edge = places_BHW2.new_tensor([w, h]) - 0.5
    inside_N = ((places_BHW2 >= -0.5) & (places_BHW2 <= edge)).all(-1).flatten().to(cells_NC.dtype)
    logits_NN = cells_NC @ others_NC.T / temperature
    own_N = (logits_NN.gather(1, index_N4) * share_N4).sum(1)
    forth_N = logits_NN.logsumexp(1) - own_N
    back_N = (logits_NN.logsumexp(0)[index_N4] * share_N4).sum(1) - own_N
    return ((forth_N + back_N) / 2 * inside_N).sum() / inside_N.sum().clamp(min=1)


def _around(places_BHW2: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The four cells around each place, numbered over the batch, and their bilinear shares: (N, 4) each."""
    b, h, w, _ = places_BHW2.shape
    column, row = (places_BHW2[..., i].clamp(0, size - 1) for i, size in enumerate((w, h)))
    left, top = column.floor().clamp(max=max(w - 2, 0)), row.floor().clamp(max=max(h - 2, 0))
    right_share, low_share = column - left, row - top
    start = torch.arange(b, device=places_BHW2.device).view(b, 1, 1) * (h * w)
    index, share = [], []
    for down in (0, 1):
        for across in (0, 1):
            y, x = (top + down).clamp(max=h - 1), (left + across).clamp(max=w - 1)
            index.append(start + (y * w + x).long())
            share.append(
                (low_share if down else 1 - low_share) * (right_share if across else 1 - right_share)
            )
    return torch.stack(index, -1).flatten(0, 2), torch.stack(share, -1).flatten(0, 2)

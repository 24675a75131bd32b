"""InfoNCE against a queue (van den Oord, Li & Vinyals 2018; MoCo: He, Fan, Wu, Xie & Girshick, CVPR 2020)."""

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

"""Local and global correlation distillation of STT (Li & Liu, CVPR 2023, sections 3.3 and 3.4), released and as written; and
that of an ensemble.

The released code departs from the paper's reading in four places of the local loss; each is a switch whose default is the
released one, because the published numbers come from it: `target`, `volume`, `score`, `threshold` (docs/stt.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from corrbench.registry import LOSSES, did_you_mean
from corrbench.training.losses.windows import Tiling

SWITCHES = {
    "target": ("mean", "distribution"),
    "volume": ("products", "correlation"),
    "score": ("log", "entropy"),
    "threshold": ("columns", "map"),
}
_TILE = (
    4  # coarse cells a side of a tile; the finer level's tiles are twice that, so that they pool tile by tile
)


@LOSSES.register_module()
def local_distillation(
    fine_query_BChw: torch.Tensor,
    fine_key_BChw: torch.Tensor,
    query_BChw: torch.Tensor,
    key_BChw: torch.Tensor,
    fine_radius: int,
    radius: int,
    quantile: float = 0.7,
    *,
    target: str = "mean",
    volume: str = "products",
    score: str = "log",
    threshold: str = "columns",
) -> torch.Tensor:
    """The finer level's local correlation teaches the coarser one's where its matching is uncertain. A scalar.

    `local_distillation_parts` divided out: the mean squared difference over masked queries and all keys of the map.
    """
    total, count = local_distillation_parts(
        fine_query_BChw, fine_key_BChw, query_BChw, key_BChw, fine_radius, radius, quantile,
        target=target, volume=volume, score=score, threshold=threshold,
    )  # fmt: skip
    return total / count.clamp(min=1)


def local_distillation_parts(
    fine_query_BChw: torch.Tensor,
    fine_key_BChw: torch.Tensor,
    query_BChw: torch.Tensor,
    key_BChw: torch.Tensor,
    fine_radius: int,
    radius: int,
    quantile: float = 0.7,
    *,
    target: str = "mean",
    volume: str = "products",
    score: str = "log",
    threshold: str = "columns",
) -> tuple[torch.Tensor, torch.Tensor]:
    """(sum of squared differences over masked queries, number of masked queries times keys): both summable over ranks.

    The finer maps have exactly twice the coarser ones' size. Fine correlation is pooled 2x2 over keys and over queries
    and detached; its support around a coarse query has radius ceil(fine_radius / 2), so neither level is built densely.
    """
    for name, value in (("target", target), ("volume", volume), ("score", score), ("threshold", threshold)):
        if value not in SWITCHES[name]:
            raise ValueError(
                f"{name} {value!r} is no choice.{did_you_mean(str(value), list(SWITCHES[name]))}"
            )
    size = (query_BChw.shape[-2], query_BChw.shape[-1])
    fine_size = tuple(fine_query_BChw.shape[-2:])
    if fine_size != (2 * size[0], 2 * size[1]):
        raise ValueError(
            f"the finer level must be twice the coarser one's {size}, got {fine_size}; change the crop"
        )
    tiling = Tiling(size, radius, _TILE, max(radius, (fine_radius + 1) // 2))
    with torch.no_grad():
        pooled = pooled_correlation(fine_query_BChw, fine_key_BChw, fine_radius, tiling.margin)
        if target == "distribution":
            pooled = pooled * 4
        scores = uncertainty(query_BChw, key_BChw, radius, volume=volume, score=score)
        mask = uncertain(scores, quantile, threshold=threshold)
        mask_tiles = tiling.queries(mask[:, None].to(query_BChw.dtype))
        count = mask.sum() * (size[0] * size[1])
    difference = correlation_tiles(query_BChw, key_BChw, tiling) - pooled
    return (difference.square() * mask_tiles).sum(), count.to(query_BChw.dtype)


def correlation_tiles(query_BChw: torch.Tensor, key_BChw: torch.Tensor, tiling: Tiling) -> torch.Tensor:
    """softmax(q.k / sqrt(C)) over the window, (B, tiles down, tiles across, tile*tile, reach*reach); differentiable."""
    q = tiling.queries(query_BChw) * query_BChw.shape[1] ** -0.5
    padded = tiling.padded_keys(key_BChw)
    k = torch.stack([tiling.keys(padded, row) for row in tiling.rows()], 1)
    beyond = torch.stack([tiling.map_mask(row, q) for row in tiling.rows()])
    return (q @ k.transpose(-1, -2) + tiling.window_mask(q) + beyond).softmax(-1)


def pooled_correlation(
    query_BChw: torch.Tensor, key_BChw: torch.Tensor, radius: int, coarse_margin: int
) -> torch.Tensor:
    """The fine level's local correlation averaged over 2x2 keys and 2x2 queries, in the coarse level's tiles.

    (B, tiles down, tiles across, tile*tile, reach*reach) of `Tiling(h/2, w/2, tile 4, margin coarse_margin)`. Averaging
    over keys leaves a quarter of each row's mass, as in the released code. One tile row at a time; call without gradients.
    """
    tiling = Tiling((query_BChw.shape[-2], query_BChw.shape[-1]), radius, 2 * _TILE, 2 * coarse_margin)
    q = tiling.queries(query_BChw) * query_BChw.shape[1] ** -0.5
    k = tiling.padded_keys(key_BChw)
    half, reach = tiling.tile // 2, tiling.reach // 2
    rows = []
    for row in tiling.rows():
        logits = q[:, row] @ tiling.keys(k, row).transpose(-1, -2)
        weights = logits.add_(tiling.window_mask(q)).add_(tiling.map_mask(row, q)).softmax(-1)
        b, across = weights.shape[:2]
        cut = weights.view(b, across, half, 2, half, 2, reach, 2, reach, 2)
        rows.append(cut.mean((3, 5, 7, 9)).view(b, across, half * half, reach * reach))
    return torch.stack(rows, 1)


def uncertainty(
    query_BChw: torch.Tensor,
    key_BChw: torch.Tensor,
    radius: int,
    *,
    volume: str = "products",
    score: str = "log",
) -> torch.Tensor:
    """How uncertain each query's matching is: (B, h, w), larger is less certain.

    `volume="products"` (released): softmax of plain sums of products over all (2r+1)^2 displacements, 0 where one leads
    beyond the map; `"correlation"`: the local correlation itself (over sqrt(C), keys on the map only). `score="log"`
    (released): sum of -log(p + 1e-12); `"entropy"`: sum of -p log(p + 1e-12).
    """
    size = (query_BChw.shape[-2], query_BChw.shape[-1])
    tiling = Tiling(size, radius, _TILE, radius)
    q, padded = tiling.queries(query_BChw), tiling.padded_keys(key_BChw)
    if volume == "correlation":
        q = q * query_BChw.shape[1] ** -0.5
    window = tiling.window_mask(q)
    rows = []
    for row in tiling.rows():
        logits = q[:, row] @ tiling.keys(padded, row).transpose(-1, -2) + window
        counted = (window == 0).expand_as(logits)
        if volume == "correlation":
            beyond = tiling.map_mask(row, q)
            logits, counted = logits + beyond, counted & (beyond == 0)
        p = logits.softmax(-1)
        surprise = -(p + 1e-12).log()
        each = surprise if score == "log" else p * surprise
        rows.append(each.masked_fill(~counted, 0).sum(-1, keepdim=True))
    return tiling.untile(torch.stack(rows, 1))[:, 0]


def uncertain(scores_Bhw: torch.Tensor, quantile: float = 0.7, *, threshold: str = "columns") -> torch.Tensor:
    """Bool (B, h, w): the queries that the local distillation counts.

    `threshold="map"` (the paper's reading): score above the int(quantile * h*w)-th largest of its map. `"columns"`
    (released): scores are sorted along the width in descending order, row int(quantile * w) - 1 of that sorted map is
    taken, and the score at (y, x) is compared with its x-th entry, the same for every y.
    """
    b, h, w = scores_Bhw.shape
    if threshold == "map":
        flat = scores_Bhw.flatten(1)
        place = max(int(quantile * flat.shape[1]), 1) - 1
        return scores_Bhw > flat.sort(1, descending=True).values[:, place].view(b, 1, 1)
    row = max(int(quantile * w), 1) - 1
    if row >= h:
        raise ValueError(
            f"threshold 'columns' reads row {row} of a map of {h} rows; use square crops or 'map'"
        )
    return scores_Bhw > scores_Bhw.sort(-1, descending=True).values[:, row : row + 1]


@LOSSES.register_module()
def global_distillation(
    query_BChw: torch.Tensor,
    key_BChw: torch.Tensor,
    teacher_query_BDhw: torch.Tensor,
    teacher_key_BDhw: torch.Tensor,
    temperature: float = 0.07,
) -> torch.Tensor:
    """Mean squared difference of the student's and the frozen teacher's correlation over all positions. A scalar.

    Student: softmax(q.k / sqrt(C)). Teacher: softmax(q.k / temperature), features not normalised, detached. The grids are
    the same, and small (8 x 8 in the paper), so this one is dense.
    """
    if query_BChw.shape[-2:] != teacher_query_BDhw.shape[-2:]:
        raise ValueError(
            f"student and teacher maps differ: {tuple(query_BChw.shape[-2:])} and "
            f"{tuple(teacher_query_BDhw.shape[-2:])}; give both the same total stride"
        )
    student = _dense(query_BChw, key_BChw, query_BChw.shape[1] ** -0.5)
    with torch.no_grad():
        teacher = _dense(teacher_query_BDhw, teacher_key_BDhw, 1 / temperature)
    return (student - teacher).square().mean()


def _dense(query_BChw: torch.Tensor, key_BChw: torch.Tensor, factor: float) -> torch.Tensor:
    return (query_BChw.flatten(2).transpose(1, 2) @ key_BChw.flatten(2) * factor).softmax(-1)


@LOSSES.register_module()
def ensemble_distillation(
    query_BChw: torch.Tensor,
    key_BChw: torch.Tensor,
    teachers: Sequence[tuple[torch.Tensor, torch.Tensor]],
    temperature: float = 0.07,
) -> torch.Tensor:
    """The affinities of an ensemble teach those of one network. A scalar in nats; ours, not STT's.

    `teachers` are (query, key) features as the network's, each of any number of channels. s = cosine / `temperature`; the
    ensemble's t is the mean over teachers. KL(softmax t, softmax s) over all keys of a query and over all queries of a key,
    averaged over cells and over the two ways. 0 where the cosines are the ensemble's up to a constant.
    """
    with torch.no_grad():
        taught = torch.stack([_cosines(q, k) for q, k in teachers]).mean(0) / temperature
    learnt = _cosines(query_BChw, key_BChw) / temperature
    ways = [
        F.kl_div(learnt.log_softmax(way), taught.log_softmax(way), log_target=True, reduction="none")
        .sum(way)
        .mean()
        for way in (1, 2)
    ]
    return torch.stack(ways).mean()


def _cosines(query_BChw: torch.Tensor, key_BChw: torch.Tensor) -> torch.Tensor:
    """(B, queries, keys)"""
    query, key = (F.normalize(x.flatten(2), dim=1) for x in (query_BChw, key_BChw))
    return torch.einsum("bcq,bck->bqk", query, key)

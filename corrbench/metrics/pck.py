"""PCK, the percentage of correct joints, as label-propagation code computes it, and what that conceals.

The field's PCK (released code of UVC, CRW, VFS and STT) measures the distance between a predicted and an
annotated joint in units of 0.6 x the diagonal of the box around the annotated joints *that are counted in
that frame*. A joint that was lost (no value anywhere in its map, predicted at (-1, -1)) is left out of the
score and of the box. Distances are pooled over frames and clips for each joint, a percentage is taken a
joint, and the joints' percentages are averaged. So frame 0, whose joints were given, can count, and a lost
joint costs nothing: the counts here also hold what is needed to say how much that hides.

All functions take tensors or arrays, on any device, and loop over nothing. J is the number of joints, T of
frames. Coordinates are (x, y) pixels; an annotation that is not there is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

ALPHAS = (0.1, 0.2, 0.3, 0.4, 0.5)
BOX_SHARE = 0.6

Points = torch.Tensor | np.ndarray


@dataclass(frozen=True)
class PoseCounts:
    """Sufficient statistics of one sequence's PCK, each int64 `(J,)` or, for A thresholds, `(A, J)`.

    `annotated` joints are split into `count`, those that the score counts, and `lost`. `hits` are the
    counted joints within each threshold; `count_no0` and `hits_no0` leave frame 0 out; `hits_annotated`
    measures the distance in units of the box of all annotated joints, with lost joints as misses.
    """

    annotated: torch.Tensor
    count: torch.Tensor
    lost: torch.Tensor
    hits: torch.Tensor
    count_no0: torch.Tensor
    hits_no0: torch.Tensor
    hits_annotated: torch.Tensor


def is_annotated(truth: Points) -> torch.Tensor:
    """Which joints `(T, J)` of `truth (T, J, 2)` have an annotation: both coordinates are numbers."""
    return _points(truth).isfinite().all(-1)


def is_counted(predicted: Points, truth: Points, zero_counts: bool = False) -> torch.Tensor:
    """Which joints `(T, J)` the score counts: annotated, and predicted at x > 0 (STT, VFS).

    With `zero_counts` at x >= 0 (UVC, CRW), which differs for a joint predicted in the leftmost column alone.
    """
    predicted, truth = _pair(predicted, truth)
    x = predicted[..., 0]
    return is_annotated(truth) & ((x >= 0) if zero_counts else (x > 0)) & predicted.isfinite().all(-1)


def box_size(truth: Points, members: torch.Tensor, share: float = BOX_SHARE) -> torch.Tensor:
    """`share` x the diagonal of the box around the `members (T, J)` of `truth (T, J, 2)`: `(T,)` pixels.

    0 where a frame has no member or one.
    """
    points = _points(truth)
    outside = ~members.to(points.device).unsqueeze(-1)
    low = points.masked_fill(outside, torch.inf).amin(1)
    high = points.masked_fill(outside, -torch.inf).amax(1)
    extent = (high - low).masked_fill(~members.to(points.device).any(1).unsqueeze(-1), 0.0)
    return share * torch.linalg.vector_norm(extent, dim=-1)


def distances(predicted: Points, truth: Points, unit: torch.Tensor) -> torch.Tensor:
    """Distance `(T, J)` between joints `(T, J, 2)`, in units `(T,)` a frame; inf where a unit is 0.

    The released codes divide by that 0: inf, or NaN for a perfect prediction. Neither is a hit, nor is inf
    here.
    """
    predicted, truth = _pair(predicted, truth)
    pixels = torch.linalg.vector_norm(predicted - truth, dim=-1)
    unit = unit.to(pixels)[:, None]
    return torch.where(unit > 0, pixels / unit.clamp_min(torch.finfo(pixels.dtype).tiny), torch.inf)


def score_distances(
    predicted: Points, truth: Points, *, unit: Points | None = None, zero_counts: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """The normalised distances `(T, J)` that PCK pools (NaN: not counted), and which joints are counted.

    `unit (T,)` is the length that distances are measured in, pixels; without it the field's box of counted
    joints.
    """
    counted = is_counted(predicted, truth, zero_counts)
    length = box_size(truth, counted) if unit is None else _unit(unit, counted)
    return distances(predicted, truth, length).masked_fill(~counted, torch.nan), counted


def pose_counts(
    predicted: Points,
    truth: Points,
    *,
    unit: Points | None = None,
    zero_counts: bool = False,
    alphas: tuple[float, ...] = ALPHAS,
) -> PoseCounts:
    """The sufficient statistics of PCK at `alphas` for the joints `(T, J, 2)` of one sequence.

    `unit (T,)`: the length that distances are measured in, pixels, e.g. the root of the animal's area
    (BADJA); without it the field's box of counted joints. A hit is a distance <= alpha.
    """
    distance, counted = score_distances(predicted, truth, unit=unit, zero_counts=zero_counts)
    annotated = is_annotated(truth).to(counted.device)
    whole = box_size(truth, annotated).to(counted.device) if unit is None else _unit(unit, counted)
    distance_all = distances(predicted, truth, whole).masked_fill(~counted, torch.inf)
    threshold = torch.tensor(alphas, dtype=distance.dtype, device=distance.device)[:, None, None]
    hits = distance <= threshold  # (A, T, J); NaN is never a hit
    hits_all = distance_all <= threshold
    return PoseCounts(
        annotated=annotated.sum(0),
        count=counted.sum(0),
        lost=(annotated & ~counted).sum(0),
        hits=hits.sum(1),
        count_no0=counted[1:].sum(0),
        hits_no0=hits[:, 1:].sum(1),
        hits_annotated=hits_all.sum(1),
    )


def pck(hits: Points, count: Points) -> tuple[torch.Tensor, torch.Tensor]:
    """PCK in percent of pooled `hits (..., J)` and `count (J,)`: the joints' mean `(...)`, each joint's.

    A joint that was never counted is NaN and left out of the mean.
    """
    hits, count = torch.as_tensor(hits).double(), torch.as_tensor(count).double()
    joints = torch.where(count > 0, 100.0 * hits / count.clamp_min(1.0), torch.nan)
    return joints.nanmean(-1), joints


def confusion(predicted: Points, truth: Points, zero_counts: bool = False) -> torch.Tensor:
    """How often the annotated joint nearest to a counted prediction of joint i is joint j: int64 `(J, J)`.

    The diagonal holds the predictions whose nearest joint is their own; mass on a left/right pair tells of
    swapped limbs. Of joints equally near the prediction's own wins, then the first.
    """
    predicted, truth = _pair(predicted, truth)
    counted = is_counted(predicted, truth, zero_counts)
    joints = truth.shape[1]
    apart = torch.linalg.vector_norm(
        predicted[:, :, None] - truth[:, None], dim=-1
    )  # (T, predicted, annotated)
    apart = apart.masked_fill(~is_annotated(truth)[:, None], torch.inf)
    nearest = apart.argmin(-1)
    own = torch.arange(joints, device=apart.device)
    nearest = torch.where(apart.diagonal(dim1=1, dim2=2) <= apart.amin(-1), own, nearest)
    flat = (own * joints + nearest)[counted]
    return torch.bincount(flat, minlength=joints * joints).reshape(joints, joints)


def _points(points: Points) -> torch.Tensor:
    points = torch.as_tensor(points)
    if points.ndim != 3 or points.shape[-1] != 2:
        raise ValueError(f"joints have the shape (frames, joints, 2), got {tuple(points.shape)}")
    return points.double()


def _pair(predicted: Points, truth: Points) -> tuple[torch.Tensor, torch.Tensor]:
    predicted = _points(predicted)
    truth = _points(truth).to(predicted.device)
    if predicted.shape != truth.shape:
        raise ValueError(f"{tuple(predicted.shape)} predicted joints for {tuple(truth.shape)} annotated ones")
    return predicted, truth


def _unit(unit: Points, counted: torch.Tensor) -> torch.Tensor:
    unit = torch.as_tensor(unit, dtype=torch.float64, device=counted.device)
    if unit.shape != counted.shape[:1]:
        raise ValueError(
            f"one unit of length a frame: expected ({counted.shape[0]},), got {tuple(unit.shape)}"
        )
    return unit

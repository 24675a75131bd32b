"""J and F of DAVIS (Perazzi et al., CVPR 2016; Pont-Tuset et al., 2017), equal to davis2017-evaluation to the last bit.

Both are ratios of pixel counts, so that every device gives the same numbers: J the intersection over the union, F the
harmonic mean of the shares of each boundary that lie within a disk of the other. Rules of the official code, kept:

- objects are 1 to the highest id of the *first* ground-truth frame; an id that a prediction lacks is an empty mask; an
  id above the highest is refused; ids above it in later ground-truth frames are background
- void (255) in the ground truth is background, in the semi-supervised task it is not left out
- J is 1 where the union is empty; F is 1 where both boundaries are empty and 0 where one is
- the disk's radius is ceil(0.008 * diagonal); the boundary's last row and column have rules of their own (`bits.boundary`)
- the first and the last frame of a sequence are left out of its statistics
- the mean of a data set is over objects, not over sequences (`corrbench.summary`)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from corrbench.metrics import bits, native

if TYPE_CHECKING:
    import torch

Values = npt.NDArray[np.float64]
Masks = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]  # (6, objects, T), in the order of `_counts`

VOID = 255
BOUND = 0.008  # of the image's diagonal
_NUMPY_FRAMES = 4  # measured: more leave the cache, fewer spend their time in calls
_TORCH_PIXELS = 1 << 28  # object pixels that one batch may hold on a device: 0.25 GB as bytes


def jaccard_and_boundary(
    ground_truth_THW: npt.ArrayLike | torch.Tensor,
    prediction_THW: npt.ArrayLike | torch.Tensor,
    objects: int | tuple[int, ...] | None = None,
    *,
    device: str | torch.device | None = None,
) -> tuple[Values, Values]:
    """J and F of every object in every frame: two float64 arrays (objects, T) in [0, 1].

    ground_truth, prediction: uint8 ids (T, H, W), numpy or torch. objects: how many (ids 1 to n), or their ids; absent:
    `count_objects` of the first ground-truth frame. device: where to compute; absent: where the tensors are. Raises
    ValueError for other shapes or dtypes, and for a prediction with an id above the highest object's.
    """
    truth, found = _arrays(ground_truth_THW, prediction_THW, device)
    if objects is None:
        objects = count_objects(truth[0])
    ids = objects if isinstance(objects, tuple) else tuple(range(1, int(objects) + 1))
    highest = max(ids, default=0)
    if not all(0 < number < VOID for number in ids):
        raise ValueError(f"object ids go from 1 to {VOID - 1}, got {ids}")
    radius = boundary_radius(*truth.shape[1:])
    if not isinstance(truth, np.ndarray):
        counts, tops = _counts_torch(truth, found, ids, radius)
    elif native.available():
        counts, tops = native.counts(truth, found, ids, radius)
    else:
        counts, tops = _counts_numpy(truth, found, ids, radius)
    if tops.max() > highest:
        frame = int(np.argmax(tops > highest))
        raise ValueError(
            f"the prediction of frame {frame} has id {tops[frame]}, but the first ground-truth frame has ids up to "
            f"{highest}; number objects as it does"
        )
    return _scores(counts)


def count_objects(first_HW: Any) -> int:
    """How many objects a sequence has: the highest id of its first ground-truth frame, void left aside."""
    return int((first_HW * (first_HW != VOID)).max())


def single_object(masks_THW: Masks) -> Masks:
    """All objects merged into one with id 1, as DAVIS-2016 has it; void becomes background."""
    return ((masks_THW != 0) & (masks_THW != VOID)).astype(np.uint8)


def boundary_radius(height: int, width: int) -> int:
    """How far apart, in pixels, two boundaries may lie and still match."""
    return int(np.ceil(BOUND * np.linalg.norm((height, width))))


def sequence_statistics(
    j_T: npt.ArrayLike, f_T: npt.ArrayLike, *, decay_wraps: bool = True
) -> dict[str, float | int]:
    """Mean, recall and decay of one object's J and F over a sequence, first and last frame left out; and `frames`.

    j, f: (T,) of all frames. Recall is the share of frames above 0.5, decay the mean of the first quarter less the mean
    of the last. decay_wraps: the official code keeps the quarters' ends in 8 bits, so that its decay is nan or looks at
    other frames for more than 256; False counts on. No sequence of DAVIS is that long. Raises ValueError for T < 3.
    """
    statistics: dict[str, float | int] = {}
    for letter, values in (("J", j_T), ("F", f_T)):
        inner = np.asarray(values, dtype=np.float64)[1:-1]
        if inner.ndim != 1 or not len(inner):
            raise ValueError(
                f"{letter} has shape {np.shape(values)}: a sequence needs 3 frames or more, for the first and the last "
                "are not scored"
            )
        statistics[f"{letter}-Mean"] = float(inner.mean())
        statistics[f"{letter}-Recall"] = float((inner > 0.5).mean())
        statistics[f"{letter}-Decay"] = _decay(inner, decay_wraps)
        statistics["frames"] = len(inner)
    return statistics


def _decay(values: Values, wraps: bool) -> float:
    """The quarters share their end frames, and 1e-10 makes np.round round halves up (as the official code has it)."""
    ends = (np.round(np.linspace(1, len(values), 5) + 1e-10) - 1).astype(np.int64)
    if wraps:
        ends &= 0xFF
    first, last = values[ends[0] : ends[1] + 1], values[ends[3] : ends[4] + 1]
    return float(first.mean() - last.mean()) if len(first) and len(last) else float("nan")


def _arrays(truth: Any, found: Any, device: Any) -> tuple[Any, Any]:
    """Both as numpy uint8 where the CPU computes, else both as tensors on the device."""
    tensors = [
        value for value in (truth, found) if not isinstance(value, np.ndarray) and hasattr(value, "device")
    ]
    device = device if device is not None else (tensors[0].device if tensors else "cpu")
    if str(device).partition(":")[0] == "cpu":
        truth, found = (
            np.asarray(value.cpu() if hasattr(value, "cpu") else value) for value in (truth, found)
        )
    else:
        import torch

        truth, found = (torch.as_tensor(value).to(device) for value in (truth, found))
    for name, value in (("ground truth", truth), ("prediction", found)):
        if (
            value.ndim != 3
            or str(value.dtype).removeprefix("torch.") not in ("uint8", "bool")
            or 0 in value.shape
        ):
            raise ValueError(
                f"the {name} must be uint8 ids (T, H, W), got {value.dtype} {tuple(value.shape)}"
            )
    if truth.shape != found.shape:
        raise ValueError(
            f"the prediction is {tuple(found.shape)}, the ground truth {tuple(truth.shape)} (T, H, W); predict every "
            "frame at the annotation's size"
        )
    return tuple(
        value.view(np.uint8 if isinstance(value, np.ndarray) else torch.uint8) for value in (truth, found)
    )


def _counts_numpy(truth: Masks, found: Masks, ids: tuple[int, ...], radius: int) -> tuple[Counts, Masks]:
    """One object of a few frames at a time, cut to the rows and words that hold any of it: it fits the cache."""
    counts = np.zeros((6, len(ids), len(truth)), dtype=np.int64)
    tops = np.zeros(len(truth), dtype=np.uint8)
    highest = max(ids, default=0)
    for start in range(0, len(truth), _NUMPY_FRAMES):
        part = slice(start, start + _NUMPY_FRAMES)
        tops[part] = [mask.max() for mask in found[part]]
        masks = (mask for side in (truth, found) for mask in side[part])
        digits = (
            digit for mask in masks for digit in _planes(mask, highest)
        )  # one after the other, in the cache
        words = bits.pack_numpy(digits, radius)
        words = words.reshape(2, len(truth[part]), -1, *words.shape[1:])
        for index, number in enumerate(ids):
            both = _object([words[:, :, digit] for digit in range(words.shape[2])], number)
            both, left = bits.cut(both, radius)
            if both.size:
                counts[:, index, part] = _counts(both, truth.shape[2] - left, radius)
    return counts, tops


def _counts_torch(
    truth: torch.Tensor, found: torch.Tensor, ids: tuple[int, ...], radius: int
) -> tuple[Counts, Masks]:
    """All objects of as many frames at a time as `_TORCH_PIXELS` allows."""
    import torch

    counts = torch.zeros((6, len(ids), len(truth)), dtype=torch.int64, device=truth.device)
    step = max(1, _TORCH_PIXELS // (2 * max(1, len(ids)) * truth[0].numel()))
    for start in range(0, len(truth) if ids else 0, step):
        part = slice(start, start + step)
        packed = [
            [bits.pack_torch(plane, radius) for plane in _planes(mask[part], max(ids))]
            for mask in (truth, found)
        ]
        both = torch.stack([torch.stack([_object(planes, number) for number in ids]) for planes in packed])
        counts[:, :, part] = torch.stack(_counts(both, truth.shape[2], radius))
    return counts.cpu().numpy(), found.flatten(1).max(1).values.cpu().numpy()


def _planes(mask: Any, highest: int) -> list[Any]:
    """The binary digits of the ids 0..highest; larger values, void among them, count as 0."""
    if int(mask.max()) > highest:
        mask = mask * (mask <= highest)
    return [mask & (1 << digit) for digit in range(highest.bit_length())] if highest > 1 else [mask]


def _object(planes: list[Any], number: int) -> Any:
    """Words of one id, from the packed binary digits of all ids."""
    chosen = None
    for digit, plane in enumerate(planes):
        part = plane if number >> digit & 1 else ~plane
        chosen = part if chosen is None else chosen & part
    return chosen


def _counts(both: Any, width: int, radius: int) -> tuple[Any, ...]:
    """Pixels of intersection and union; of the boundaries of truth and prediction; matched ones of each.

    both: words (2, ..., H, n), ground truth and prediction, their row starting at the image's column 0 or at a cut
    that leaves `width` columns to the right.
    """
    areas = bits.count(both)
    intersection = bits.count(both[0] & both[1])
    edges = bits.boundary(both, width)
    near = bits.dilate(edges, radius)
    pixels = bits.count(edges)
    edges[0] &= near[1]
    edges[1] &= near[0]
    matched = bits.count(edges)
    return intersection, areas[0] + areas[1] - intersection, *pixels, *matched


def _scores(counts: Counts) -> tuple[Values, Values]:
    intersection, union, of_truth, of_found, truth_matched, found_matched = counts
    with np.errstate(divide="ignore", invalid="ignore"):
        j = np.where(union == 0, 1.0, intersection / union)
        # One boundary empty: 1 and 0 by the official rules, so that F is 0. Both empty: 1 and 1.
        precision = np.where(of_found == 0, 1.0, np.where(of_truth == 0, 0.0, found_matched / of_found))
        recall = np.where(of_truth == 0, 1.0, np.where(of_found == 0, 0.0, truth_matched / of_truth))
        f = np.where(precision + recall == 0, 0.0, 2 * precision * recall / (precision + recall))
    return j, f

"""Mean intersection over union of part masks over a whole data set, as VIP is scored.

Intersections and unions are summed over all frames of all videos, then one IoU a class, then the mean over
the classes that occur (released code of UVC, CRW, VFS and STT): a mean over the data set, not over videos.
Pixels whose annotation is `IGNORE` count nowhere. Counts are kept a frame, so that frame 0, whose mask was
given, can be left out.
"""

from __future__ import annotations

import numpy as np
import torch

IGNORE = 255

Masks = torch.Tensor | np.ndarray


def class_counts(
    predicted: Masks, truth: Masks, classes: int, ignore: int = IGNORE
) -> tuple[torch.Tensor, torch.Tensor]:
    """Intersection and union of each class in each frame, pixels: two int64 `(T, classes)`, on their device.

    `predicted` and `truth` are index masks `(T, H, W)` of at most 255 classes; half a MiB is needed a frame.
    `ValueError` for unequal shapes and for an index that is neither a class nor, in `truth`, `ignore`; a
    predicted `ignore` is refused unless the annotation is `ignore` there too.
    """
    predicted = _bytes(predicted, "predicted")
    truth = _bytes(truth, "annotated").to(predicted.device)
    if predicted.shape != truth.shape or truth.ndim != 3:
        raise ValueError(
            f"masks have the shape (frames, height, width): predicted {tuple(predicted.shape)}, "
            f"annotated {tuple(truth.shape)}"
        )
    # One count of (frame, annotated, predicted), 8 bits each, answers everything, void pixels included. A frame at a
    # time stays in a CPU's cache; a GPU takes them all at once.
    step = 1 if truth.device.type == "cpu" else max(1, len(truth))
    blocks = zip(truth.split(step), predicted.split(step), strict=True)
    table = torch.cat([_pair_counts(t, p) for t, p in blocks])
    table[:, ignore] = 0
    whole = table.sum(0)
    for what, pixels in (("annotated", whole.sum(1)), ("predicted", whole.sum(0))):
        if pixels[classes:].any():
            worst = int(pixels.nonzero()[-1])
            raise ValueError(f"a pixel is {what} as class {worst}, but the classes are 0 to {classes - 1}")
    table = table[:, :classes, :classes]
    intersection = table.diagonal(dim1=1, dim2=2)
    return intersection.clone(), table.sum(1) + table.sum(2) - intersection


def mean_iou(intersection: Masks, union: Masks) -> tuple[float, torch.Tensor]:
    """mIoU in percent and each class's IoU `(classes,)`, from summed counts `(classes,)`.

    A class that occurs neither in the annotation nor in the prediction has a union of 0: its IoU is NaN and
    the mean leaves it out.
    """
    intersection, union = torch.as_tensor(intersection).double(), torch.as_tensor(union).double()
    iou = torch.where(union > 0, 100.0 * intersection / union.clamp_min(1.0), torch.nan)
    return float(iou.nanmean()), iou


def _pair_counts(truth: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
    """How often each pair (annotated, predicted) of bytes occurs in each frame: int64 (T, 256, 256)."""
    frames = len(truth)
    frame = torch.arange(frames, dtype=torch.int32, device=truth.device)[:, None, None]
    code = (frame << 16) | (truth.int() << 8) | predicted
    return torch.bincount(code.flatten(), minlength=frames << 16).reshape(frames, 256, 256)


def _bytes(masks: Masks, what: str) -> torch.Tensor:
    masks = torch.as_tensor(masks)
    if masks.dtype != torch.uint8:
        if masks.is_floating_point() or (
            masks.numel() and not 0 <= int(masks.min()) <= int(masks.max()) <= 255
        ):
            raise ValueError(f"{what} masks hold whole numbers from 0 to 255, got {masks.dtype}")
        masks = masks.to(torch.uint8)
    return masks

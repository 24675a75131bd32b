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

    `predicted` and `truth` are index masks `(T, H, W)`. `ValueError` for unequal shapes and for an index
    that is neither a class nor, in `truth`, `ignore`; a predicted `ignore` counts only where the annotation
    is `ignore` too, that is nowhere, and is refused elsewhere.
    """
    predicted = torch.as_tensor(predicted)
    truth = torch.as_tensor(truth).to(predicted.device)
    if predicted.shape != truth.shape or truth.ndim != 3:
        raise ValueError(
            f"masks have the shape (frames, height, width): predicted {tuple(predicted.shape)}, "
            f"annotated {tuple(truth.shape)}"
        )
    frames = truth.shape[0]
    kept = truth != ignore
    frame = torch.arange(frames, device=truth.device)[:, None, None].expand_as(truth)[kept]
    of_truth = truth[kept].long()
    of_predicted = predicted[kept].long()
    for what, index in (("annotated", of_truth), ("predicted", of_predicted)):
        if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < classes:
            worst = int(index.max()) if int(index.max()) >= classes else int(index.min())
            raise ValueError(f"a pixel is {what} as class {worst}, but the classes are 0 to {classes - 1}")
    size = frames * classes
    truth_cell = frame * classes + of_truth
    area_truth = torch.bincount(truth_cell, minlength=size)
    area_predicted = torch.bincount(frame * classes + of_predicted, minlength=size)
    intersection = torch.bincount(truth_cell[of_truth == of_predicted], minlength=size)
    union = area_truth + area_predicted - intersection
    return intersection.reshape(frames, classes), union.reshape(frames, classes)


def mean_iou(intersection: Masks, union: Masks) -> tuple[float, torch.Tensor]:
    """mIoU in percent and each class's IoU `(classes,)`, from summed counts `(classes,)`.

    A class that occurs neither in the annotation nor in the prediction has a union of 0: its IoU is NaN and
    the mean leaves it out.
    """
    intersection, union = torch.as_tensor(intersection).double(), torch.as_tensor(union).double()
    iou = torch.where(union > 0, 100.0 * intersection / union.clamp_min(1.0), torch.nan)
    return float(iou.nanmean()), iou

"""Part propagation: carry the first frame's part masks through the sequence; score mIoU over the data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from corrbench import labels, predictions
from corrbench.datasets.sequence import Sequence
from corrbench.metrics import iou
from corrbench.protocol import Protocol
from corrbench.registry import DATASETS, TASKS, build

Rows = list[dict[str, Any]]

FRAMES_AT_ONCE = 8  # masks are counted in blocks, so that a long video of large frames fits into memory


@TASKS.register_module()
class PartPropagation:
    """Part masks from the first frame's, scored by the mean IoU over classes of the whole data set (see `metrics.iou`).

    `dataset` is the config of a data set of class masks; `protocol` holds changes of the preset's values that this task
    makes for every method. `version` is raised whenever a change here changes a number.
    """

    kind = "parts"

    def __init__(
        self, dataset: Mapping[str, Any], protocol: Mapping[str, Any] | None = None, version: int = 1
    ) -> None:
        self.dataset = build(DATASETS, dataset) if isinstance(dataset, Mapping) else dataset
        self.protocol = dict(protocol or {})
        self.version = version

    def encode(
        self, sequence: Sequence, protocol: Protocol, input_size: tuple[int, int], grid_size: tuple[int, int]
    ) -> torch.Tensor:
        """The first frame's mask on the feature grid, one-hot up to its highest class: float32 (classes, h, w)."""
        return labels.encode_mask(_first(sequence), input_size, grid_size, protocol.down)

    def decode(
        self,
        soft_TChw: torch.Tensor,
        sequence: Sequence,
        protocol: Protocol,
        input_size: tuple[int, int] | None = None,
    ) -> np.ndarray:
        """Soft labels on the grid to class masks at the sequence's own size: uint8 (T, H, W).

        Frame 0 is what STT scores there (`labels.first_mask`): the given mask, resized to the network's `input_size`
        (the protocol's, unless the backbone needs another) and back.
        """
        size = input_size or protocol.input_size(sequence.size)
        masks = labels.decode_mask(soft_TChw, sequence.size, protocol.up, protocol.minmax, size).numpy()
        masks[0] = labels.first_mask(_first(sequence), size, sequence.size)
        return masks

    def first(self, sequence: Sequence) -> np.ndarray:
        """The first mask, repeated: what a method that never moves a label predicts."""
        return np.repeat(_first(sequence)[None], len(sequence), axis=0)

    def save(self, folder: Path, sequence: Sequence, prediction: np.ndarray) -> None:
        """Write one indexed PNG a frame into `folder`, which appears whole or not at all."""
        predictions.write_masks(folder, prediction, sequence.frame_names)

    def find_prediction(self, folder: Path, name: str) -> Path | None:
        """Where a folder of predictions holds the sequence `name`, or None."""
        return folder / name if (folder / name).is_dir() else None

    def read(self, folder: Path, sequence: Sequence) -> np.ndarray:
        """Read a folder that `save` or anyone else wrote; strict, any class of the data set allowed."""
        return predictions.read_masks(
            folder, sequence.frame_names, sequence.size, max_id=len(sequence.objects) - 1
        )

    def score(self, sequence: Sequence, prediction: np.ndarray, device: str = "cpu") -> tuple[Rows, Rows]:
        """Rows of `scores.csv` (one a class, in pixels); `frames.csv` has none."""
        classes = len(sequence.objects)
        counts = torch.zeros(
            (2, 2, classes), dtype=torch.int64
        )  # (frame 0 | the rest, intersection | union, class)
        for start in range(0, len(sequence), FRAMES_AT_ONCE):
            block = range(start, min(start + FRAMES_AT_ONCE, len(sequence)))
            truth = torch.as_tensor(np.stack([_truth(sequence, t) for t in block]), device=device)
            predicted = torch.as_tensor(prediction[block.start : block.stop], device=device)
            per_frame = torch.stack(iou.class_counts(predicted, truth, classes), dim=1).cpu()
            first = 1 if start == 0 else 0
            counts[0] += per_frame[:first].sum(0)
            counts[1] += per_frame[first:].sum(0)
        (intersection_0, union_0), (intersection, union) = counts.tolist()
        rows = [
            {
                "sequence": sequence.name,
                "class": name,
                "intersection": intersection_0[c] + intersection[c],
                "union": union_0[c] + union[c],
                "intersection_no0": intersection[c],
                "union_no0": union[c],
            }
            for c, name in enumerate(sequence.objects)
        ]
        return rows, []


def _truth(sequence: Sequence, t: int) -> np.ndarray:
    mask = sequence.label(t)
    if mask is None:
        raise ValueError(
            f"{sequence.name}: frame {sequence.frame_names[t]} has no annotation, so it cannot be scored"
        )
    return mask


def _first(sequence: Sequence) -> np.ndarray:
    """The first mask with the pixels that the annotation leaves out as background: a label has to be carried there."""
    mask = _truth(sequence, 0)
    return np.where(mask == iou.IGNORE, 0, mask).astype(np.uint8)

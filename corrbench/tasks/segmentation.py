"""Video object segmentation: carry the first frame's object masks through the sequence; score J and F."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from corrbench import labels, predictions
from corrbench.datasets.sequence import Sequence
from corrbench.metrics import davis
from corrbench.pipeline import ahead, cores
from corrbench.protocol import Protocol
from corrbench.registry import DATASETS, METRICS, TASKS, build, lookup

Rows = list[dict[str, Any]]


@TASKS.register_module()
class VideoObjectSegmentation:
    """Semi-supervised video object segmentation, scored as davis2017-evaluation does.

    `dataset` is the config of a data set of index masks; `metric` names a function of METRICS with the arguments of
    `metrics.davis.jaccard_and_boundary`; `protocol` holds changes of the preset's values that this task
    makes for every method. `version` is raised whenever a change here changes a number.
    """

    kind = "vos"

    def __init__(
        self,
        dataset: Mapping[str, Any],
        metric: str = "JF",
        protocol: Mapping[str, Any] | None = None,
        version: int = 1,
    ) -> None:
        self.dataset = build(DATASETS, dataset) if isinstance(dataset, Mapping) else dataset
        self.metric = lookup(METRICS, metric)
        self.protocol = dict(protocol or {})
        self.version = version

    def encode(
        self, sequence: Sequence, protocol: Protocol, input_size: tuple[int, int], grid_size: tuple[int, int]
    ) -> torch.Tensor:
        """The first frame's mask on the feature grid, one-hot: float32 (classes, h, w)."""
        return labels.encode_mask(_first(sequence), input_size, grid_size, protocol.down)

    def decode(
        self,
        soft_TChw: torch.Tensor,
        sequence: Sequence,
        protocol: Protocol,
        input_size: tuple[int, int] | None = None,
    ) -> np.ndarray:
        """Soft labels on the grid to index masks at the sequence's own size: uint8 (T, H, W), frame 0 included.

        `input_size` is what the network saw (default: the protocol's, which a ViT's patch may have rounded).
        """
        input_size = input_size or protocol.input_size(sequence.size)
        masks = labels.decode_mask(soft_TChw, sequence.size, protocol.up, protocol.minmax, input_size)
        return np.asarray(masks.cpu() if isinstance(masks, torch.Tensor) else masks)

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
        """Read a folder that `save` or anyone else wrote; strict."""
        return predictions.read_masks(
            folder, sequence.frame_names, sequence.size, max_id=int(_first(sequence).max())
        )

    def score(self, sequence: Sequence, prediction: np.ndarray, device: str = "cpu") -> tuple[Rows, Rows]:
        """Rows of `scores.csv` (one an object) and of `frames.csv` (one an object and frame; first and last left out)."""
        threads = cores()
        truth = np.stack(
            list(
                ahead(lambda t: _truth(sequence, t), range(len(sequence)), threads=threads, depth=2 * threads)
            )
        )
        objects = int(truth[0].max())
        j, f = self.metric(truth, prediction, objects, device=device)
        rows, frames = [], []
        for index in range(objects):
            statistics = davis.sequence_statistics(j[index], f[index])
            rows.append({"sequence": sequence.name, "object": index + 1, **statistics})
            for t in range(1, len(sequence) - 1):
                frames.append(
                    {
                        "sequence": sequence.name,
                        "object": index + 1,
                        "frame": sequence.frame_names[t],
                        "J": round(float(j[index, t]), 6),
                        "F": round(float(f[index, t]), 6),
                    }
                )
        return rows, frames


def _truth(sequence: Sequence, t: int) -> np.ndarray:
    """Ground truth of frame t with void (255) as background, as the semi-supervised DAVIS score has it."""
    mask = sequence.label(t)
    if mask is None:
        raise ValueError(
            f"{sequence.name}: frame {sequence.frame_names[t]} has no annotation, so it cannot be scored"
        )
    return np.where(mask == 255, 0, mask).astype(np.uint8)


def _first(sequence: Sequence) -> np.ndarray:
    return _truth(sequence, 0)

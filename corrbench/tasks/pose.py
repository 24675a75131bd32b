"""Pose propagation: carry the first frame's joints through the sequence as heat maps; score PCK."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from corrbench import labels, predictions
from corrbench.datasets.sequence import Sequence
from corrbench.metrics import pck
from corrbench.protocol import Protocol
from corrbench.registry import DATASETS, TASKS, build

Rows = list[dict[str, Any]]

LOST = -1.0
UNITS = ("box", "area")


@TASKS.register_module()
class PosePropagation:
    """Joints from the first frame's joints, scored by PCK (see `metrics.pck` for what the field counts and does not).

    `dataset` is the config of a data set of joints; `protocol` holds changes of the preset's values that this task makes
    for every method. `unit` is the length that distances are measured in: `box`, 0.6 x the diagonal of the box of the
    counted joints (JHMDB), or `area`, the square root of the area of the animal's mask (BADJA). `zero_counts`: a joint
    predicted at x = 0 counts (UVC, CRW) or does not (STT, VFS). A joint that the first frame does not annotate cannot
    be propagated and is left out of every count. `version` is raised whenever a change here changes a number.
    """

    kind = "pose"

    def __init__(
        self,
        dataset: Mapping[str, Any],
        unit: str = "box",
        zero_counts: bool = False,
        protocol: Mapping[str, Any] | None = None,
        version: int = 1,
    ) -> None:
        if unit not in UNITS:
            raise ValueError(f"PosePropagation unit={unit!r}: expected one of {', '.join(UNITS)}")
        self.dataset = build(DATASETS, dataset) if isinstance(dataset, Mapping) else dataset
        self.unit = unit
        self.zero_counts = zero_counts
        self.protocol = dict(protocol or {})
        self.version = version

    def encode(
        self, sequence: Sequence, protocol: Protocol, input_size: tuple[int, int], grid_size: tuple[int, int]
    ) -> torch.Tensor:
        """The first frame's joints as heat maps on the grid: float32 (J or J+1, h, w), zero for one not annotated."""
        return labels.encode_joints(_first(sequence), sequence.size, input_size, grid_size, protocol)

    def decode(
        self,
        soft_TChw: torch.Tensor,
        sequence: Sequence,
        protocol: Protocol,
        input_size: tuple[int, int] | None = None,
    ) -> np.ndarray:
        """Heat maps on the grid to joints: float32 (T, J, 2) xy pixels, lost ones (-1, -1).

        Frame 0 is what that code scores there (`labels.first_joints`): its given joints, drawn at the frame's size,
        resized to the network's `input_size` (the protocol's, unless the backbone needs another) and decoded.
        """
        joints = labels.decode_joints(soft_TChw, sequence.size, protocol)
        size = input_size or protocol.input_size(sequence.size)
        joints[0] = labels.first_joints(_first(sequence), sequence.size, size, protocol)
        return joints.numpy()

    def first(self, sequence: Sequence) -> np.ndarray:
        """The first joints, repeated: what a method that never moves a label predicts."""
        first = _first(sequence)
        return np.repeat(
            np.where(np.isnan(first), LOST, first).astype(np.float32)[None], len(sequence), axis=0
        )

    def save(self, folder: Path, sequence: Sequence, prediction: np.ndarray) -> None:
        """Write `joints.csv` into `folder`, which appears whole or not at all."""
        predictions.write_joints(folder, prediction, sequence.objects)

    def find_prediction(self, folder: Path, name: str) -> Path | None:
        """Where a folder of predictions holds the sequence `name`, or None; `<class>/<clip>` as JHMDB has it will do."""
        if (folder / name).is_dir():
            return folder / name
        nested = [
            path / name for path in sorted(folder.iterdir()) if path.is_dir() and (path / name).is_dir()
        ]
        return nested[0] if len(nested) == 1 else None

    def read(self, folder: Path, sequence: Sequence) -> np.ndarray:
        """Read a table of joints that `save` or anyone else wrote (`joints.csv`, `joint_positions.mat`); strict."""
        return predictions.read_joints(folder, len(sequence), sequence.objects)

    def score(self, sequence: Sequence, prediction: np.ndarray, device: str = "cpu") -> tuple[Rows, Rows]:
        """Rows of `scores.csv` (one a joint) and of `frames.csv` (one an annotated joint and frame).

        A distance is empty where its joint is not counted, x and y are -1 where it was lost.
        """
        truth = annotated_joints(sequence)
        predicted = torch.as_tensor(prediction, device=device)
        options: dict[str, Any] = {"unit": self._unit(sequence), "zero_counts": self.zero_counts}
        counts = pck.pose_counts(predicted, truth, **options)
        hits, hits_no0, hits_annotated = (
            c.cpu().tolist() for c in (counts.hits, counts.hits_no0, counts.hits_annotated)
        )
        count, lost, annotated, count_no0 = (
            c.cpu().tolist() for c in (counts.count, counts.lost, counts.annotated, counts.count_no0)
        )
        rows: Rows = []
        for j, joint in enumerate(sequence.objects):
            rows.append(
                {
                    "sequence": sequence.name,
                    "joint": joint,
                    "count": count[j],
                    **{f"hits@{alpha}": hits[a][j] for a, alpha in enumerate(pck.ALPHAS)},
                    "lost": lost[j],
                    "annotated": annotated[j],
                    "count_no0": count_no0[j],
                    **{f"hits_no0@{alpha}": hits_no0[a][j] for a, alpha in enumerate(pck.ALPHAS)},
                    **{f"hits_annotated@{alpha}": hits_annotated[a][j] for a, alpha in enumerate(pck.ALPHAS)},
                }
            )
        distance, _ = pck.score_distances(predicted, truth, **options)
        return rows, _frame_rows(sequence, prediction, truth, distance.cpu().numpy())

    def _unit(self, sequence: Sequence) -> np.ndarray | None:
        """The length that distances are measured in, pixels `(T,)`; None for the box, which depends on what counts."""
        if self.unit == "box":
            return None
        if "area" not in sequence.extra:
            raise ValueError(
                f"{sequence.name}: unit='area' needs a data set with the area of the animal's mask (BADJA); "
                "use unit='box'"
            )
        return np.sqrt(np.asarray(sequence.extra["area"], dtype=np.float64))


def annotated_joints(sequence: Sequence) -> np.ndarray:
    """Ground truth float32 `(T, J, 2)` xy, NaN where not annotated and for joints that frame 0 does not annotate."""
    missing = np.full((len(sequence.objects), 2), np.nan, np.float32)
    labels_T = [sequence.label(t) for t in range(len(sequence))]
    truth = np.stack([missing if label is None else label for label in labels_T])
    truth[:, np.isnan(_first(sequence)).any(-1)] = np.nan
    return truth


def _first(sequence: Sequence) -> np.ndarray:
    first = sequence.label(0)
    if first is None or np.isnan(first).all():
        raise ValueError(f"{sequence.name}: the first frame has no joint, so there is nothing to propagate")
    return first


def _frame_rows(sequence: Sequence, predicted: np.ndarray, truth: np.ndarray, distance: np.ndarray) -> Rows:
    frames: Rows = []
    for t, j in np.argwhere(np.isfinite(truth).all(-1)).tolist():
        frames.append(
            {
                "sequence": sequence.name,
                "joint": sequence.objects[j],
                "frame": t,
                "distance": None if np.isnan(distance[t, j]) else round(float(distance[t, j]), 6),
                "x": round(float(predicted[t, j, 0]), 3),
                "y": round(float(predicted[t, j, 1]), 3),
                "gt_x": round(float(truth[t, j, 0]), 3),
                "gt_y": round(float(truth[t, j, 1]), 3),
            }
        )
    return frames

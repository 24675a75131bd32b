"""Reconstruction through the features that carry labels: a whitened network learns by the frames' colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from corrbench.registry import DATASETS, STAGES, build
from corrbench.training.clips import ClipFeed, MapNetwork, dummy_clips
from corrbench.training.losses import colour_reconstruction
from corrbench.training.schedule import generator
from corrbench.training.stage import Batch, Part, Stage


@STAGES.register_module()
@dataclass(frozen=True, kw_only=True)
class FeatureReconstruction(Stage):
    """The map of a `Whitened` network goes on from the preceding stage's weights, or from the zoo's checkpoint `weights`.

    A sample is a clip of `frames` frames, every `step`-th one of a video, resized as a protocol's `resize` has it; a share
    `flip_share` is mirrored. For each of `gaps` (numbers of frames of the clip) one pair of frames so far apart is drawn,
    and which of them is the target. Each cell of the target is painted with the reference's colours, `cells` x `cells` of
    them a cell, by the softmax over cosines / `temperature` within `radius`: what a protocol does with labels
    (`losses.colour_reconstruction`). The network before the map goes on at `network_rate` times the map's rate, its batch
    statistics as they are; at 0 it stays as it is. Of a `centred` network the clip's mean is taken away.

    Ours, not STT's: the loss of its second step (MAST: Lai, Lu & Xie, CVPR 2020), of whitened unit features, of all
    channels (none is dropped, as in an evaluation), and finer than a cell.
    """

    batch: int = 1
    lr: float = 2e-4
    colour: str = "lab"
    weights: str | None = None
    frames: int = 9
    step: int = 2
    gaps: Sequence[int] = (1, 2, 3, 4, 6, 8)
    resize: str = "native"
    radius: int = 6
    cells: int = 4
    scale: float = 20.0
    flip_share: float = 0.5
    temperature: float = 0.07
    network_rate: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.gaps or not all(0 < gap < self.frames for gap in self.gaps):
            raise ValueError(
                f"FeatureReconstruction: gaps {list(self.gaps)} must be numbers from 1 to {self.frames - 1}, with frames "
                f"{self.frames}"
            )
        if (
            self.temperature <= 0
            or self.step < 1
            or self.cells < 1
            or min(self.radius, self.network_rate) < 0
        ):
            raise ValueError(
                f"FeatureReconstruction: temperature {self.temperature} must be above 0, step {self.step} and cells "
                f"{self.cells} 1 or more, radius {self.radius} and network_rate {self.network_rate} 0 or more"
            )

    def network(self, parent: dict[str, torch.Tensor] | None, seed: int) -> FeatureReconstructionNetwork:
        return FeatureReconstructionNetwork(self, parent)

    def optimiser_of(self, network: Any) -> torch.optim.Optimizer:
        """One group for the map, and one for the network, at its own rate."""
        optimiser = super().optimiser_of(network.backbone.whitening)
        if self.network_rate:
            group = {"params": list(network.backbone.backbone.parameters()), "rate": self.network_rate}
            optimiser.add_param_group(group)
        return optimiser

    def feed(self, seed: int, dataset: Any = None) -> PairsOfClips:
        return PairsOfClips(self, dataset or build(DATASETS, self.dataset), seed)

    def dummy(self, samples: int) -> Batch:
        pairs = [(0, gap) for gap in self.gaps]
        return {"clips": dummy_clips(samples, self.frames), "pairs": [pairs] * samples}


class PairsOfClips(ClipFeed):
    """Clips, and the (target, reference) pairs of each."""

    def fetch(self, part: Part) -> Batch:
        """This process's clips, with `pairs`: for each gap the numbers of two frames of the clip."""
        stage = self.stage
        draw = generator(self.seed, "pairs of clips", part.update)
        drawn = torch.rand(stage.batch, len(stage.gaps), 2, generator=draw)[part.start : part.stop].tolist()
        return super().fetch(part) | {"pairs": [self._pairs(clip) for clip in drawn]}

    def _pairs(self, drawn: list[list[float]]) -> list[tuple[int, int]]:
        pairs = []
        for gap, (when, turned) in zip(self.stage.gaps, drawn, strict=True):
            first = int(when * (self.stage.frames - gap))
            pairs.append((first + gap, first) if turned < 0.5 else (first, first + gap))
        return pairs

    def prepare(self, batch: Batch, device: torch.device) -> Batch:
        """Network inputs, and the pairs as they are."""
        return super().prepare(batch, device) | {"pairs": batch["pairs"]}


class FeatureReconstructionNetwork(MapNetwork):
    """The network of which the map is trained, and with `network_rate` the rest."""

    def __init__(self, stage: FeatureReconstruction, parent: dict[str, torch.Tensor] | None) -> None:
        self.whole = stage.network_rate > 0
        super().__init__(stage, parent)

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        """`{"reconstruction": loss}`, the mean over clips and their pairs."""
        clips = zip(batch["clips"], batch["pairs"], strict=True)
        losses = [loss for clip, pairs in clips for loss in self._losses(clip, pairs)]
        return {"reconstruction": torch.stack(losses).mean()}

    def _losses(self, clip_T3HW: torch.Tensor, pairs: Sequence[tuple[int, int]]) -> list[torch.Tensor]:
        stage, joined = self.stage, self.joined(clip_T3HW)
        with torch.autocast(clip_T3HW.device.type, enabled=False):
            colours = colours_of_cells(clip_T3HW, (joined.shape[2], joined.shape[3]), stage.cells)
            losses = []
            for target, reference in pairs:
                query, key = self.backbone.whitening(joined[[target, reference]]).split(1)
                losses.append(
                    colour_reconstruction(
                        query, key, colours[[reference]], colours[[target]],
                        stage.radius, stage.temperature, stage.scale,
                    )
                )  # fmt: skip
        return losses


def colours_of_cells(frames_T3HW: torch.Tensor, grid: tuple[int, int], cells: int) -> torch.Tensor:
    """(T, 3 * cells^2, h, w): colours of the `cells` x `cells` parts of each cell of the grid (h, w), low-passed."""
    h, w = grid
    fine = F.interpolate(
        frames_T3HW.float(), (cells * h, cells * w), mode="bilinear", antialias=True, align_corners=False
    )
    return F.pixel_unshuffle(fine, cells)

"""Distillation of an ensemble: trainings that differ by their seed, taught to the network of one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from corrbench.registry import BACKBONES, DATASETS, STAGES, build
from corrbench.training.losses import ensemble_distillation
from corrbench.training.pairs import PairFeed, halves
from corrbench.training.stage import Batch, Stage, StageNetwork, start


@STAGES.register_module()
@dataclass(frozen=True, kw_only=True)
class EnsembleDistillation(Stage):
    """The network goes on from the preceding stage's weights, or from `weights`, until its affinities are the ensemble's.

    The ensemble is the preceding stages' result with this run's seed and with the next `others` seeds, which are trained
    too where they are not cached; the zoo's checkpoint `weights`, if one is given, takes the place of this run's seed. For
    pairs of frames `gap` apart the ensemble's affinity of two cells is the mean of its networks' cosines; what is learnt is
    its softmax over cells at `temperature`, both ways (`losses.ensemble_distillation`).
    Batch normalisation keeps its running statistics, as in evaluation. `backbone` is the network as its weights leave the
    stage before, after `Whitening` a `Whitened` one.

    Ours, not STT's. Hinton et al., Distilling the Knowledge in a Neural Network, 2015 (class probabilities of an ensemble).
    """

    batch: int = 2
    others: int = 2
    weights: str | None = None
    colour: str = "lab"
    gap: int = 8
    crop: int = 256
    area: Sequence[float] = (0.12, 0.36)
    aspect: Sequence[float] = (1.0, 1.0)
    flip_share: float = 0.5
    temperature: float = 0.07

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.others < 1 or self.temperature <= 0:
            raise ValueError(
                f"EnsembleDistillation: others {self.others} must be 1 or more, temperature {self.temperature} above 0"
            )

    def network(self, parent: dict[str, torch.Tensor] | None, seed: int) -> EnsembleNetwork:
        if self.weights is not None:
            from corrbench import zoo

            first = build(BACKBONES, self.backbone)
            zoo.load(self.weights, first)
            parent = first.state_dict()
        if parent is None:
            raise ValueError(
                "EnsembleDistillation: there is nothing to start from; it needs a preceding stage of more than 0 updates, "
                "or weights"
            )
        return EnsembleNetwork(self, parent, seed)

    def feed(self, seed: int, dataset: Any = None) -> PairFeed:
        return PairFeed(self, dataset or build(DATASETS, self.dataset), seed)

    def dummy(self, samples: int) -> Batch:
        return {"frames": torch.rand(2 * samples, 3, self.crop, self.crop)}


class EnsembleNetwork(StageNetwork):
    """The student (`backbone`, the result) and the frozen networks of the ensemble, of which its start is the first."""

    def __init__(self, stage: EnsembleDistillation, parent: dict[str, torch.Tensor], seed: int) -> None:
        super().__init__()
        self.stage, self.seed = stage, seed
        self.backbone = start(stage.backbone, parent, seed)
        self.ensemble = nn.ModuleList()
        self.learn_from([parent])

    def learn_from(self, teachers: Sequence[Mapping[str, torch.Tensor]]) -> None:
        """Add frozen networks with these weights to the ensemble."""
        for weights in teachers:
            self.ensemble.append(start(self.stage.backbone, dict(weights), self.seed).requires_grad_(False))

    def train(self, mode: bool = True) -> EnsembleNetwork:
        """Always in eval mode: running statistics stay as they were trained."""
        return super().train(False)

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        """`{"ensemble": loss}`."""
        frames = batch["frames"].contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            taught = [halves(network(frames).float()) for network in self.ensemble]
        student = halves(self.backbone(frames).float())
        with torch.autocast(frames.device.type, enabled=False):
            return {"ensemble": ensemble_distillation(*student, taught, self.stage.temperature)}

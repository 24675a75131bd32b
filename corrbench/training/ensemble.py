"""Distillation of an ensemble: trainings that differ by their seed, taught to the network of one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from corrbench.registry import BACKBONES, DATASETS, STAGES, build
from corrbench.training import distributed
from corrbench.training.losses import ensemble_distillation
from corrbench.training.pairs import PairFeed, halves
from corrbench.training.stage import Batch, EvalNetwork, Stage, load_needed, start
from corrbench.training.whitening import add_cells, whitening_map


@STAGES.register_module()
@dataclass(frozen=True, kw_only=True)
class EnsembleDistillation(Stage):
    """The network goes on from the preceding stage's weights, or from `weights`, until its affinities are the ensemble's.

    The ensemble is the preceding stages' result with this run's seed and with the next `others` seeds, which are trained
    too where they are not cached; the zoo's checkpoint `weights`, if one is given, takes the place of this run's seed. For
    pairs of frames `gap` apart the ensemble's affinity of two cells is the mean of its networks' cosines; what is learnt is
    its softmax over cells at `temperature`, both ways (`losses.ensemble_distillation`).

    With `joint` > 0 the ensemble is one network instead: its networks' unit features joined and whitened together (as the
    stage `Whitening` does it, `power` and `floor` as there, as many directions as the student has). The first `joint`
    updates gather that covariance, and their loss is given as 0.

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
    joint: int = 0
    power: float = 0.75
    floor: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.others < 1 or self.temperature <= 0:
            raise ValueError(
                f"EnsembleDistillation: others {self.others} must be 1 or more, temperature {self.temperature} above 0"
            )
        if not 0 <= self.joint < max(self.updates, 1):
            raise ValueError(
                f"EnsembleDistillation: joint {self.joint} must be from 0 to below updates, {self.updates}"
            )
        for what in ("centred", "adapted"):
            if self.updates and self.backbone.get(what):
                raise ValueError(
                    f"EnsembleDistillation: pairs of frames are no video; its network cannot be {what}"
                )

    @classmethod
    def idle(cls, settings: Mapping[str, Any]) -> frozenset[str]:
        return frozenset() if settings["joint"] else frozenset({"joint", "power", "floor"})

    def network(self, parent: dict[str, torch.Tensor] | None, seed: int) -> EnsembleNetwork:
        first = build(BACKBONES, self.backbone)
        load_needed(self, first, parent)
        return EnsembleNetwork(self, first.state_dict(), seed)

    def feed(self, seed: int, dataset: Any = None) -> PairFeed:
        return PairFeed(self, dataset or build(DATASETS, self.dataset), seed)

    def dummy(self, samples: int) -> Batch:
        return {"frames": torch.rand(2 * samples, 3, self.crop, self.crop)}


class EnsembleNetwork(EvalNetwork):
    """The student (`backbone`, the result) and the frozen networks of the ensemble, of which its start is the first."""

    sums: torch.Tensor
    seen: torch.Tensor
    mean: torch.Tensor
    matrix: torch.Tensor

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
        if self.stage.joint:
            size = len(self.ensemble) * self.backbone.channels
            # Sums over cells of (1, x) (1, x)^T, how many micro-batches they are of, and the map that is made of them.
            self.register_buffer("sums", torch.zeros(1 + size, 1 + size, dtype=torch.float64))
            self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
            self.register_buffer("mean", torch.zeros(size))
            self.register_buffer("matrix", torch.zeros(self.backbone.channels, size))

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        """`{"ensemble": loss}`."""
        frames = batch["frames"].contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            maps = [network(frames).float() for network in self.ensemble]
            with torch.autocast(frames.device.type, enabled=False):
                if self.stage.joint:
                    joined = self._joint(maps)
                    if joined is None:
                        return {"ensemble": torch.zeros((), device=frames.device)}
                    maps = [joined]
                taught = [halves(m) for m in maps]
        student = halves(self.backbone(frames).float())
        with torch.autocast(frames.device.type, enabled=False):
            return {"ensemble": ensemble_distillation(*student, taught, self.stage.temperature)}

    def _joint(self, maps: Sequence[torch.Tensor]) -> torch.Tensor | None:
        """The ensemble's maps as one network's, or None while its covariance is still gathered."""
        stage = self.stage
        joined = torch.cat([F.normalize(m, dim=1) for m in maps], 1)
        if int(self.seen) == stage.joint * stage.accumulate:
            return torch.einsum("dc,bchw->bdhw", self.matrix, joined - self.mean[:, None, None])
        add_cells(self.sums, joined.transpose(0, 1).flatten(1))
        self.seen += 1
        if int(self.seen) == stage.joint * stage.accumulate:
            mean, matrix = whitening_map(
                distributed.summed(self.sums), self.backbone.channels, stage.power, stage.floor
            )
            self.mean.copy_(mean)
            self.matrix.copy_(matrix)
        return None

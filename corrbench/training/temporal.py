"""Step 2, temporal: reconstruction of frames from their neighbours, with two distillations (Li & Liu, CVPR 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from corrbench.backbones.colour import drop_channel, to_input
from corrbench.registry import BACKBONES, DATASETS, STAGES, build
from corrbench.training import distributed
from corrbench.training.losses import global_distillation, local_distillation_parts, reconstruction
from corrbench.training.pairs import PairFeed, halves
from corrbench.training.stage import Batch, Part, Stage, StageNetwork, load_given, start


@STAGES.register_module()
@dataclass(frozen=True, kw_only=True)
class Temporal(Stage):
    """Pairs of neighbouring frames; the defaults are the released code's.

    `levels` are the backbone's layers at which frames are reconstructed, finest first, each with its window's radius and
    its weight (0: not reconstructed there); `top` is the layer of the global distillation. `channels` are those of
    `colour` that may be dropped and are reconstructed; with `dropout=False` the input keeps them. `teacher` is the
    frozen network's backbone, with the preceding stage's weights, or those of the zoo's checkpoint `teacher_weights`.
    `gap` frames lie between target and reference. The switches of the local distillation are explained in
    `losses/distillation.py`.

    `contrast_weight` > 0 trains the loss of a contrastive stage on the same weights at the same time (joint training), in
    this stage's `colour` and `accumulate`: the one whose settings are in `contrast`, a `Spatial` or a `Dense`, else the
    preceding `Spatial` stage's.
    """

    colour: str = "lab"
    channels: Sequence[int] = (1, 2)
    dropout: bool = True
    gap: int = 1
    crop: int = 256
    area: Sequence[float] = (0.6, 1.0)
    aspect: Sequence[float] = (1.5, 2.0)
    flip_share: float = 0.5
    levels: Sequence[int] = (2, 3)
    radii: Sequence[int] = (12, 6)
    top: int = 4
    reconstruction_weights: Sequence[float] = (1.0, 1.0)
    scale: float = 20.0
    local_weight: float = 1000.0
    quantile: float = 0.7
    target: str = "mean"
    volume: str = "products"
    score: str = "log"
    threshold: str = "columns"
    global_weight: float = 50.0
    temperature: float = 0.07
    teacher: Mapping[str, Any] | None = None
    teacher_weights: str | None = None
    contrast_weight: float = 0.0
    contrast: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        lengths = {len(self.levels), len(self.radii), len(self.reconstruction_weights)}
        if not self.levels or len(lengths) > 1:
            raise ValueError(
                f"Temporal: levels {list(self.levels)}, radii {list(self.radii)} and reconstruction_weights "
                f"{list(self.reconstruction_weights)} must be one to one"
            )
        if self.local_weight and len(self.levels) != 2:
            raise ValueError(
                f"Temporal: local distillation needs two levels, got {list(self.levels)}; set local_weight to 0"
            )
        if not self.channels or not set(self.channels) <= {0, 1, 2}:
            raise ValueError(f"Temporal: channels {list(self.channels)} must be some of 0, 1, 2")
        if self.global_weight and self.teacher is None:
            raise ValueError(
                "Temporal: global distillation needs a teacher; give one or set global_weight to 0"
            )

    @classmethod
    def idle(cls, settings: Mapping[str, Any]) -> frozenset[str]:
        keys: set[str] = set()
        if not settings["global_weight"]:
            keys |= {"teacher", "teacher_weights", "temperature", "top"}
        if not settings["local_weight"]:
            keys |= {"target", "volume", "score", "threshold", "quantile"}
        if not settings["contrast_weight"]:
            keys |= {"contrast"}
        return frozenset(keys)

    def network(self, parent: dict[str, torch.Tensor] | None, seed: int) -> TemporalNetwork:
        student = start(self.backbone, parent, seed)
        return TemporalNetwork(self, student, self._teacher(parent), self._contrast(), seed)

    def _teacher(self, parent: dict[str, torch.Tensor] | None) -> nn.Module | None:
        if not self.global_weight:
            return None
        assert self.teacher is not None
        teacher = build(BACKBONES, self.teacher)
        if not load_given(teacher, self.teacher_weights, parent):
            raise ValueError(
                "Temporal: global distillation needs a trained teacher: a preceding stage of more than 0 updates, or "
                "teacher_weights; or set global_weight to 0"
            )
        return teacher.requires_grad_(False).eval()

    def _contrast(self) -> Any | None:
        if not self.contrast_weight:
            return None
        if self.contrast is None:
            raise ValueError(
                "Temporal: contrast_weight needs a Spatial stage before this one, or its settings in contrast"
            )
        return replace(build(STAGES, self.contrast), accumulate=self.accumulate, colour=self.colour)

    def feed(self, seed: int, dataset: Any = None) -> TemporalFeed:
        contrast = self._contrast()
        beside_feed = contrast.feed(seed) if contrast else None
        return TemporalFeed(self, dataset or build(DATASETS, self.dataset), seed, beside_feed)

    def dummy(self, samples: int) -> Batch:
        frames = torch.rand(2 * samples, 3, self.crop, self.crop)
        contrast = self._contrast()
        return {"frames": frames, "teacher": frames, "channel": self.channels[0]} | (
            {"contrast": contrast.dummy(max(samples * contrast.batch // self.batch, 1))} if contrast else {}
        )


class TemporalFeed(PairFeed):
    """Frame pairs with the channel that is dropped, and for joint training the contrastive stage's batches."""

    def __init__(self, stage: Temporal, dataset: Any, seed: int, contrast: Any | None) -> None:
        super().__init__(stage, dataset, seed)
        self.contrast = contrast

    def fetch(self, part: Part) -> Batch:
        """Crops of this process's pairs, one `channel` for the whole batch."""
        batch, draw = self.drawn(part)
        batch["channel"] = self.stage.channels[
            int(torch.randint(len(self.stage.channels), (), generator=draw))
        ]
        if self.contrast is not None:
            batch["contrast"] = self.contrast.fetch(self._contrast_part(part))
        return batch

    def _contrast_part(self, part: Part) -> Part:
        """The same share of the contrastive batch."""
        assert self.contrast is not None
        ours, theirs = self.stage.batch, self.contrast.stage.batch
        edges = [part.start, part.stop, part.step_start, part.step_stop]
        if any(edge * theirs % ours for edge in edges):
            raise ValueError(
                f"joint training: batches of {ours} and {theirs} cannot be cut alike; make one a multiple"
            )
        return Part(part.update, *(edge * theirs // ours for edge in edges))

    def prepare(self, batch: Batch, device: torch.device) -> Batch:
        """Student frames in their colour and teacher frames in ImageNet's, made on the device, from the same pixels."""
        frames = self.cropped(batch, device)
        ready: Batch = {"frames": to_input(frames, self.stage.colour), "channel": batch["channel"]}
        if self.stage.global_weight:
            ready["teacher"] = to_input(frames, "rgb")
        if self.contrast is not None:
            ready["contrast"] = self.contrast.prepare(batch["contrast"], device)
        return ready


class TemporalNetwork(StageNetwork):
    """The student (`backbone`, the result), the frozen teacher, and for joint training the contrastive network."""

    def __init__(
        self, stage: Temporal, student: Any, teacher: nn.Module | None, contrast: Any | None, seed: int
    ) -> None:
        super().__init__()
        self.stage, self.backbone, self.teacher = stage, student, teacher
        self.contrast: Any | None = None
        if contrast is not None:
            tied = tie(build(BACKBONES, contrast.backbone), student)
            self.contrast = contrast.around(tied, seed)

    def train(self, mode: bool = True) -> TemporalNetwork:
        """Training mode for all but the teacher, which keeps its running statistics."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def begin(self) -> None:
        if self.contrast is not None:
            self.contrast.begin()

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        """The weighted losses by name."""
        stage, frames, channel = self.stage, batch["frames"], batch["channel"]
        seen = drop_channel(frames, channel) if stage.dropout else frames
        wanted = list(stage.levels) + ([stage.top] if stage.global_weight else [])
        seen = seen.contiguous(memory_format=torch.channels_last)
        maps = [m.float() for m in self.backbone.forward_layers(seen, wanted)]
        top_teacher = self._teacher_maps(batch) if stage.global_weight else None
        losses: dict[str, torch.Tensor] = {}
        with torch.autocast(frames.device.type, enabled=False):
            plane = frames[:, channel : channel + 1]
            settings = zip(stage.levels, stage.radii, stage.reconstruction_weights, maps, strict=False)
            for level, radius, weight, level_maps in settings:
                if weight:
                    losses[f"reconstruction{level}"] = weight * reconstruction(
                        *halves(level_maps), plane[0::2], plane[1::2], radius, stage.scale
                    )
            if stage.local_weight:
                losses["local"] = stage.local_weight * self._local(maps)
            if top_teacher is not None:
                losses["global"] = stage.global_weight * global_distillation(
                    *halves(maps[-1]), *halves(top_teacher), stage.temperature
                )
        if self.contrast is not None:
            losses["contrast"] = stage.contrast_weight * self.contrast(batch["contrast"])["contrast"]
        return losses

    def _teacher_maps(self, batch: Batch) -> torch.Tensor:
        assert self.teacher is not None
        with torch.no_grad():
            return self.teacher(batch["teacher"].contiguous(memory_format=torch.channels_last)).float()

    def _local(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Divided by the count of all processes over their number, so that their mean is the loss of the whole batch."""
        stage = self.stage
        total, count = local_distillation_parts(
            *halves(maps[0]), *halves(maps[1]), stage.radii[0], stage.radii[1], stage.quantile,
            target=stage.target, volume=stage.volume, score=stage.score, threshold=stage.threshold,
        )  # fmt: skip
        return total * distributed.world() / distributed.summed(count).clamp(min=1)


def tie(backbone: nn.Module, source: nn.Module) -> Any:
    """`backbone` with the very parameters and running statistics of `source`: two geometries, one set of weights."""
    for name, module in backbone.named_modules():
        other = source.get_submodule(name)
        for key in module._parameters:
            module._parameters[key] = other._parameters[key]
        for key in module._buffers:
            module._buffers[key] = other._buffers[key]
    return backbone

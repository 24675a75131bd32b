"""Distillation of chains: what the network finds step by step through a clip, taught to its match from end to end."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from corrbench.backbones.adapted import frames_seen, to_video
from corrbench.backbones.centred import over_video
from corrbench.propagation import carry
from corrbench.protocol import preset
from corrbench.registry import BACKBONES, DATASETS, STAGES, build
from corrbench.training import pixels
from corrbench.training.inputs import as_evaluated
from corrbench.training.losses import chain_distillation, chain_targets
from corrbench.training.schedule import generator, sample_numbers
from corrbench.training.stage import Batch, EvalNetwork, Part, Stage, load_needed

DUMMY = (256, 456)


@STAGES.register_module()
@dataclass(frozen=True, kw_only=True)
class ChainDistillation(Stage):
    """The map of a `Whitened` network goes on from the preceding stage's weights, or from the zoo's checkpoint `weights`.

    A sample is a clip of `frames` frames, every `step`-th one of a video, resized as a protocol's `resize` has it; a share
    `flip_share` is mirrored. The teacher is the network as it came: every cell of the first frame is a label of its own, and
    these are carried through the clip under the protocol `stt` with `radius`, frame by frame, each seeing those before it.
    So carried, labels arrive better than by a match of two frames far apart, and what they say of the frames at `gaps`
    (numbers of frames of the clip) is what the map learns to find by such a match (`losses.chain_distillation`). Taught are
    cells whose label lies by at least `certain` within `reach` cells of its maximum. The network before the map stays
    as it is. To a `centred` or `adapted` one the clip is the video.

    Ours, not STT's. Kin to Jabri et al., Contrastive random walk, NeurIPS 2020, whose chains of affinities are what is
    trained, where here they teach.
    """

    batch: int = 1
    lr: float = 4e-4
    colour: str = "lab"
    weights: str | None = None
    frames: int = 17
    step: int = 2
    gaps: Sequence[int] = (2, 4, 8, 12, 16)
    resize: str = "native"
    radius: float = 6.0
    certain: float = 0.4
    reach: int = 2
    flip_share: float = 0.5
    temperature: float = 0.07

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.gaps or not all(0 < gap < self.frames for gap in self.gaps):
            raise ValueError(
                f"ChainDistillation: gaps {list(self.gaps)} must be numbers from 1 to {self.frames - 1}, with frames "
                f"{self.frames}"
            )
        if not 0 <= self.certain <= 1 or self.temperature <= 0 or self.step < 1 or self.reach < 0:
            raise ValueError(
                f"ChainDistillation: certain {self.certain} must be from 0 to 1, temperature {self.temperature} above 0, "
                f"step {self.step} 1 or more and reach {self.reach} 0 or more"
            )

    def network(self, parent: dict[str, torch.Tensor] | None, seed: int) -> ChainNetwork:
        return ChainNetwork(self, parent)

    def feed(self, seed: int, dataset: Any = None) -> ChainFeed:
        return ChainFeed(self, dataset or build(DATASETS, self.dataset), seed)

    def dummy(self, samples: int) -> Batch:
        return {"clips": [torch.rand(self.frames, 3, *DUMMY) for _ in range(samples)]}


class ChainFeed:
    """Clips, addressed by update: in an epoch each video gives one, at a random place."""

    def __init__(self, stage: ChainDistillation, dataset: Any, seed: int) -> None:
        self.stage, self.dataset, self.seed = stage, dataset, seed
        self.pixels = pixels.shared(dataset)

    def fetch(self, part: Part) -> Batch:
        """This process's clips, uint8 (frames, h, w, 3) each."""
        batch = self.stage.batch
        numbers = sample_numbers(len(self.dataset), self.seed, part.update * batch, batch)
        drawn = torch.rand(batch, 2, generator=generator(self.seed, "clips", part.update)).tolist()
        clips = []
        for row in range(part.start, part.stop):
            when, mirrored = drawn[row]
            images = self.pixels.get(self._frames(numbers[row], when))
            pixels.check_one_size(images, self.dataset.name, numbers[row])
            clip = torch.stack([torch.from_numpy(image) for image in images])
            clips.append(clip.flip(2) if mirrored < self.stage.flip_share else clip)
        return {"clips": clips}

    def _frames(self, video: int, when: float) -> list[tuple[int, int]]:
        stage = self.stage
        span = (stage.frames - 1) * stage.step
        places = self.dataset.frames(video) - span
        if places < 1:
            raise ValueError(
                f"{self.dataset.name}: video {video} has {places + span} frames, too few for clips of {stage.frames} with "
                f"step {stage.step}; remove it or lower frames or step"
            )
        first = int(when * places)
        return [(video, first + stage.step * n) for n in range(stage.frames)]

    def prepare(self, batch: Batch, device: torch.device) -> Batch:
        """Network inputs (frames, 3, H, W) each, made on the device as the evaluation makes them."""
        return {"clips": as_evaluated(batch["clips"], self.stage.colour, self.stage.resize, device)}


class ChainNetwork(EvalNetwork):
    """The network (`backbone`, the result), of which the map alone is trained, and the map as it came."""

    def __init__(self, stage: ChainDistillation, parent: dict[str, torch.Tensor] | None) -> None:
        super().__init__()
        self.stage, self.protocol = stage, preset("stt").replace(radius=stage.radius)
        self.backbone = build(BACKBONES, stage.backbone)
        if not hasattr(self.backbone, "whitening"):
            raise ValueError(
                f"ChainDistillation: {stage.backbone['type']} has no map to train; backbone must be a Whitened one"
            )
        load_needed(stage, self.backbone, parent)
        self.teacher = copy.deepcopy(self.backbone.whitening).requires_grad_(False)
        self.backbone.backbone.requires_grad_(False)

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        """`{"chain": loss}`, the mean over clips and gaps."""
        return {"chain": torch.stack([loss for clip in batch["clips"] for loss in self._losses(clip)]).mean()}

    def _losses(self, clip_T3HW: torch.Tensor) -> list[torch.Tensor]:
        """The loss of each gap of a clip."""
        stage = self.stage
        seen = frames_seen(len(clip_T3HW))
        # Frame by frame: a CPU gains nothing by batches, and a clip may be long.
        with torch.no_grad(), to_video(self.backbone, lambda: clip_T3HW[seen]):
            maps = [
                self.backbone.joined(frame.contiguous(memory_format=torch.channels_last))
                for frame in clip_T3HW.split(1)
            ]
        losses = []
        with torch.autocast(clip_T3HW.device.type, enabled=False):
            joined = over_video(self.backbone, torch.cat(maps).float())  # the clip is the video
            with torch.no_grad():
                carried_TShw = self.carried(self.teacher(joined))
            features = self.backbone.whitening(joined[[0, *stage.gaps]]).flatten(2).transpose(1, 2)
            for query_SC, gap in zip(features[1:], stage.gaps, strict=True):
                place, share, certain = chain_targets(carried_TShw[gap], stage.reach)
                taught = certain >= stage.certain
                losses.append(
                    chain_distillation(
                        query_SC[taught], features[0], place[taught], share[taught], certain[taught],
                        stage.temperature,
                    )
                )  # fmt: skip
        return losses

    def carried(self, maps_TChw: torch.Tensor) -> torch.Tensor:
        """(T, h * w, h, w): the share of each of the first frame's cells in the label carried to every cell."""
        protocol, (h, w) = self.protocol, maps_TChw.shape[2:]
        own = torch.eye(h * w, device=maps_TChw.device).view(-1, h, w)
        return carry(maps_TChw.contiguous(), own, protocol)

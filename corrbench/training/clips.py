"""Clips of videos, and the map behind a whitened network trained on them alone."""

from __future__ import annotations

from typing import Any

import torch

from corrbench.registry import BACKBONES, build
from corrbench.training import pixels
from corrbench.training.inputs import as_evaluated
from corrbench.training.schedule import generator, sample_numbers
from corrbench.training.stage import Batch, EvalNetwork, Part, load_needed


class ClipFeed:
    """Clips, addressed by update: in an epoch each video gives one, at a random place.

    `stage` has `batch`, `frames`, `step`, `flip_share`, `colour` and `resize`.
    """

    def __init__(self, stage: Any, dataset: Any, seed: int) -> None:
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


class MapNetwork(EvalNetwork):
    """A `Whitened` network (`backbone`, the result), of which the map is trained; the rest too where `whole` says so."""

    whole = False

    def __init__(self, stage: Any, parent: dict[str, torch.Tensor] | None) -> None:
        super().__init__()
        self.stage = stage
        self.backbone = build(BACKBONES, stage.backbone)
        if not hasattr(self.backbone, "whitening"):
            raise ValueError(
                f"{type(stage).__name__}: {stage.backbone['type']} has no map to train; backbone must be a Whitened one"
            )
        load_needed(stage, self.backbone, parent)
        self.backbone.backbone.requires_grad_(self.whole)

    def joined(self, clip_T3HW: torch.Tensor) -> torch.Tensor:
        """What the map is given, float32 (T, J, h, w): of a `centred` network less the clip's mean, as of a video's."""
        with torch.set_grad_enabled(self.whole and torch.is_grad_enabled()):
            maps = [  # frame by frame: a CPU gains nothing by batches, and a clip may be long
                self.backbone.joined(frame.contiguous(memory_format=torch.channels_last))
                for frame in clip_T3HW.split(1)
            ]
        joined = torch.cat(maps).float()
        return joined - joined.mean((0, 2, 3), keepdim=True) if self.backbone.centred else joined


def dummy_clips(samples: int, frames: int) -> list[torch.Tensor]:
    """Random pixels of a usual size, to measure the speed of a step without data."""
    return [torch.rand(frames, 3, 256, 456) for _ in range(samples)]

"""Pairs of frames of one video, a few frames apart, cut by one box."""

from __future__ import annotations

from typing import Any

import torch

from corrbench.backbones.colour import to_input
from corrbench.training import augment, pixels
from corrbench.training.schedule import generator, sample_numbers
from corrbench.training.stage import Batch, Part


class PairFeed:
    """Frame pairs, addressed by update: in an epoch each video gives one pair, at a random place.

    `stage` has `batch`, `gap`, `crop`, `area`, `aspect`, `flip_share` and `colour`.
    """

    def __init__(self, stage: Any, dataset: Any, seed: int) -> None:
        self.stage, self.dataset, self.seed = stage, dataset, seed
        self.pixels = pixels.shared(dataset)

    def fetch(self, part: Part) -> Batch:
        """Crops of this process's pairs, (clip, frame) interleaved, reference first; one box and flip a pair."""
        return self.drawn(part)[0]

    def drawn(self, part: Part) -> tuple[Batch, torch.Generator]:
        """The same, and the generator for what else is drawn for this update."""
        stage, update = self.stage, part.update
        rows = range(part.start, part.stop)
        numbers = sample_numbers(len(self.dataset), self.seed, update * stage.batch, stage.batch)
        draw = generator(self.seed, "pairs", update)
        uniform = torch.rand(stage.batch, augment.ATTEMPTS, 4, generator=draw)
        when = torch.rand(stage.batch, generator=draw).tolist()
        flip = torch.rand(stage.batch, generator=draw) < stage.flip_share
        images = self.pixels.get([key for row in rows for key in self._frames(numbers[row], when[row])])
        boxes = []
        for row, reference, target in zip(rows, images[0::2], images[1::2], strict=True):
            pixels.check_one_size((reference, target), self.dataset.name, numbers[row])
            boxes.append(augment.random_box(reference.shape[:2], uniform[row], stage.area, stage.aspect))
        crops, sizes = pixels.cut(images, [box for box in boxes for _ in range(2)])
        flips = flip[part.start : part.stop].repeat_interleave(2)
        return {"crops": crops, "sizes": sizes, "flip": flips}, draw

    def _frames(self, video: int, when: float) -> tuple[tuple[int, int], tuple[int, int]]:
        """Reference and target of a pair in `video`, at the share `when` of the places there are."""
        places = self.dataset.frames(video) - self.stage.gap
        if places < 1:
            raise ValueError(
                f"{self.dataset.name}: video {video} has {places + self.stage.gap} frames, too few for pairs with "
                f"gap {self.stage.gap}; remove it or lower gap"
            )
        first = int(when * places)
        return (video, first), (video, first + self.stage.gap)

    def prepare(self, batch: Batch, device: torch.device) -> Batch:
        """Network inputs `frames` (2B, 3, crop, crop), made on the device."""
        return {"frames": to_input(self.cropped(batch, device), self.stage.colour)}

    def cropped(self, batch: Batch, device: torch.device) -> torch.Tensor:
        """The crops at their size. Resized without anti-aliasing, as STT's released code does it (OpenCV's bilinear)."""
        crops, sizes, flip = (batch[name].to(device) for name in ("crops", "sizes", "flip"))
        return augment.to_frames(augment.resize_crops(crops, sizes, flip, self.stage.crop, antialias=False))


def halves(maps_2BChw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(target frames', reference frames') features of interleaved pairs."""
    return maps_2BChw[1::2], maps_2BChw[0::2]

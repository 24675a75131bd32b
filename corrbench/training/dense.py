"""Contrast between cells: two views of a photograph, moved by a motion that is known, matched cell by cell.

After VADeR (Pinheiro et al., NeurIPS 2020) and DenseCL (Wang et al., CVPR 2021); here without a queue and without a head,
because the features themselves are what is matched when labels are carried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from corrbench.backbones.colour import to_input
from corrbench.registry import DATASETS, STAGES, build
from corrbench.training import augment, pixels, views
from corrbench.training.losses import dense_info_nce
from corrbench.training.schedule import generator, sample_numbers
from corrbench.training.stage import Batch, Part, Stage, StageNetwork, start


@STAGES.register_module()
@dataclass(frozen=True, kw_only=True)
class Dense(Stage):
    """Each cell of a view has to find its place in the other view, among all cells of the (micro-)batch's other views.

    The first view is a square of `side` times the image's short side (a range, log-uniform); the second one's is up to
    `zoom` times as large or as small, its centre up to `shift` times the smaller square away. Each is turned by up to
    `turn` degrees and stretched by up to `stretch`; colours change as in `Spatial`. `temperature` of the cosines.
    Negatives are those of this process.
    """

    lr: float = 3e-3
    batch: int = 8
    colour: str = "lab"
    crop: int = 96
    side: Sequence[float] = (0.35, 1.0)
    zoom: float = 2.0
    shift: float = 0.35
    turn: float = 20.0
    stretch: float = 1.2
    flip_share: float = 0.5
    jitter: Sequence[float] = (0.4, 0.4, 0.4, 0.1)
    jitter_share: float = 0.8
    grey_share: float = 0.1
    blur_share: float = 0.3
    blur: Sequence[float] = (0.1, 1.2)
    temperature: float = 0.07

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.side[0] <= self.side[1] <= 1:
            raise ValueError(f"Dense: side {list(self.side)} must be a range within 0 (exclusive) to 1")
        if self.zoom < 1 or self.stretch < 1:
            raise ValueError(f"Dense: zoom {self.zoom} and stretch {self.stretch} must be 1 or more")

    def network(self, parent: dict[str, torch.Tensor] | None, seed: int) -> DenseNetwork:
        return self.around(start(self.backbone, parent, seed), seed)

    def around(self, backbone: Any, seed: int) -> DenseNetwork:
        return DenseNetwork(self, backbone)

    def feed(self, seed: int, dataset: Any = None) -> DenseFeed:
        return DenseFeed(self, dataset or build(DATASETS, self.dataset), seed)

    def dummy(self, samples: int) -> Batch:
        return {
            "views": torch.rand(2 * samples, 3, self.crop, self.crop),
            "maps": views.whole(samples, self.crop),
        }


class DenseFeed:
    """Pairs of views, addressed by update."""

    def __init__(self, stage: Dense, dataset: Any, seed: int) -> None:
        self.stage, self.dataset, self.seed = stage, dataset, seed
        self.pixels = pixels.shared(dataset)

    def fetch(self, part: Part) -> Batch:
        """The images of this process's rows, cut to what their two views see, and the views' maps into them."""
        stage = self.stage
        numbers = sample_numbers(len(self.dataset), self.seed, part.update * stage.batch, stage.batch)
        draw = generator(self.seed, "views", part.update)
        uniform = torch.rand(stage.batch, views.NUMBERS, generator=draw)
        flip = torch.rand(stage.batch, generator=draw) < stage.flip_share
        looks = augment.draw_looks(
            2 * stage.batch, stage.jitter, stage.jitter_share, stage.grey_share, stage.blur_share, stage.blur, draw,
        )  # fmt: skip
        rows = list(range(part.start, part.stop))
        images = self.pixels.get([(numbers[row],) for row in rows])
        boxes, maps = [], []
        for row, image in zip(rows, images, strict=True):
            size = image.shape[:2]
            pair = views.draw(
                size, uniform[row], stage.side, stage.zoom, stage.shift, stage.turn, stage.stretch
            )
            pair = views.mirrored(pair) if bool(flip[row]) else pair
            box = views.bounds(pair, size)
            boxes.append(box)
            maps.append(views.moved(pair, box))
        crops, sizes = pixels.cut(images, boxes)
        both = torch.arange(2 * part.start, 2 * part.stop)
        return {"crops": crops, "sizes": sizes, "maps": torch.stack(maps), "looks": looks.rows(both)}

    def prepare(self, batch: Batch, device: torch.device) -> Batch:
        """Network inputs (2 B, 3, crop, crop), first and second view in turn, made on the device."""
        crops, sizes, maps = (batch[name].to(device) for name in ("crops", "sizes", "maps"))
        images = views.render(crops, sizes, maps, self.stage.crop)
        images = augment.apply_looks(images, batch["looks"].to(device))
        return {"views": to_input(augment.to_frames(images), self.stage.colour), "maps": maps}


class DenseNetwork(StageNetwork):
    """The backbone and nothing else."""

    def __init__(self, stage: Dense, backbone: Any) -> None:
        super().__init__()
        self.stage, self.backbone = stage, backbone

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        """`{"contrast": loss}`."""
        maps = self.backbone(batch["views"].contiguous(memory_format=torch.channels_last))
        with torch.autocast(maps.device.type, enabled=False):
            places_Bhw2 = views.matches(batch["maps"], maps.shape[2:])
            unit = F.normalize(maps.float(), dim=1)
            loss = dense_info_nce(unit[0::2], unit[1::2], places_Bhw2, self.stage.temperature)
        return {"contrast": loss}

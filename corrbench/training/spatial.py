"""Step 1, spatial: momentum contrast on photographs (MoCo v1: He et al., CVPR 2020; v2: Chen, Fan, Girshick & He, 2020)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from corrbench.backbones.colour import to_input
from corrbench.registry import DATASETS, STAGES, build
from corrbench.training import augment, distributed, pixels
from corrbench.training.losses import info_nce
from corrbench.training.schedule import generator, sample_numbers
from corrbench.training.stage import Batch, Part, Stage, StageNetwork, start


@STAGES.register_module()
@dataclass(frozen=True, kw_only=True)
class Spatial(Stage):
    """Two augmented crops of a photograph are one instance; the queue holds the others.

    The defaults are MoCo v2's. MoCo v1 is `head="linear", temperature=0.07, jitter=(0.4, 0.4, 0.4, 0.4),
    jitter_share=1.0, grey_first=True, blur_share=0.0`. `queue` keys of `dim` numbers; `key_momentum` of the key encoder.

    `bn_groups` stands for MoCo's shuffled batch normalisation, which needs several GPUs: the keys of a step are shuffled
    and normalised in that many groups (over all processes), so that a query and its own key never share their batch
    statistics and the contrast cannot be solved by them.
    """

    optimiser: str = "sgd"
    lr: float = 0.03
    weight_decay: float = 1e-4
    lr_end: float = 0.0
    batch: int = 256
    colour: str = "rgb"
    head: str = "mlp"
    dim: int = 128
    queue: int = 65536
    key_momentum: float = 0.999
    temperature: float = 0.2
    bn_groups: int = 8
    crop: int = 224
    area: Sequence[float] = (0.2, 1.0)
    aspect: Sequence[float] = (3 / 4, 4 / 3)
    flip_share: float = 0.5
    jitter: Sequence[float] = (0.4, 0.4, 0.4, 0.1)
    jitter_share: float = 0.8
    grey_share: float = 0.2
    grey_first: bool = False
    blur_share: float = 0.5
    blur: Sequence[float] = (0.1, 2.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head not in ("mlp", "linear"):
            raise ValueError(
                f"Spatial: head {self.head!r} is not known; use 'mlp' (MoCo v2) or 'linear' (v1)"
            )
        if self.queue % (self.batch // self.accumulate):
            raise ValueError(
                f"Spatial: queue {self.queue} must be a multiple of the micro-batch of "
                f"{self.batch // self.accumulate}; change queue, batch or accumulate"
            )

    def network(self, parent: dict[str, torch.Tensor] | None, seed: int) -> MoCo:
        return self.around(start(self.backbone, parent, seed), seed)

    def around(self, backbone: Any, seed: int) -> MoCo:
        return MoCo(self, backbone, seed)

    def feed(self, seed: int, dataset: Any = None) -> SpatialFeed:
        return SpatialFeed(self, dataset or build(DATASETS, self.dataset), seed)

    def dummy(self, samples: int) -> Batch:
        image = torch.rand(samples, 3, self.crop, self.crop)
        return {"query": image, "key": image.flip(3), "shuffle": torch.arange(samples), "own": (0, samples)}


class SpatialFeed:
    """Pairs of crops, addressed by update."""

    def __init__(self, stage: Spatial, dataset: Any, seed: int) -> None:
        self.stage, self.dataset, self.seed = stage, dataset, seed
        self.pixels = pixels.shared(dataset)

    def fetch(self, part: Part) -> Batch:
        """Crops of this process's queries, and of its share of the step's shuffled keys."""
        stage, update = self.stage, part.update
        numbers = sample_numbers(len(self.dataset), self.seed, update * stage.batch, stage.batch)
        step = torch.arange(part.step_start, part.step_stop)
        shuffle = torch.randperm(
            len(step), generator=generator(self.seed, "shuffle", update, part.step_start)
        )
        first, last = part.start - part.step_start, part.stop - part.step_start
        return {
            "shuffle": shuffle,
            "own": (first, last),
            "query": self._view("query", update, step[first:last], numbers),
            "key": self._view("key", update, step[shuffle[first:last]], numbers),
        }

    def _view(self, name: str, update: int, rows: torch.Tensor, numbers: list[int]) -> dict[str, Any]:
        """One augmented view of some rows of the global batch; every row's numbers are drawn, whoever has it."""
        stage, draw = self.stage, generator(self.seed, name, update)
        uniform = torch.rand(stage.batch, augment.ATTEMPTS, 4, generator=draw)
        flip = torch.rand(stage.batch, generator=draw) < stage.flip_share
        looks = augment.draw_looks(
            stage.batch, stage.jitter, stage.jitter_share, stage.grey_share, stage.blur_share,
            stage.blur, draw,
        )  # fmt: skip
        images = self.pixels.get([(numbers[row],) for row in rows.tolist()])
        boxes = [
            augment.random_box(image.shape[:2], uniform[row], stage.area, stage.aspect)
            for image, row in zip(images, rows.tolist(), strict=True)
        ]
        crops, sizes = pixels.cut(images, boxes)
        return {"crops": crops, "sizes": sizes, "flip": flip[rows], "looks": looks.rows(rows)}

    def prepare(self, batch: Batch, device: torch.device) -> Batch:
        """Network inputs, made on the device."""
        return batch | {name: self._input(batch[name], device) for name in ("query", "key")}

    def _input(self, view: dict[str, Any], device: torch.device) -> torch.Tensor:
        crops, sizes, flip = (view[name].to(device) for name in ("crops", "sizes", "flip"))
        images = augment.resize_crops(crops, sizes, flip, self.stage.crop)
        images = augment.apply_looks(images, view["looks"].to(device), self.stage.grey_first)
        return to_input(augment.to_frames(images), self.stage.colour)


class MoCo(StageNetwork):
    """Query encoder, its moving average, and the queue of the average's keys. `backbone` is the result."""

    queue: torch.Tensor
    place: torch.Tensor

    def __init__(self, stage: Spatial, backbone: Any, seed: int) -> None:
        super().__init__()
        self.stage = stage
        self.backbone = backbone
        channels = backbone.channels
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(generator(seed, "head").initial_seed()) % 2**63)
            layers: list[nn.Module] = [nn.Linear(channels, stage.dim)]
            if stage.head == "mlp":
                layers = [nn.Linear(channels, channels), nn.ReLU(inplace=True), *layers]
            self.head = nn.Sequential(*layers)
        self.slow_backbone = copy.deepcopy(self.backbone).requires_grad_(False)
        self.slow_head = copy.deepcopy(self.head).requires_grad_(False)
        keys = torch.randn(stage.queue, stage.dim, generator=generator(seed, "queue"))
        self.register_buffer("queue", F.normalize(keys, dim=1))
        self.register_buffer("place", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def begin(self) -> None:
        """Move the key encoder towards the query encoder, once an update."""
        for slow, fast in ((self.slow_backbone, self.backbone), (self.slow_head, self.head)):
            for mean, new in zip(slow.parameters(), fast.parameters(), strict=True):
                mean.lerp_(new, 1 - self.stage.key_momentum)

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        """`{"contrast": loss}` of the queries of this process; the step's keys enter the queue."""
        query = _encode(self.backbone, self.head, batch["query"])
        keys = self._keys(batch["key"])
        with torch.autocast(query.device.type, enabled=False):
            everyone = torch.empty_like(keys)
            everyone[batch["shuffle"].to(keys.device)] = keys  # undo the shuffle
            own = everyone[slice(*batch["own"])]
            loss = info_nce(query, own, self.queue.clone(), self.stage.temperature)
        self._enqueue(everyone)
        return {"contrast": loss}

    @torch.no_grad()
    def _keys(self, images: torch.Tensor) -> torch.Tensor:
        """Keys of the whole step in shuffled order, each group normalised by its own batch statistics."""
        groups = min(max(self.stage.bn_groups // distributed.world(), 1), max(len(images) // 2, 1))
        parts = [_encode(self.slow_backbone, self.slow_head, chunk) for chunk in images.chunk(groups)]
        return distributed.gathered(torch.cat(parts))

    @torch.no_grad()
    def _enqueue(self, keys: torch.Tensor) -> None:
        start = int(self.place)
        self.queue[start : start + len(keys)] = keys
        self.place.fill_((start + len(keys)) % len(self.queue))


def _encode(backbone: nn.Module, head: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Unit vectors (B, dim), float32."""
    out = head(backbone(images.contiguous(memory_format=torch.channels_last)).mean((2, 3)))
    return F.normalize(out.float(), dim=1)

"""Whitening: after training, take away from the features what all cells of all frames have in common.

Features trained by reconstruction vary most along a few directions (how bright and how coloured a place is), so cosines of
unrelated cells are high. The stage looks at unlabelled frames at the size of the evaluation, and changes no other weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from corrbench import zoo
from corrbench.registry import BACKBONES, DATASETS, STAGES, build
from corrbench.run_weights import network_of
from corrbench.training import distributed, pixels
from corrbench.training.inputs import as_evaluated
from corrbench.training.schedule import generator, sample_numbers
from corrbench.training.stage import Batch, EvalNetwork, Part, Stage, load_needed

DUMMY = (480, 854)


@STAGES.register_module()
@dataclass(frozen=True, kw_only=True)
class Whitening(Stage):
    """Mean m and covariance C of the cells' features x over `updates * batch` frames; the result is C^(-power/2) (x - m).

    `backbone` is the network that is evaluated, with the weights of the stage before, or with those of the zoo's checkpoint
    `weights` (before its own map, if it has one); the stage's result is a `Whitened` one, with its `layers`, `means`,
    `dropped`, `centred`, `adapted` and `directions`, those of most variance. `power` 1 whitens wholly, 0 only centres.
    Variances below `floor` of the largest count as that. m and C are taken as the network was trained, not `adapted`.
    Frames are resized as a protocol's `resize` has it. Nothing here has a learning rate.

    Jégou & Chum, ECCV 2012 (power 1).
    """

    batch: int = 4
    colour: str = "lab"
    resize: str = "short 480"
    power: float = 0.75
    floor: float = 1e-4
    layers: Sequence[int] | None = None
    means: Sequence[int] = ()
    directions: int | None = None
    dropped: Sequence[int] = ()
    centred: bool = False
    adapted: float = 0.0
    weights: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.power <= 1 or not 0 < self.floor < 1:
            raise ValueError(
                f"Whitening: power {self.power} must be from 0 to 1, and floor {self.floor} between them"
            )

    @classmethod
    def idle(cls, settings: Mapping[str, Any]) -> frozenset[str]:
        return frozenset(key for key in ("dropped", "centred", "adapted") if not settings[key])

    def network(self, parent: dict[str, torch.Tensor] | None, seed: int) -> WhiteningNetwork:
        return WhiteningNetwork(self, parent)

    def feed(self, seed: int, dataset: Any = None) -> WhiteningFeed:
        return WhiteningFeed(self, dataset or build(DATASETS, self.dataset), seed)

    def dummy(self, samples: int) -> Batch:
        return {"frames": [torch.rand(1, 3, *DUMMY) for _ in range(samples)]}


class WhiteningFeed:
    """Frames, addressed by update: in an epoch each video gives one, at a random place."""

    def __init__(self, stage: Whitening, dataset: Any, seed: int) -> None:
        self.stage, self.dataset, self.seed = stage, dataset, seed
        self.pixels = pixels.shared(dataset)

    def fetch(self, part: Part) -> Batch:
        """This process's frames, of any sizes."""
        batch = self.stage.batch
        numbers = sample_numbers(len(self.dataset), self.seed, part.update * batch, batch)
        when = torch.rand(batch, generator=generator(self.seed, "frames", part.update)).tolist()
        keys = [
            (numbers[row], int(when[row] * self.dataset.frames(numbers[row])))
            for row in range(part.start, part.stop)
        ]
        return {"frames": [torch.from_numpy(image)[None] for image in self.pixels.get(keys)]}

    def prepare(self, batch: Batch, device: torch.device) -> Batch:
        """Network inputs (1, 3, H, W), made on the device as the evaluation makes them."""
        return {"frames": as_evaluated(batch["frames"], self.stage.colour, self.stage.resize, device)}


class WhiteningNetwork(EvalNetwork):
    """The whitened network (`backbone`, the result) and the sums that its map is made of when all frames were seen."""

    sums: torch.Tensor

    def __init__(self, stage: Whitening, parent: dict[str, torch.Tensor] | None) -> None:
        super().__init__()
        self.stage = stage
        self.backbone = build(
            BACKBONES,
            {
                "type": "Whitened", "backbone": stage.backbone,
                "layers": stage.layers, "means": stage.means, "directions": stage.directions, "dropped": stage.dropped,
                "centred": stage.centred, "adapted": stage.adapted,
            },
        )  # fmt: skip
        plain = self.backbone.backbone.requires_grad_(False)
        _load(stage, plain, parent)
        size = self.backbone.whitening.in_channels
        # Sums over cells of (1, x) (1, x)^T.
        self.register_buffer("sums", torch.zeros(1 + size, 1 + size, dtype=torch.float64))

    @torch.no_grad()
    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        """`{"directions": effective number of directions of the features so far}`, which is no loss."""
        for frame in batch["frames"]:
            features = self.backbone.joined(frame.contiguous(memory_format=torch.channels_last))
            add_cells(self.sums, features[0].flatten(1))
        _, covariance = _moments(self.sums)
        return {"directions": (covariance.trace() ** 2 / (covariance**2).sum()).float()}

    @torch.no_grad()
    def finish(self) -> None:
        """Put the map in place."""
        stage = self.stage
        mean, matrix = whitening_map(
            distributed.summed(self.sums), self.backbone.channels, stage.power, stage.floor
        )
        self.backbone.set(mean.float(), matrix.float())


def _load(stage: Whitening, plain: Any, parent: dict[str, torch.Tensor] | None) -> None:
    """The weights to whiten into `plain`; of a shipped checkpoint with a map of its own, those before the map."""
    trained = zoo.locate(stage.weights).trained if stage.weights is not None else None
    if stage.weights is None or trained is None:
        return load_needed(stage, plain, parent, "whiten")
    whole = build(BACKBONES, network_of(trained["stages"], stage.backbone))
    zoo.load(stage.weights, whole)
    plain.load_state_dict(getattr(whole, "backbone", whole).state_dict())


def add_cells(sums: torch.Tensor, cells_CN: torch.Tensor) -> None:
    """Add (1, x) (1, x)^T of every cell x to `sums` (1 + C, 1 + C)."""
    ones = F.pad(cells_CN.to(sums.dtype), (0, 0, 1, 0), value=1.0)
    sums += ones @ ones.T


def whitening_map(
    sums: torch.Tensor, directions: int, power: float, floor: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (C,) and matrix (directions, C) of the map `matrix @ (x - mean)`, from sums of (1, x) (1, x)^T."""
    mean, covariance = _moments(sums)
    variances, axes = torch.linalg.eigh(covariance.cpu())
    variances = variances.flip(0)[:directions].clamp(min=float(variances[-1]) * floor)
    gains = (variances / variances.mean()) ** (-power / 2)  # about 1, for half precision
    return mean, (gains[:, None] * axes.T.flip(0)[:directions]).to(mean.device)


def _moments(sums: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (C,) and covariance (C, C) from sums of (1, x) (1, x)^T."""
    mean = sums[0, 1:] / sums[0, 0]
    return mean, sums[1:, 1:] / sums[0, 0] - mean[:, None] * mean

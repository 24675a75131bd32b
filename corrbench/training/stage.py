"""What every stage has: its training settings, and the three things the loop asks of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import nn

from corrbench.registry import BACKBONES, build

Batch = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """One process's share of one micro-batch: rows `start` to `stop` of a global batch of `batch` samples."""

    update: int
    start: int
    stop: int
    step_start: int  # rows of all processes in this micro-step: what statistics are shared over
    step_stop: int


class StageNetwork(nn.Module):
    """What the loop trains: `forward(batch) -> {name: weighted loss}`; the weights of `backbone` are the stage's result."""

    backbone: Any

    def learn_from(self, teachers: Sequence[Mapping[str, torch.Tensor]]) -> None:
        """Called before training with the weights of the other seeds' preceding stages, if the stage has `others`."""
        if teachers:
            raise NotImplementedError(f"{type(self).__name__} has no use for other trainings' weights")

    def begin(self) -> None:
        """Called at the beginning of every update."""

    def finish(self) -> None:
        """Called once after the last update, in every process."""


class EvalNetwork(StageNetwork):
    """One whose normalisation stays as it was trained: running statistics are used and not moved."""

    def train(self, mode: bool = True) -> Self:
        """Always in eval mode."""
        return super().train(False)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Settings that each stage shares. `updates=0` leaves the stage out.

    `batch` counts samples (photographs, frame pairs) of one update over all processes; `accumulate` splits it into
    micro-batches, which batch normalisation sees one by one. `warmup` is in updates; `lr_end` a fraction of `lr`.
    `autocast` None or `bfloat16`: networks only, losses stay in float32.
    """

    backbone: Mapping[str, Any]
    dataset: Mapping[str, Any]
    updates: int
    batch: int = 64
    accumulate: int = 1
    optimiser: str = "adam"
    lr: float = 5e-5
    momentum: float = 0.9
    weight_decay: float = 0.0
    warmup: int = 0
    lr_end: float = 0.001
    autocast: str | None = None

    def __post_init__(self) -> None:
        name = type(self).__name__
        if self.updates < 0 or self.batch < 1 or self.accumulate < 1 or self.batch % self.accumulate:
            raise ValueError(
                f"{name}: updates {self.updates}, batch {self.batch}, accumulate {self.accumulate}: updates must be "
                "0 or more, and accumulate must divide batch"
            )
        if self.optimiser not in ("adam", "sgd"):
            raise ValueError(f"{name}: optimiser {self.optimiser!r} is not known; use 'adam' or 'sgd'")
        if self.autocast not in (None, "bfloat16"):
            raise ValueError(f"{name}: autocast {self.autocast!r} is not known; use None or 'bfloat16'")

    @classmethod
    def idle(cls, settings: Mapping[str, Any]) -> frozenset[str]:
        """Settings that change nothing under the others, such as those of a loss of weight 0: no part of the digest."""
        return frozenset()

    def network(self, parent: dict[str, torch.Tensor] | None, seed: int) -> StageNetwork:
        """The trainable network, started from the preceding stage's backbone weights, or from `seed` without one."""
        raise NotImplementedError

    def around(self, backbone: Any, seed: int) -> StageNetwork:
        """The network around weights that another stage trains too (joint training); contrastive stages have it."""
        raise NotImplementedError(
            f"{type(self).__name__} cannot be trained beside another stage; Spatial and Dense can"
        )

    def feed(self, seed: int, dataset: Any = None) -> Any:
        """The data: `fetch(part) -> Batch` on the CPU (in a background thread), `prepare(batch, device) -> Batch`."""
        raise NotImplementedError

    def dummy(self, samples: int) -> Batch:
        """A prepared batch of random pixels, to measure the speed of a step without data."""
        raise NotImplementedError

    def parts(self, update: int, rank: int, world: int) -> list[Part]:
        """This process's micro-batches of one update."""
        step = self.batch // self.accumulate
        if step % world:
            raise ValueError(
                f"{type(self).__name__}: a micro-batch of {step} samples cannot be shared by {world} processes; "
                "change batch or accumulate"
            )
        share = step // world
        return [
            Part(update, m * step + rank * share, m * step + (rank + 1) * share, m * step, (m + 1) * step)
            for m in range(self.accumulate)
        ]

    def optimiser_of(self, network: nn.Module) -> torch.optim.Optimizer:
        """Adam (betas 0.9, 0.999) or SGD with momentum over the parameters that are trained."""
        parameters = [p for p in network.parameters() if p.requires_grad]
        if self.optimiser == "adam":
            return torch.optim.Adam(parameters, self.lr, weight_decay=self.weight_decay)
        return torch.optim.SGD(parameters, self.lr, self.momentum, weight_decay=self.weight_decay)


def start(backbone: Mapping[str, Any], parent: dict[str, torch.Tensor] | None, seed: int) -> Any:
    """The network of `backbone`'s settings with a preceding stage's weights, or drawn from `seed` without one."""
    network = build(BACKBONES, dict(backbone) | ({"seed": seed} if parent is None else {}))
    load_backbone(network, parent)
    return network


def load_given(backbone: nn.Module, weights: str | None, parent: dict[str, torch.Tensor] | None) -> bool:
    """Load the zoo's checkpoint `weights`, else a preceding stage's; False where there is neither."""
    if weights is not None:
        from corrbench import zoo

        zoo.load(weights, backbone)
    load_backbone(backbone, parent if weights is None else None)
    return weights is not None or parent is not None


def load_needed(
    stage: Any, backbone: nn.Module, parent: dict[str, torch.Tensor] | None, purpose: str = "start from"
) -> None:
    """`load_given` with the `weights` of `stage`, which has no use for a random network; `ValueError` without any."""
    if not load_given(backbone, stage.weights, parent):
        raise ValueError(
            f"{type(stage).__name__}: there is nothing to {purpose}; it needs a preceding stage of more than 0 updates, "
            "or weights"
        )


def load_backbone(backbone: nn.Module, weights: dict[str, torch.Tensor] | None) -> None:
    """Load a preceding stage's weights, strictly: every tensor that `backbone` has, of its shape."""
    if weights is None:
        return
    own = backbone.state_dict()
    missing = sorted(own.keys() - weights.keys())
    wrong = [k for k in own.keys() & weights.keys() if own[k].shape != weights[k].shape]
    if missing or wrong:
        raise ValueError(
            f"the preceding stage's weights do not fit this backbone: {len(missing)} tensors are missing and "
            f"{len(wrong)} have another shape, such as {(missing + wrong)[0]}; give both stages the same depth"
        )
    backbone.load_state_dict({k: weights[k] for k in own})

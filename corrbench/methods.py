"""METHODS: how a representation turns a first-frame label into labels for every frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from corrbench import config
from corrbench.datasets.sequence import Sequence, read_frames
from corrbench.propagation import Context, Neighbours, Window, carry, neighbours, propagate
from corrbench.protocol import Protocol
from corrbench.provenance import Numerics
from corrbench.registry import BACKBONES, METHODS, build
from corrbench.store import Store

# Frames that go through the backbone at once; a frame's features do not depend on its batch (tested).
BATCH = {"cpu": 4, "cuda": 16}


class Clock:
    """Seconds by stage of one sequence; `with clock("features"):`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            if torch.cuda.is_available() and torch.cuda.is_initialized():
                torch.cuda.synchronize()
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


@METHODS.register_module()
class CopyFirst:
    """Labels never move: every frame is given the first frame's label, at full resolution. The floor of every task."""

    needs_checkpoint: str | None = None

    def __init__(self, protocol: str | Mapping[str, Any] = "stt") -> None:
        self.protocol = protocol

    def prepare(self, numerics: Numerics, weights: Any = None) -> None:
        """Nothing to load."""

    def predict(self, sequence: Sequence, task: Any, protocol: Protocol, clock: Clock) -> Any:
        with clock("decode"):
            return task.first(sequence)


@METHODS.register_module()
class LabelPropagation:
    """Features of every frame, the neighbours of every cell under the protocol's window, and labels carried along them.

    `backbone` is a BACKBONES config, `colour` an input of `backbones.colour`, `checkpoint` a name in the zoo (None: the
    backbone as its config builds it), `protocol` a preset's name or `dict(name=..., topk=...)` with changes.
    """

    def __init__(
        self,
        backbone: Mapping[str, Any],
        colour: str = "rgb",
        checkpoint: str | None = None,
        protocol: str | Mapping[str, Any] = "stt",
    ) -> None:
        self.backbone_config = dict(backbone)
        self.colour = colour
        self.needs_checkpoint = checkpoint
        self.protocol = protocol
        self.numerics = Numerics()
        self.backbone: torch.nn.Module | None = None
        self.weights_sha256: str | None = None
        self.store: Store | None = None
        self.most_neighbours = 0

    def prepare(self, numerics: Numerics, weights: Any = None) -> None:
        """Build the backbone on the device, once, and load its weights (a `plan.Weights`), checked by sha256."""
        if self.backbone is not None:
            return
        from corrbench import zoo

        backbone = build(BACKBONES, self.backbone_config)
        if weights is not None and weights.path is not None:
            zoo.load_into(backbone, weights.name, weights.path, weights.sha256)
            self.weights_sha256 = weights.sha256
        self.numerics = numerics
        self.backbone = backbone.eval().to(numerics.device, memory_format=torch.channels_last)

    def share(self, store: Store, k: int) -> None:
        """Keep features and neighbours in `store`, with at least `k` neighbours a query, for runs that share them."""
        self.store, self.most_neighbours = store, k

    def features(self, sequence: Sequence, input_size: tuple[int, int]) -> torch.Tensor:
        """Feature maps of every frame, resized to `input_size`: float32 (T, C, h, w) on the device, not normalised."""
        from corrbench.backbones.colour import to_input

        assert self.backbone is not None, "prepare() comes first"
        device = torch.device(self.numerics.device)
        autocast = (
            torch.autocast(device.type, dtype=getattr(torch, self.numerics.autocast))
            if self.numerics.autocast
            else nullcontext()
        )
        maps: list[torch.Tensor] = []
        step = BATCH[device.type]
        with torch.inference_mode(), autocast:
            for start in range(0, len(sequence), step):
                frames = read_frames(sequence, range(start, min(start + step, len(sequence))))
                image = to_input(frames, self.colour, device=device, size=input_size)
                maps.append(self.backbone(image.contiguous(memory_format=torch.channels_last)).float())
        return torch.cat(maps)

    def features_key(
        self, sequence: Sequence, data_digest: str, input_size: tuple[int, int]
    ) -> dict[str, Any]:
        """Everything that feature maps depend on, for the store."""
        return {
            "backbone": config.resolve(BACKBONES, self.backbone_config),
            "colour": self.colour,
            "weights": self.weights_sha256,
            "size": list(input_size),
            "data": data_digest,
            "sequence": sequence.name,
            "numerics": self.numerics.as_dict() | {"path": None},
        }

    def input_size(self, sequence: Sequence, protocol: Protocol) -> tuple[int, int]:
        """The protocol's input size, with both sides a multiple of what the backbone needs (a ViT's patch)."""
        assert self.backbone is not None, "prepare() comes first"
        return protocol.input_size(sequence.size, multiple=getattr(self.backbone, "multiple", 1))

    def predict(self, sequence: Sequence, task: Any, protocol: Protocol, clock: Clock) -> np.ndarray:
        """The task's prediction for every frame of `sequence`."""
        size = self.input_size(sequence, protocol)
        key = self.features_key(sequence, task.dataset.digest(), size) if self.store else {}
        with clock("features"):
            maps = self._kept(key, lambda: (self.features(sequence, size),))[0]
        first = task.encode(sequence, protocol, size, tuple(maps.shape[-2:])).to(maps.device)
        with torch.inference_mode():
            soft = self._carry(maps, first, protocol, key, clock)
            del maps
            with clock("decode"):
                return task.decode(soft, sequence, protocol)

    def _carry(
        self, maps: torch.Tensor, first: torch.Tensor, protocol: Protocol, key: dict[str, Any], clock: Clock
    ) -> torch.Tensor:
        path = self.numerics.path
        if self.store is None or protocol.topk is None or protocol.topk_scope != "joint":
            return carry(maps, first, protocol, path=path, clock=clock)
        window = Window(protocol.mask, protocol.radius, protocol.strict, protocol.first_masked)
        context = Context(protocol.context, protocol.early)
        k = max(protocol.topk, self.most_neighbours)
        grid = (int(maps.shape[-2]), int(maps.shape[-1]))
        search = {"features": key, "window": asdict(window), "context": asdict(context), "k": k}

        def find() -> tuple[torch.Tensor, ...]:
            found = neighbours(maps, window, context, k, normalise=protocol.normalise, method=path)
            return found.index, found.similarity

        with clock("neighbours"):
            index, similarity = self._kept(search | {"normalise": protocol.normalise, "path": path}, find)
        with clock("propagate"):
            best = Neighbours(index.to(maps.device), similarity.to(maps.device), grid, context)
            return propagate(best, first, protocol.temperature, protocol.topk, stored=protocol.stored)

    def _kept(
        self, key: dict[str, Any], make: Callable[[], tuple[torch.Tensor, ...]]
    ) -> tuple[torch.Tensor, ...]:
        if self.store is None:
            return make()
        return tuple(t.to(self.numerics.device) for t in self.store.get(key, make))

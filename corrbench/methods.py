"""METHODS: how a representation turns a first-frame label into labels for every frame."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from corrbench.datasets.sequence import Sequence, read_frames
from corrbench.propagation import carry
from corrbench.protocol import Protocol
from corrbench.provenance import Numerics
from corrbench.registry import BACKBONES, METHODS, build

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

    def prepare(self, numerics: Numerics, weights: Path | None = None) -> None:
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

    def prepare(self, numerics: Numerics, weights: Path | None = None) -> None:
        """Build the backbone on the device and load its weights: those of a training run, or the zoo's."""
        from corrbench import zoo

        backbone = build(BACKBONES, self.backbone_config)
        if weights is not None:
            zoo.load_file(weights, backbone)
        elif self.needs_checkpoint is not None:
            zoo.load(self.needs_checkpoint, backbone)
        self.numerics = numerics
        self.backbone = backbone.eval().to(numerics.device, memory_format=torch.channels_last)

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

    def input_size(self, sequence: Sequence, protocol: Protocol) -> tuple[int, int]:
        """The protocol's input size, with both sides a multiple of what the backbone needs (a ViT's patch)."""
        assert self.backbone is not None, "prepare() comes first"
        return protocol.input_size(sequence.size, multiple=getattr(self.backbone, "multiple", 1))

    def predict(self, sequence: Sequence, task: Any, protocol: Protocol, clock: Clock) -> np.ndarray:
        """The task's prediction for every frame of `sequence`."""
        size = self.input_size(sequence, protocol)
        with clock("features"):
            maps = self.features(sequence, size)
        first = task.encode(sequence, protocol, size, tuple(maps.shape[-2:])).to(maps.device)
        with torch.inference_mode():
            soft = carry(maps, first, protocol, clock=clock, path=self.numerics.path)
            del maps
            with clock("decode"):
                return task.decode(soft, sequence, protocol)

"""METHODS: how a representation turns a first-frame label into labels for every frame."""

from __future__ import annotations

import math
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from itertools import islice
from typing import Any

import numpy as np
import torch

from corrbench import memory
from corrbench.backbones.adapted import frames_seen, to_video
from corrbench.backbones.centred import over_video
from corrbench.compiling import Compiled
from corrbench.datasets.sequence import Sequence
from corrbench.pipeline import ahead, cores
from corrbench.propagation import Neighbours, carry, neighbours, propagate
from corrbench.protocol import Protocol
from corrbench.provenance import Numerics
from corrbench.registry import BACKBONES, METHODS, build
from corrbench.sharing import (
    Search,
    features_key,
    most_neighbours,
    neighbours_key,
    search_of,
    weights_digest,
)
from corrbench.store import Store

# Frames that go through the backbone at once; a frame's features do not depend on its batch (tested). On a CPU a batch only
# makes the maps larger: beyond 32 MiB glibc maps each of them anew, and the kernel clears every page of it.
BATCH = {"cpu": 1, "cuda": 16}


class Clock:
    """Seconds by stage of one sequence; `with clock("features"):`. `shared`: work was shared with other runs."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.shared = False

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            if torch.cuda.is_available() and torch.cuda.is_initialized():
                torch.cuda.synchronize()
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def searched(self, found: Neighbours) -> None:
        """Count the queries of a search, and those that were redone in float32, where its path counts them."""
        if found.redone is not None:
            for name, number in (("searched", found.index[..., 0].numel()), ("redone", found.redone)):
                self.counts[name] = self.counts.get(name, 0) + number


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
        self.compiled: Compiled | None = None
        self.weights_sha256: str | None = None
        self.weights_digest: str | None = None
        self.memory: int | None = None  # bytes, of the GPU where the run is on one; no result depends on it
        self.store: Store | None = None
        self.most_neighbours: dict[Search, int] = {}

    def prepare(self, numerics: Numerics, weights: Any = None) -> None:
        """Build the backbone on the device, once, and load its weights (a `run_weights.Weights`), checked by sha256."""
        if self.backbone is not None:
            return
        from corrbench import zoo

        backbone = build(BACKBONES, self.backbone_config)
        if weights is not None and weights.path is not None:
            zoo.load_into(backbone, weights.name, weights.path, weights.sha256)
            self.weights_sha256 = weights.sha256
        self.numerics = numerics
        self.backbone = backbone.eval().to(numerics.device, memory_format=torch.channels_last)
        self.compiled = Compiled(self.backbone) if numerics.compile else None

    def share(self, store: Store, protocols: Iterable[Protocol]) -> None:
        """Keep features and neighbours in `store` for runs under `protocols`: as many neighbours as any of them needs."""
        self.store, self.most_neighbours = store, most_neighbours(protocols)

    def features(self, sequence: Sequence, input_size: tuple[int, int]) -> torch.Tensor:
        """Feature maps of every frame, resized to `input_size`: float32 (T, C, h, w) on the device, not normalised."""
        assert self.backbone is not None, "prepare() comes first"
        device = torch.device(self.numerics.device)
        autocast = (
            torch.autocast(device.type, dtype=getattr(torch, self.numerics.autocast))
            if self.numerics.autocast
            else nullcontext()
        )
        # In one layout, that of released code: norms summed over another one differ in their last bit.
        maps: torch.Tensor | None = None
        most = memory.activation_bytes(self.backbone, input_size) if self.memory else 0
        step = (
            max(1, min(BATCH[device.type], self.memory // (2 * most)))
            if self.memory and most
            else BATCH[device.type]
        )
        start, threads = 0, cores()
        decoded = ahead(sequence.frame, range(len(sequence)), threads=threads, depth=step + threads)

        def some_of_all() -> torch.Tensor:
            return self._images([sequence.frame(t) for t in frames_seen(len(sequence))], input_size)

        with (
            torch.inference_mode(),
            autocast,
            to_video(self.backbone, some_of_all),
            closing(decoded) as frames,
        ):
            waiting: list[np.ndarray] = []
            while start < len(sequence):
                waiting += islice(frames, min(step, len(sequence) - start) - len(waiting))
                try:
                    image = self._images(waiting[:step], input_size)
                    some = self.compiled(image, step) if self.compiled else self.backbone(image)
                except torch.OutOfMemoryError:
                    if step == 1:
                        raise
                    step //= 2
                    warnings.warn(
                        f"out of memory on {device}: going on with {step} frames a batch", RuntimeWarning, 2
                    )
                    continue
                if maps is None:
                    maps = self._place(len(sequence), tuple(some.shape[1:]))
                maps[start : start + len(some)] = some.to(maps.device)
                start += len(some)
                del waiting[: len(some)]
        assert maps is not None, "a sequence has at least one frame"
        with torch.inference_mode():
            return over_video(self.backbone, maps)

    def _images(self, frames: list[np.ndarray], input_size: tuple[int, int]) -> torch.Tensor:
        """The network's input, (B, 3, H, W) on the device, of frames (h, w, 3)."""
        from corrbench.backbones.colour import to_input

        images = to_input(np.stack(frames), self.colour, device=self.numerics.device, size=input_size)
        return images.contiguous(memory_format=torch.channels_last)

    def _place(self, frames: int, shape: tuple[int, ...]) -> torch.Tensor:
        """Where feature maps (T, C, h, w) are kept: on the device, unless that would take half of the memory allowed.

        Maps of a GPU run then lie in the CPU's memory, and the GPU path streams them. Of the CPU's memory no part is given
        back that way, so a run there keeps them in a file without a name, which the system reads as it is used.
        """
        device = torch.device(self.numerics.device)
        if self.memory is None or 4 * frames * math.prod(shape) <= self.memory // 2:
            return torch.empty(frames, *shape, device=device)
        if device.type != "cpu":
            return torch.empty(frames, *shape)
        with tempfile.TemporaryFile() as file:
            file.truncate(4 * frames * math.prod(shape))
            mapped = np.memmap(file, np.float32, "r+", shape=(frames, *shape))
        return torch.from_numpy(mapped)

    def input_size(self, sequence: Sequence, protocol: Protocol) -> tuple[int, int]:
        """The protocol's input size, with both sides a multiple of what the backbone needs (a ViT's patch)."""
        assert self.backbone is not None, "prepare() comes first"
        return protocol.input_size(sequence.size, multiple=getattr(self.backbone, "multiple", 1))

    def predict(self, sequence: Sequence, task: Any, protocol: Protocol, clock: Clock) -> np.ndarray:
        """The task's prediction for every frame of `sequence`."""
        assert self.backbone is not None, "prepare() comes first"
        size, key = self.input_size(sequence, protocol), {}
        clock.shared = self.store is not None
        with clock("features"):
            if self.store is not None:
                self.weights_digest = self.weights_digest or weights_digest(self.backbone)
                key = features_key(
                    sequence,
                    size,
                    self.backbone,
                    self.weights_digest,
                    self.backbone_config,
                    self.colour,
                    self.numerics,
                )
            maps = self._kept(key, lambda: (self.features(sequence, size),))[0]
        with torch.inference_mode():
            first = task.encode(sequence, protocol, size, tuple(maps.shape[-2:])).to(self.numerics.device)
            soft = self._carry(maps, first, protocol, key, clock)
            del maps
            with clock("decode"):
                return task.decode(soft, sequence, protocol, size)

    def _carry(
        self, maps: torch.Tensor, first: torch.Tensor, protocol: Protocol, key: dict[str, Any], clock: Clock
    ) -> torch.Tensor:
        """`carry`, with its neighbours from the store; maps that the store has stay unread where they are found."""
        path, device, search = self.numerics.path, self.numerics.device, search_of(protocol)
        if self.store is None or search is None or protocol.topk is None:
            return carry(
                maps,
                first,
                protocol,
                path=path,
                clock=clock,
                device=device,
                memory=self._left(maps),
                found=clock.searched,
            )
        window, context, normalise = search
        k = max(protocol.topk, self.most_neighbours.get(search, 0))

        def find() -> tuple[torch.Tensor, ...]:
            found = neighbours(
                maps,
                window,
                context,
                k,
                normalise=normalise,
                method=path,
                device=device,
                memory=self._left(maps),
            )
            clock.searched(found)
            return found.index, found.similarity

        with clock("neighbours"):
            index, similarity = self._kept(neighbours_key(key, search, k, path), find)
        with clock("propagate"):
            grid = (int(maps.shape[-2]), int(maps.shape[-1]))
            best = Neighbours(index.to(device), similarity.to(device), grid, context)
            return propagate(best, first, protocol.temperature, protocol.topk, stored=protocol.stored)

    def _left(self, maps: torch.Tensor) -> int | None:
        """Bytes that the neighbour search may take beside the feature maps; None without a limit."""
        on_device = maps.device.type == torch.device(self.numerics.device).type
        return None if self.memory is None else self.memory - on_device * 4 * maps.numel()

    def _kept(
        self, key: dict[str, Any], make: Callable[[], tuple[torch.Tensor, ...]]
    ) -> tuple[torch.Tensor, ...]:
        return make() if self.store is None else self.store.get(key, make)

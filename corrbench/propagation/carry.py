"""From features and a first-frame label to soft labels of every frame: the one entry point of propagation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module

import torch
from torch import Tensor

from corrbench.propagation import cpu, reference
from corrbench.propagation.every_key import carry_every_key
from corrbench.propagation.types import Context, Neighbours, Window
from corrbench.protocol import Protocol

METHODS = ("auto", "native", "tiled", "gpu", "reference")
Clock = Callable[[str], AbstractContextManager[None]]


def choose_method(device: str | torch.device, method: str = "auto") -> str:
    """The implementation of the neighbour search that runs: `auto` is `gpu` on a CUDA device and `native` on the CPU, each
    where it can run on this machine, else `tiled`. ValueError for a name that is unknown or cannot run here."""
    if method not in METHODS:
        raise ValueError(f"no propagation method {method!r}: expected one of {', '.join(METHODS)}")
    kind = torch.device(device).type
    fastest = "gpu" if kind == "cuda" else "native"
    if method == "auto":
        return fastest if _available(fastest) else "tiled"
    if method in ("gpu", "native"):
        if method != fastest:
            raise ValueError(
                f"propagation method {method!r} does not run on features of device {kind!r}: use 'auto'"
            )
        if not _available(method):
            raise ValueError(
                f"propagation method {method!r} cannot run on this machine: use 'auto' or 'tiled'"
            )
    return method


def neighbours(
    features_TChw: Tensor,
    window: Window,
    context: Context,
    k: int,
    *,
    normalise: bool = True,
    method: str = "auto",
    threads: int | None = None,
    tile: tuple[int, int] | None = None,
    device: str | torch.device | None = None,
    memory: int | None = None,
) -> Neighbours:
    """The k best keys of every query of frames 1..T-1, see `Neighbours`; every method finds the same ones.

    Similarities are float32 sums whose order of addition differs between methods, tile sizes and numbers of threads, by
    about 1e-7 for unit vectors: keys nearer to each other than that may change places. Copies of a frame tie exactly.
    `threads` (CPU) and `tile`, the (rows, columns) of queries that share one matrix product, change the time only, and so
    do `device` and `memory` of the GPU path: features that lie in the CPU's memory are then streamed to that device, and
    what is held there beside the given features stays below `memory` bytes.
    """
    chosen = choose_method(device or features_TChw.device, method)
    if chosen == "reference":
        return reference.neighbours(features_TChw, window, context, k, normalise=normalise)
    if chosen == "native":
        native = import_module("corrbench.propagation.native")
        return native.neighbours(features_TChw, window, context, k, normalise=normalise, threads=threads)
    if chosen == "gpu":
        gpu = import_module("corrbench.propagation.gpu")
        return gpu.neighbours(
            features_TChw, window, context, k, normalise=normalise, budget=memory, device=device
        )
    features_TChw = features_TChw.to(device) if device is not None else features_TChw
    return cpu.neighbours(features_TChw, window, context, k, normalise=normalise, threads=threads, tile=tile)


def propagate(
    found: Neighbours,
    first_label_Chw: Tensor,
    temperature: float,
    topk: int | None = None,
    *,
    stored: str = "soft",
) -> Tensor:
    """Soft labels (T, classes, h, w) of all frames, frame 0 first: softmax(similarity / temperature) over the best `topk`
    neighbours (all found ones if None) weighs the labels of the context, frame after frame.

    `stored` says what a predicted label becomes as context, see `reference.store`; what is returned is the soft label.
    """
    h, w = found.grid
    if first_label_Chw.ndim != 3 or tuple(first_label_Chw.shape[1:]) != (h, w):
        raise ValueError(f"first label of shape {tuple(first_label_Chw.shape)}: expected (classes, {h}, {w})")
    if not temperature > 0:
        raise ValueError(f"temperature={temperature!r}: expected a number above 0")
    if topk is not None and not 1 <= topk <= found.k:
        raise ValueError(f"topk={topk!r}: expected 1 to {found.k}, the number of neighbours that were found")
    kept = slice(None, topk)
    cells, classes = h * w, first_label_Chw.shape[0]
    frames = found.index.shape[0] + 1
    first = first_label_Chw.to(found.similarity.device, torch.float32)
    labels = first.new_empty(frames, cells, classes)
    labels[0] = first.flatten(1).T
    memory = labels if stored == "soft" else labels.clone()
    for t in range(1, frames):
        weight = reference.softmax(found.similarity[t - 1, :, kept] / temperature)
        place = found.index[t - 1, :, kept].clamp_min(0).long()  # missing keys weigh 0
        slots = torch.tensor(found.context.of(t), device=place.device)
        key = slots[place // cells] * cells + place % cells
        near = memory.view(-1, classes)[key.view(-1)].view(*key.shape, classes)
        labels[t] = reference.weigh(weight, near)
        if stored != "soft":
            memory[t] = reference.store(labels[t].T.reshape(classes, h, w), stored).flatten(1).T
    return labels.transpose(1, 2).reshape(frames, classes, h, w)


def carry(
    features_TChw: Tensor,
    first_label_Chw: Tensor,
    protocol: Protocol,
    *,
    path: str = "auto",
    threads: int | None = None,
    clock: Clock | None = None,
    device: str | torch.device | None = None,
    memory: int | None = None,
    found: Callable[[Neighbours], None] | None = None,
) -> Tensor:
    """Soft labels (T, classes, h, w) of all frames, frame 0 first, under any protocol.

    Features are (T, C, h, w) as the backbone gives them, the label (classes, h, w) on the same grid. `path` is a method
    of `choose_method`; protocols without top-k, or with one a context frame, know `reference` and the tiled form
    alone. `clock("neighbours")` and `clock("propagate")` are entered around the two stages, `found` is given the neighbours
    of protocols that have them. `device`, `memory`: see `neighbours`.
    """
    timed = clock or (lambda stage: nullcontext())
    if first_label_Chw.ndim != 3 or first_label_Chw.shape[1:] != features_TChw.shape[2:]:
        raise ValueError(
            f"first label of shape {tuple(first_label_Chw.shape)}: expected (classes, h, w) with the grid of the "
            f"features, which are {tuple(features_TChw.shape)}"
        )
    chosen = choose_method(device or features_TChw.device, path)
    if chosen != "gpu" and device is not None:
        features_TChw = features_TChw.to(device)
    if chosen == "reference":
        with timed("propagate"):
            return reference.carry(features_TChw, first_label_Chw, protocol)
    window = Window(protocol.mask, protocol.radius, protocol.strict, protocol.first_masked)
    context = Context(protocol.context, protocol.early)
    if protocol.topk is None or protocol.topk_scope == "frame":
        with timed("propagate"):
            features_TChw = features_TChw.to(device) if device is not None else features_TChw
            return carry_every_key(features_TChw, first_label_Chw, protocol, threads=threads)
    with timed("neighbours"):
        best = neighbours(
            features_TChw, window, context, protocol.topk, normalise=protocol.normalise, method=chosen,
            threads=threads, device=device, memory=memory,
        )  # fmt: skip
    if found is not None:
        found(best)
    with timed("propagate"):
        return propagate(best, first_label_Chw, protocol.temperature, stored=protocol.stored)


def _available(method: str) -> bool:
    """Whether an optional implementation can run on this machine."""
    try:
        return bool(import_module(f"corrbench.propagation.{method}").available())
    except ImportError:
        return False

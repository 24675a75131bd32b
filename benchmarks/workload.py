"""What the propagation benchmarks time: one DAVIS frame at stride 8, by every form that runs here."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import released
import torch
from torch import Tensor

from corrbench.propagation import Context, Window, cpu, neighbours, propagate, reference
from corrbench.propagation.types import Neighbours, as_vectors

GRID, CHANNELS, CONTEXT, RADIUS, K, TEMPERATURE, CLASSES = (60, 107), 256, 20, 12, 10, 0.07, 4
CLIP = 24  # frames of the clip that whole-clip forms are timed on


@dataclass(frozen=True)
class Workload:
    """A clip's features and a first label; the frame that is timed is the last, with 1 + CONTEXT distinct context frames."""

    features: Tensor
    label: Tensor
    window: Window
    context: Context
    k: int

    @property
    def target(self) -> int:
        return len(self.features) - 1

    @property
    def frames(self) -> float:
        """How many frames with a full context the whole clip amounts to, by pairs of target and context frame."""
        pairs = sum(len(set(self.context.of(t))) for t in range(1, len(self.features)))
        return pairs / (1 + self.context.frames)


def workload(features: Tensor | None = None, frames: int = CONTEXT + 2) -> Workload:
    """Random features of the standard size, or those given."""
    generator = torch.Generator().manual_seed(0)
    if features is None:
        features = torch.empty(frames, CHANNELS, *GRID)
        for t in range(frames):
            features[t] = torch.randn(CHANNELS, *GRID, generator=generator)
    ids = torch.randint(0, CLASSES, features.shape[2:], generator=generator)
    label = (ids == torch.arange(CLASSES)[:, None, None]).float()
    return Workload(features, label, Window("square", RADIUS), Context(CONTEXT, "unique"), K)


def by_released(work: Workload, most: int | None = None) -> Callable[[], Tensor]:
    """The dense form of released code on the last frame; context labels are the first one's, moved."""
    h, w = work.features.shape[2:]
    mask = released.square_mask(h, w, RADIUS)
    slots = work.context.of(work.target)
    keys = work.features[list(slots)].transpose(0, 1).contiguous()
    labels = _context_labels(work).transpose(0, 1)
    return lambda: released.propagate_frame(
        work.features[work.target], keys, labels, mask, temperature=TEMPERATURE, topk=work.k, most=most
    )


def by_tiles(work: Workload) -> Callable[[], Tensor]:
    """The tiled search on the last frame alone, all 21 context frames packed anew, and the labels."""
    h, w = work.features.shape[2:]
    labels = label_rows(work)

    def run() -> Tensor:
        vectors = as_vectors(work.features, True).unflatten(1, (h, w))
        targets = range(work.target, work.target + 1)
        index, similarity = cpu.search(vectors, targets, work.window, work.context, work.k)
        weight = reference.softmax(similarity[0] / TEMPERATURE)
        return reference.weigh(weight, labels[index[0].long()]).T

    return run


def by_clip(work: Workload, method: str) -> Callable[[], Neighbours]:
    """A method on the whole clip, labels included; divide by `work.frames`."""

    def run() -> Neighbours:
        found = neighbours(work.features, work.window, work.context, work.k, method=method)
        propagate(found, work.label, TEMPERATURE)
        return found

    return run


def peak_memory(run: Callable[[], object]) -> float:
    """MiB by which one run raises this process's resident memory at its highest point (Linux only)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(
        0
    )  # what earlier work freed goes back, or it would hide what this run needs
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is resident
    before = _status("VmRSS")
    run()
    return (_status("VmHWM") - before) / 1024


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def features_of(method: str, folder: Path, frames: int) -> Tensor:
    """Features of the first frames of a folder of images, by a method file (`methods/mobilenetv2.py`)."""
    import numpy as np
    from PIL import Image

    from corrbench import config, run_weights, zoo
    from corrbench.backbones.colour import to_input
    from corrbench.protocol import preset
    from corrbench.registry import BACKBONES, build

    chosen = config.load(method, "method").data["method"]
    weights = run_weights.settle({}, chosen.get("checkpoint"), None, 0, {})
    backbone = build(BACKBONES, weights.network(chosen["backbone"])).eval()
    if weights.name is not None:
        zoo.load(weights.name, backbone)
    paths = sorted(folder.glob("*.jpg"))[:frames]
    if len(paths) < frames:
        raise ValueError(f"{folder}: {len(paths)} .jpg frames, {frames} are needed")
    images = [np.array(Image.open(path).convert("RGB")) for path in paths]
    size = preset("stt").input_size(images[0].shape[:2], multiple=getattr(backbone, "multiple", 1))
    with torch.inference_mode():
        maps = [backbone(to_input(image[None], chosen["colour"], size=size)).float() for image in images]
    return torch.cat(maps)


def label_rows(work: Workload) -> Tensor:
    """The context's labels as rows (slots * h * w, classes), as `Neighbours` counts keys."""
    return _context_labels(work).flatten(2).transpose(1, 2).flatten(0, 1)


def _context_labels(work: Workload) -> Tensor:
    """Made-up labels of the context frames, (slots, classes, h, w): their content does not change the time."""
    return torch.stack([work.label.roll(i, dims=2) for i in range(1 + CONTEXT)])

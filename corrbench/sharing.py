"""What feature maps and neighbours depend on: the keys under which runs share them.

A key holds content, never names: the weights as loaded, the bytes of the frames, the source of the code that turns the
one into the other, and the versions and processor that round it. So nothing stale is found, whatever was changed.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from corrbench import config, provenance
from corrbench.datasets.digests import combined, file_digests
from corrbench.datasets.sequence import Sequence
from corrbench.propagation import Context, Window, compiled
from corrbench.protocol import Protocol
from corrbench.provenance import Numerics
from corrbench.registry import BACKBONES

HERE = Path(__file__).parent
MAKING = (
    HERE / "backbones",
    HERE / "compiling.py",
    HERE / "datasets" / "images.py",
    HERE / "datasets" / "sequence.py",
    HERE / "methods.py",
)
SEARCHING = (HERE / "propagation",)
Search = tuple[Window, Context, bool]


def search_of(protocol: Protocol) -> Search | None:
    """The neighbour search that a protocol asks for, equal for protocols that may share one; None where it has none.

    Top-k (the best of all context frames together), temperature, what is stored and the label codecs come after it.
    """
    if protocol.topk is None or protocol.topk_scope != "joint":
        return None
    masked = protocol.mask != "none"  # without a mask there is nothing for the others to say
    window = (
        Window(protocol.mask, protocol.radius, protocol.strict, protocol.first_masked)
        if masked
        else Window("none", 0)
    )
    return window, Context(protocol.context, protocol.early), protocol.normalise


def most_neighbours(protocols: Iterable[Protocol]) -> dict[Search, int]:
    """The largest top-k that any of the protocols asks of each search."""
    most: dict[Search, int] = {}
    for protocol in protocols:
        search = search_of(protocol)
        if search is not None and protocol.topk is not None:
            most[search] = max(most.get(search, 0), protocol.topk)
    return most


def features_key(
    sequence: Sequence,
    size: tuple[int, int],
    backbone: torch.nn.Module,
    weights: str,
    settings: Mapping[str, Any],
    colour: str,
    numerics: Numerics,
) -> dict[str, Any]:
    """Everything that the feature maps of a sequence depend on, at an input size (H, W); `weights` is a `weights_digest`."""
    return {
        "backbone": config.resolve(BACKBONES, settings),
        "weights": weights,
        "colour": colour,
        "size": list(size),
        "frames": frames_digest(sequence),
        "numerics": numerics.as_dict() | {"path": None},
        "code": code_digest((*MAKING, *_own_source(backbone))),
        "versions": _versions(),
        "machine": _machine(numerics.device),
    }


def neighbours_key(features: Mapping[str, Any], search: Search, k: int, path: str) -> dict[str, Any]:
    """Everything that the `k` best neighbours under a search depend on."""
    window, context, normalise = search
    return {
        "features": features,
        "window": asdict(window),
        "context": asdict(context),
        "normalise": normalise,
        "k": k,
        "path": path,
        "target": compiled.target() if path == "native" else None,
        "code": code_digest(SEARCHING),
    }


def frames_digest(sequence: Sequence) -> str:
    """sha256 over the frames' content: the bytes of their files, or the decoded pixels and their shape."""
    if isinstance(sequence.frames, tuple):
        return combined([f"{sequence.size}", *file_digests(sequence.frames)])
    pixels = sequence.frames
    return hashlib.sha256(f"{pixels.shape}{pixels.dtype}".encode() + pixels.tobytes()).hexdigest()


def weights_digest(backbone: torch.nn.Module) -> str:
    """sha256 over every parameter and buffer as loaded; the same for equal weights from another file."""
    content = hashlib.sha256()
    for name, tensor in sorted(backbone.state_dict().items()):
        content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        content.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return content.hexdigest()


@functools.cache
def code_digest(places: tuple[Path, ...]) -> str:
    """sha256 over the source files at or below `places`, as they are when first asked for."""
    files = [f for p in places for f in (sorted(p.rglob("*")) if p.is_dir() else [p])]
    sources = [f for f in files if f.suffix in (".py", ".cpp", ".h")]
    return combined([f"{f.name} {digest}" for f, digest in zip(sources, file_digests(sources), strict=True)])


def _own_source(backbone: torch.nn.Module) -> tuple[Path, ...]:
    """The file of a backbone that comes from elsewhere (what that file imports is not looked at)."""
    try:
        path = Path(inspect.getfile(type(backbone)))
    except (OSError, TypeError):
        return ()
    return () if HERE in path.parents else (path,)


@functools.cache
def _versions() -> dict[str, str]:
    return provenance.versions()


def _machine(device: str) -> dict[str, Any]:
    """What decides the rounding besides versions: another processor takes other instructions, in another order."""
    kind = torch.device(device).type
    if kind == "cuda":
        return {"gpu": torch.cuda.get_device_name(device)}
    return {"cpu": provenance.machine()["cpu"], "instructions": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads()}  # fmt: skip

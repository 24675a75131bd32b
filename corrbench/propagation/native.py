"""Exact neighbours on the CPU by compiled code (`native.cpp`): the fp32 window search, or its pruned form.

Both give the same bits, whatever the threads. Scope: joint top-k, every window and context.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass

import torch
from torch import Tensor

from corrbench.propagation import compiled
from corrbench.propagation.types import Context, Neighbours, Window, as_vectors, check_count

FACTS = 7  # of a cell, see native.cpp
KEYS = 32  # of a tile
CHUNK = 32  # channels the rotation sums at a time
ROUNDING = 2.0**-24  # relative, of one fp32 operation

_INT, _POINTER, _FLOAT = ctypes.c_int32, ctypes.c_void_p, ctypes.c_float


class _Frame(ctypes.Structure):
    _fields_ = (
        *((n, _POINTER) for n in ("vectors", "pairs", "facts")),
        ("residual", _FLOAT),
        ("norm", _FLOAT),
    )


class _Search(ctypes.Structure):
    _fields_ = (
        *((n, _INT) for n in ("h", "w", "wide", "channels", "stride", "pairs", "k", "capacity")),
        *((n, _INT) for n in ("frames", "reaches", "widest", "whole_first", "pruned", "threads")),
        *((n, _POINTER) for n in ("reach", "first_slot", "slots", "context")),
        ("target", _Frame),
        ("slack", _FLOAT),
        *((n, _POINTER) for n in ("index", "similarity")),
        ("redone", ctypes.c_int64),
    )


class _Rotation(ctypes.Structure):
    _fields_ = (
        *((n, _INT) for n in ("h", "w", "wide", "channels", "stride", "pairs", "threads")),
        *((n, _POINTER) for n in ("vectors", "basis", "out_pairs", "facts")),
        ("error", _FLOAT),
    )


@dataclass(frozen=True)
class Counts:
    """What a search did: queries in all, and those that the pruned form handed to the fp32 form."""

    queries: int
    redone: int


@dataclass(frozen=True)
class _Held:
    """A frame as the library sees it; the tensors keep its memory alive."""

    frame: _Frame
    tensors: tuple[Tensor, ...]


def available() -> bool:
    """Whether the library is there or could be built; the first call may compile for a few seconds."""
    name = compiled.target()
    return name != "off" and compiled.library(name) is not None


def neighbours(
    features_TChw: Tensor,
    window: Window,
    context: Context,
    k: int,
    *,
    normalise: bool = True,
    threads: int | None = None,
) -> Neighbours:
    """The k best keys of every query of frames 1..T-1, see `Neighbours`; features float32 on the CPU."""
    return search(features_TChw, window, context, k, normalise=normalise, threads=threads)[0]


def search(
    features_TChw: Tensor,
    window: Window,
    context: Context,
    k: int,
    *,
    normalise: bool = True,
    threads: int | None = None,
    pruned: bool | None = None,
) -> tuple[Neighbours, Counts]:
    """`neighbours` with the form given (None: pruned where it pays), and counts of the work."""
    check_count(k)
    library = compiled.library(compiled.target())
    if library is None:
        raise RuntimeError("the native path is not available here (no C++ compiler): use method='tiled'")
    total, channels, h, w = features_TChw.shape
    threads = threads or torch.get_num_threads()
    pruned = channels >= 64 if pruned is None else pruned
    index = torch.empty(total - 1, h * w, k, dtype=torch.int32)
    similarity = torch.empty(total - 1, h * w, k)
    pack = _Packing(library, features_TChw, normalise, pruned, threads)
    last_use = {f: t for t in range(total) for f in ((t, *context.of(t)) if t else (0,))}
    held: dict[int, _Held] = {}
    redone = 0
    for t in range(1, total):
        slots = context.of(t)
        for f in {t, *slots} - held.keys():
            held[f] = pack(f)
        redone += _search_frame(library, pack, held, t, slots, window, index[t - 1], similarity[t - 1])
        held = {f: frame for f, frame in held.items() if last_use[f] > t}
    return Neighbours(index, similarity, (h, w), context), Counts((total - 1) * h * w, redone)


class _Packing:
    """How frames of one sequence are laid out for the library."""

    def __init__(
        self, library: ctypes.CDLL, features: Tensor, normalise: bool, pruned: bool, threads: int
    ) -> None:
        self.library, self.features, self.normalise, self.pruned = library, features, normalise, pruned
        self.threads = threads
        _, self.channels, self.h, self.w = features.shape
        self.stride = -(-self.channels // 16) * 16
        self.wide = -(-self.w // 16) * 16 + KEYS
        self.pairs = max(1, self.channels // 2)  # of all coordinates but the first
        self.rotation_error = self.channels**0.5 * (CHUNK + self.channels // CHUNK + 2) * 1.01 * ROUNDING
        if pruned:
            self.basis, defect = _principal_directions(self._vectors(0)[:, : self.channels])
            self.slack = (self.channels + 2) * 1.01 * ROUNDING + defect + 2e-6

    def __call__(self, f: int) -> _Held:
        vectors = self._vectors(f)
        frame = _Frame(vectors=vectors.data_ptr())
        if not self.pruned:
            return _Held(frame, (vectors,))
        pairs = torch.zeros(self.h, self.pairs, self.wide, dtype=torch.int32)
        facts = torch.zeros(self.h, FACTS, self.wide)
        rotation = _Rotation(
            self.h, self.w, self.wide, self.channels, self.stride, self.pairs, self.threads,
            vectors.data_ptr(), self.basis.data_ptr(), pairs.data_ptr(), facts.data_ptr(), self.rotation_error,
        )  # fmt: skip
        if not self.library.corrbench_rotate(ctypes.byref(rotation)):
            raise MemoryError
        frame.pairs, frame.facts = pairs.data_ptr(), facts.data_ptr()
        frame.residual, frame.norm = float(facts[:, FACTS - 2].max()), float(facts[:, FACTS - 1].max())
        return _Held(frame, (vectors, pairs, facts))

    def _vectors(self, f: int) -> Tensor:
        vectors = as_vectors(self.features[f : f + 1], self.normalise)[0]
        return torch.nn.functional.pad(vectors, (0, self.stride - self.channels)).contiguous()


def _principal_directions(vectors: Tensor) -> tuple[Tensor, float]:
    """Orthonormal directions of falling second moment, as tiles (groups, channels, 32), and their distance from that."""
    exact = vectors.double()
    directions = torch.linalg.eigh(exact.T @ exact).eigenvectors.flip(1).float()  # a column each
    channels = directions.shape[0]
    wide = directions.double()
    defect = float(torch.linalg.matrix_norm(wide @ wide.T - torch.eye(channels, dtype=torch.float64)))
    padded = torch.nn.functional.pad(directions, (0, -channels % KEYS))
    return padded.reshape(channels, -1, KEYS).permute(1, 0, 2).contiguous(), defect


def _search_frame(
    library: ctypes.CDLL,
    pack: _Packing,
    held: dict[int, _Held],
    t: int,
    slots: tuple[int, ...],
    window: Window,
    index: Tensor,
    similarity: Tensor,
) -> int:
    """Fill in the neighbours of target frame t; how many of its queries were redone."""
    distinct = tuple(dict.fromkeys(slots))  # in the order of their first slots
    by_frame = [[slot for slot, f in enumerate(slots) if f == g] for g in distinct]
    starts = [0]
    for group in by_frame:
        starts.append(starts[-1] + len(group))
    k = index.shape[1]
    reach = () if window.mask == "none" else window.half_widths()
    job = _Search(
        pack.h, pack.w, pack.wide, pack.channels, pack.stride, pack.pairs, k, 2 * k + 44 if pack.pruned else k,
        len(distinct), len(reach), max(reach, default=0), int(window.sees_all(0)), int(pack.pruned), pack.threads,
    )  # fmt: skip
    arrays = [(_INT * len(v))(*v) for v in (reach, starts, [slot for group in by_frame for slot in group])]
    frames = (_Frame * len(distinct))(*(held[f].frame for f in distinct))
    job.reach, job.first_slot, job.slots = (ctypes.addressof(array) for array in arrays)
    job.context, job.target = ctypes.addressof(frames), held[t].frame
    job.slack = pack.slack if pack.pruned else 0
    job.index, job.similarity = index.data_ptr(), similarity.data_ptr()
    if not library.corrbench_search(ctypes.byref(job)):
        raise MemoryError
    return int(job.redone)

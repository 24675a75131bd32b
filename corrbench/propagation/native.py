"""Exact neighbours on the CPU by compiled code (`native.cpp`): the fp32 window search, or its pruned form.

Both give the same bits, whatever the threads. Scope: joint top-k, every window and context. Frames are packed once, when
they first appear, and let go after their last use. Why C++ by a plain compiler call: docs/performance_native.md.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from corrbench.propagation import compiled
from corrbench.propagation.types import Context, Neighbours, Window, as_vectors, check_count

FACTS = 7  # of a cell, see native.cpp
QUERIES, KEYS = 8, 32  # of a tile
MOST_AT_ONCE = 8  # target frames a call: interrupts are seen between calls
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
        *((n, _INT) for n in ("frames", "reaches", "whole_first", "pruned")),
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
        ("rest_error", _FLOAT),
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
    return compiled.current() is not None


def neighbours(
    features_TChw: Tensor,
    window: Window,
    context: Context,
    k: int,
    *,
    normalise: bool = True,
    threads: int | None = None,
) -> Neighbours:
    """The k best keys of every query of frames 1..T-1, see `Neighbours`; features on the CPU, `threads` changes no bit."""
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
    """`neighbours` in the given form (None: pruned where it pays), and what it did.

    ValueError for features that are not on the CPU, have the wrong shape or hold NaN or infinity, k or threads below 1;
    RuntimeError where the library is not `available`.
    """
    check_count(k)
    if threads is not None and threads < 1:
        raise ValueError(f"threads={threads!r}: expected at least 1")
    if features_TChw.device.type != "cpu":
        raise ValueError(
            f"features on {features_TChw.device}: the native search runs on the CPU, move them there"
        )
    library = compiled.current()
    if library is None:
        raise RuntimeError(
            "the native search is not available (no C++ compiler, or switched off): use method='tiled'"
        )
    as_vectors(
        features_TChw[:1] if features_TChw.ndim == 4 else features_TChw, normalise
    )  # refuses wrong shapes
    total, channels, h, w = features_TChw.shape
    threads = threads or torch.get_num_threads()
    index = torch.empty(total - 1, h * w, k, dtype=torch.int32)
    similarity = torch.empty(total - 1, h * w, k)
    pack = _Packing(library, features_TChw, normalise, channels >= 64 if pruned is None else pruned, threads)
    last_use = {f: t for t in range(1, total) for f in (t, *context.of(t))}
    held: dict[int, _Held] = {}
    redone = 0
    at_once = min(threads, MOST_AT_ONCE)
    for start in range(1, total, at_once):
        targets = range(start, min(start + at_once, total))
        for f in sorted({f for t in targets for f in (t, *context.of(t))} - held.keys()):
            held[f] = pack(f)
        jobs = [_Job(pack, held, t, context.of(t), window, index[t - 1], similarity[t - 1]) for t in targets]
        redone += _run(library, jobs, threads)
        held = {f: frame for f, frame in held.items() if last_use[f] > targets[-1]}
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
        self.wide = (
            -(-self.w // 32) * 32 + 2 * KEYS + 16
        )  # tiles reach beyond the border; an odd number of cache lines
        self.pairs = max(1, self.channels // 2)  # of all coordinates but the first
        if pruned:
            self.basis, defect = _principal_directions(self._vectors(0)[:, : self.channels])
            chain = (CHUNK + self.channels // CHUNK + 2) * 1.01 * ROUNDING  # of one coordinate
            self.error, self.rest_error = chain + 2 * defect + 8 * ROUNDING, self.channels**0.5 * chain
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
            vectors.data_ptr(), self.basis.data_ptr(), pairs.data_ptr(), facts.data_ptr(), self.error, self.rest_error,
        )  # fmt: skip
        if not self.library.corrbench_rotate(ctypes.byref(rotation)):
            raise MemoryError("the neighbour search ran out of memory")
        frame.pairs, frame.facts = pairs.data_ptr(), facts.data_ptr()
        frame.residual, frame.norm = float(facts[:, FACTS - 2].max()), float(facts[:, FACTS - 1].max())
        return _Held(frame, (vectors, pairs, facts))

    def _vectors(self, f: int) -> Tensor:
        vectors = as_vectors(self.features[f : f + 1], self.normalise, start=f)[0]
        return torch.nn.functional.pad(vectors, (0, self.stride - self.channels)).contiguous()


def _principal_directions(vectors: Tensor) -> tuple[Tensor, float]:
    """Orthonormal directions of falling second moment, as tiles (groups, channels, 8), and their distance from that."""
    exact = vectors.double()
    directions = torch.linalg.eigh(exact.T @ exact).eigenvectors.flip(1).float()  # a column each
    channels = directions.shape[0]
    wide = directions.double()
    defect = float(torch.linalg.matrix_norm(wide @ wide.T - torch.eye(channels, dtype=torch.float64)))
    padded = torch.nn.functional.pad(directions, (0, -channels % QUERIES))
    return padded.reshape(channels, -1, QUERIES).permute(1, 0, 2).contiguous(), defect


class _Job:
    """The search of one target frame, with all that its structure points to."""

    def __init__(
        self,
        pack: _Packing,
        held: dict[int, _Held],
        t: int,
        slots: tuple[int, ...],
        window: Window,
        index: Tensor,
        similarity: Tensor,
    ) -> None:
        distinct = tuple(dict.fromkeys(slots))  # in the order of their first slots
        by_frame = [[slot for slot, f in enumerate(slots) if f == g] for g in distinct]
        starts = [sum(map(len, by_frame[:n])) for n in range(len(by_frame) + 1)]
        reach = () if window.mask == "none" else window.half_widths()
        k = index.shape[1]
        self.arrays = [
            (_INT * len(v))(*v) for v in (reach, starts, [slot for group in by_frame for slot in group])
        ]
        self.frames = (_Frame * len(distinct))(*(held[f].frame for f in distinct))
        self.held = [held[f] for f in (t, *distinct)]
        self.search = _Search(
            pack.h, pack.w, pack.wide, pack.channels, pack.stride, pack.pairs, k, max(512, 4 * k) if pack.pruned else k,
            len(distinct), len(reach), int(window.sees_all(0)), int(pack.pruned),
            *(ctypes.addressof(a) for a in self.arrays), ctypes.addressof(self.frames),
            held[t].frame, pack.slack if pack.pruned else 0.0, index.data_ptr(), similarity.data_ptr(),
        )  # fmt: skip


def _run(library: ctypes.CDLL, jobs: list[_Job], threads: int) -> int:
    """Search some target frames; how many queries were redone."""
    searches = (_Search * len(jobs))(*(job.search for job in jobs))
    if not library.corrbench_search(searches, len(jobs), threads):
        raise MemoryError("the neighbour search ran out of memory")
    return sum(search.redone for search in searches)

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
from corrbench.propagation.types import (
    Context,
    Neighbours,
    Window,
    as_vectors,
    check_count,
    frame_vectors,
    not_finite,
)

FACTS = 7  # words of a record that are no coordinates: see native_record.h
LEADS = (9, 17, 25)  # coordinates of it in fp32: as many more as hold a good part of what is left
WORTH = 0.25  # of the rest's energy
GROUP = 8  # directions at a time
PRUNED_FROM = 64, 2000, 350_000  # channels, keys of a query, their product: with less of any, fp32 is faster
MOST_AT_ONCE = 8  # target frames a call: interrupts are seen between calls
CHUNK = 32  # channels the rotation sums at a time
ROUNDING = 2.0**-24  # relative, of one fp32 operation

_INT, _POINTER, _FLOAT = ctypes.c_int32, ctypes.c_void_p, ctypes.c_float


class _Frame(ctypes.Structure):
    _fields_ = (
        ("vectors", _POINTER),
        ("records", _POINTER),
    )


class _Search(ctypes.Structure):
    _fields_ = (
        *((n, _INT) for n in ("h", "w", "channels", "stride", "words", "codes", "end", "k", "capacity")),
        *((n, _INT) for n in ("frames", "reaches", "whole_first", "pruned")),
        *((n, _POINTER) for n in ("reach", "first_slot", "slots", "context")),
        ("target", _Frame),
        ("slack", _FLOAT),
        *((n, _POINTER) for n in ("index", "similarity")),
        ("redone", ctypes.c_int64),
    )


class _Rotation(ctypes.Structure):
    _fields_ = (
        *((n, _INT) for n in ("cells", "channels", "stride", "words", "codes", "threads")),
        *((n, _POINTER) for n in ("vectors", "basis", "records")),
    )


@dataclass(frozen=True)
class Counts:
    """What a search did: queries in all, and those that the pruned form handed to the fp32 form."""

    queries: int
    redone: int


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
    at_once = min(max(1, threads // 2), MOST_AT_ONCE)
    batches = [range(start, min(start + at_once, total)) for start in range(1, total, at_once)]
    needed = [{f for t in batch for f in (t, *context.of(t))} for batch in batches]
    if pruned is None:
        pruned = pays(
            channels, (h, w), window, max((len(set(context.of(t))) for t in range(1, total)), default=0)
        )
    packed = Packed(library, features_TChw, normalise, pruned, threads, max(map(len, needed), default=0))
    redone = 0
    for batch, frames in zip(batches, needed, strict=True):
        packed.hold(frames)
        jobs = [Job(packed, t, context.of(t), window, index[t - 1], similarity[t - 1]) for t in batch]
        redone += run(library, jobs, threads)
    return Neighbours(index, similarity, (h, w), context, redone), Counts((total - 1) * h * w, redone)


def pays(channels: int, grid: tuple[int, int], window: Window, frames: int) -> bool:
    """Whether the pruned form is the faster one for a target with so many distinct context frames."""
    cells = grid[0] * grid[1]
    keys = frames * (cells if window.mask == "none" else min(cells, len(window.offsets())))
    return all(n >= least for n, least in zip((channels, keys, channels * keys), PRUNED_FROM, strict=True))


class Packed:
    """The frames of a sequence that a search needs at a time, laid out for the library.

    All in one block of memory: blocks that come and go with each frame leave holes as large as themselves.
    """

    def __init__(
        self, library: ctypes.CDLL, features: Tensor, normalise: bool, pruned: bool, threads: int, most: int
    ) -> None:
        self.library, self.features, self.normalise, self.pruned = library, features, normalise, pruned
        self.threads = threads
        _, self.channels, self.h, self.w = features.shape
        self.stride = -(-self.channels // 16) * 16
        self.words = self.codes = self.end = 0
        self.frames: dict[int, _Frame] = {}
        self._place: dict[int, int] = {}
        self._free = list(range(most))
        self._vectors = torch.zeros(most, self.h * self.w, self.stride)
        if pruned and most:
            self._basis, defect, leads = _principal_directions(
                as_vectors(features[:1], normalise)[0], self.stride
            )
            self.codes = FACTS + leads
            self.end = self.codes + -(-max(0, self.channels - leads) // 4)
            self.words = -(-self.end // 16) * 16
            chain = (CHUNK + self.channels // CHUNK + 2) * ROUNDING  # of one coordinate of the rotation
            self.slack = 1.02 * (
                (self.channels + 2) * ROUNDING  # the fp32 similarity
                + defect
                + 2 * self.channels**0.5 * chain  # a coordinate each, of query and key
                + (160 + leads) * ROUNDING  # the leads' product and the bounds themselves
            )
            self._records = torch.empty(most, self.h * self.w, self.words, dtype=torch.int32)

    def hold(self, needed: set[int]) -> None:
        """Pack the frames of `needed` that are not here, in the places of those that are not needed."""
        for f in self.frames.keys() - needed:
            del self.frames[f]
            self._free.append(self._place.pop(f))
        for f in sorted(needed - self.frames.keys()):
            self._place[f] = self._free.pop()
            self.frames[f] = self.pack(f)

    def pack(self, f: int) -> _Frame:
        """Lay out frame f in its place."""
        n = self._place[f]
        vectors, finite = frame_vectors(self.features[f], self.normalise)
        if not finite:
            raise not_finite(f)
        self._vectors[n, :, : self.channels] = vectors
        frame = _Frame(vectors=self._vectors[n].data_ptr())
        if self.pruned:
            frame.records = self._records[n].data_ptr()
            rotation = _Rotation(
                self.h * self.w, self.channels, self.stride, self.words, self.codes, self.threads,
                frame.vectors, self._basis.data_ptr(), frame.records,
            )  # fmt: skip
            if not self.library.corrbench_records(ctypes.byref(rotation)):
                raise MemoryError("the neighbour search ran out of memory")
        return frame


def _principal_directions(vectors: Tensor, stride: int) -> tuple[Tensor, float, int]:
    """Orthonormal directions of falling second moment, a row each, zeros to the next GROUP; their distance from that;
    how many of LEADS."""
    exact = vectors.double()
    energies, columns = torch.linalg.eigh(exact.T @ exact)
    rest = [float(energies[: max(0, len(energies) - n)].clamp(min=0).sum()) for n in LEADS]  # ascending
    leads = LEADS[0]
    for more, before, after in zip(LEADS[1:], rest, rest[1:], strict=False):
        if before == 0 or before - after < WORTH * before:
            break
        leads = more
    directions = columns.flip(1).float()
    channels = len(directions)
    wide = directions.double()
    defect = float(torch.linalg.matrix_norm(wide @ wide.T - torch.eye(channels, dtype=torch.float64)))
    padded = torch.nn.functional.pad(directions.T, (0, stride - channels, 0, -channels % GROUP))
    return padded.contiguous(), defect, leads


class Job:
    """The search of one target frame, with all that its structure points to."""

    def __init__(
        self,
        packed: Packed,
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
        self._arrays = [
            (_INT * len(v))(*v) for v in (reach, starts, [slot for group in by_frame for slot in group])
        ]
        self._frames = (_Frame * len(distinct))(*(packed.frames[f] for f in distinct))
        self.search = _Search(
            packed.h, packed.w, packed.channels, packed.stride, packed.words, packed.codes, packed.end,
            k, max(512, 4 * k) if packed.pruned else k,
            len(distinct), len(reach), int(window.sees_all(0)), int(packed.pruned),
            *(ctypes.addressof(a) for a in self._arrays), ctypes.addressof(self._frames),
            packed.frames[t], packed.slack if packed.pruned else 0.0, index.data_ptr(), similarity.data_ptr(),
        )  # fmt: skip


def run(library: ctypes.CDLL, jobs: list[Job], threads: int) -> int:
    """Search some target frames; how many queries were redone."""
    searches = (_Search * len(jobs))(*(job.search for job in jobs))
    if not library.corrbench_search(searches, len(jobs), threads):
        raise MemoryError("the neighbour search ran out of memory")
    return sum(search.redone for search in searches)

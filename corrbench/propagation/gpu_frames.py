"""The frames of a clip that a GPU holds: float32 vectors, their fp16 rounding, and how large its error is.

A clip that is longer than the memory allows passes through: frame 0, the context and the target frames in flight are held.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from corrbench.propagation.types import frame_vectors, not_finite

TINY = 1e-30  # products of shorter lengths may underflow float32


class Frames:
    """Frames of `features` (T, C, h, w), on any device, as rows of buffers on `device`; at most `rows` at once."""

    def __init__(self, features_TChw: Tensor, normalise: bool, device: torch.device, rows: int) -> None:
        self.features, self.normalise, self.device = features_TChw, normalise, device
        frames, channels, h, w = features_TChw.shape
        cells = h * w
        self.vectors = torch.empty(rows, cells, channels, device=device)
        self.half = torch.empty(rows, cells, channels, dtype=torch.float16, device=device)
        self.residual = torch.empty(rows, cells, device=device)
        self.length = torch.empty(rows, cells, device=device)
        self.row: dict[int, int] = {}
        # The largest residual and length of the whole clip: what is certified does not depend on what is held.
        self.worst, self.longest = self._survey() if rows < frames else self._load_all()

    def hold(self, wanted: Collection[int]) -> None:
        """Load the frames `wanted` in place of those that are not; ValueError for features that are not finite."""
        if len(self.vectors) >= len(self.features):
            return
        self.row = {f: row for f, row in self.row.items() if f in wanted}
        free = [row for row in range(len(self.vectors)) if row not in self.row.values()]
        fresh = sorted(set(wanted) - self.row.keys())
        finite = [self._load(f, free[i]) for i, f in enumerate(fresh)]
        self.row |= {f: free[i] for i, f in enumerate(fresh)}
        _check(fresh, finite)

    def scale(self) -> Tensor | None:
        """Lengths of the vectors against the longest of the clip; None where all have length 1."""
        return None if self.normalise else self.length / self.longest.clamp_min(TINY)

    def slack(self) -> Tensor:
        """Of every query (rows, cells): twice the most by which one of its scores may be wrong; inf where nothing is sure.

        A score is the tensor cores' product of fp16 vectors q + dq, k + dk of length at most 1: wrong by at most
        |dq||k + dk| + |q||dk| by rounding (dq measured, |dk| the largest measured), and by what C additions lose: a unit
        in the last place each in the multiplier's aligned sums, one in the accumulator, a quarter in the float32 ranking.
        """
        residual, worst = 1.001 * self.residual, 1.001 * self.worst
        adding = (2.25 * self.vectors.shape[2] + 32) * 2.0**-23 * (1 + worst) ** 2
        slack = 2 * (residual * (1 + worst) + worst + adding)
        if not self.normalise:  # the order of keys knows nothing of the query's length, but float32 does
            slack = slack.masked_fill(self.length * self.longest < TINY, torch.inf)
        return slack

    def _load(self, f: int, row: int) -> Tensor:
        """Frame f into a row; whether it is finite, as a tensor."""
        vectors, finite = frame_vectors(self.features[f].to(self.device), self.normalise)
        self.vectors[row] = vectors
        unit = self.vectors[row]
        if self.normalise:
            self.length[row] = 1.0
        else:  # scaled by the largest value first: squares of small values would be 0
            most = unit.abs().amax(dim=1, keepdim=True)
            unit = unit / torch.where(most > 0, most, 1.0)
            norm = torch.linalg.vector_norm(unit, dim=1, keepdim=True)
            unit = unit / torch.where(norm > 0, norm, 1.0)
            self.length[row] = (most * norm)[:, 0]
        self.half[row] = unit
        self.residual[row] = torch.linalg.vector_norm(unit - self.half[row].float(), dim=1)
        return finite

    def _load_all(self) -> tuple[Tensor, Tensor]:
        numbers = list(range(len(self.features)))
        _check(numbers, [self._load(f, f) for f in numbers])
        self.row = {f: f for f in numbers}
        return self.residual[: len(numbers)].amax(), self.length[: len(numbers)].amax()

    def _survey(self) -> tuple[Tensor, Tensor]:
        numbers = list(range(len(self.features)))
        worst, longest, finite = [], [], []
        for f in numbers:
            finite.append(self._load(f, 0))
            worst.append(self.residual[0].amax())
            longest.append(self.length[0].amax())
        _check(numbers, finite)
        return torch.stack(worst).amax(), torch.stack(longest).amax()


def _check(numbers: list[int], finite: list[Tensor]) -> None:
    for f, good in zip(numbers, torch.stack(finite).tolist() if finite else [], strict=True):
        if not good:
            raise not_finite(f)

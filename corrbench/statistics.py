"""Statistics of scores over sequences: bootstrap, permutation test, Holm correction, rank agreement.

The unit is the sequence: objects and frames of one video are not independent, so resampling them would make
every interval too narrow. A score enters as a function of multiplicities: `score(weights_BS) -> (B,)` gives
the task's own summary number on B resamples of S sequences (`weights[b, s]` says how often sequence s is in
it), so that J&F over objects, PCK over joints and mIoU over the whole set are resampled as they are
computed. NumPy only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

LEVEL = 0.95
POWER = 0.8
RESAMPLES = 10_000
EXACT = 2**14  # up to this many relabellings a permutation test enumerates all of them
NORMAL = NormalDist()

Score = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Bootstrap:
    """A score, its resampled values (B,), and two intervals at `level`: `percentile` and `bca` (low, high)."""

    value: float
    estimates: np.ndarray
    percentile: tuple[float, float]
    bca: tuple[float, float]
    level: float

    @property
    def sd(self) -> float:
        """Standard deviation of the resampled values: the standard error over sequences."""
        return float(np.std(self.estimates, ddof=1))


@dataclass(frozen=True)
class Permutation:
    """Two-sided p-value from `relabellings` exchanges of the two methods; `exact` when those were all."""

    p: float
    relabellings: int
    exact: bool


def resamples(sequences: int, count: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Multiplicities (count, sequences), float64: every row draws `sequences` of them with replacement."""
    if sequences < 2:
        raise ValueError(
            f"{sequences} sequence(s) cannot be resampled; at least 2 are needed for an interval"
        )
    rng = np.random.default_rng(seed)
    return rng.multinomial(sequences, np.full(sequences, 1 / sequences), size=count).astype(np.float64)


def bootstrap(
    score: Score, sequences: int, *, count: int = RESAMPLES, seed: int = 0, level: float = LEVEL
) -> Bootstrap:
    """Bootstrap of `score` over sequences; paired when `score` is a difference on common multiplicities.

    Percentile interval, and BCa with the jackknife's acceleration (Efron 1987, "Better bootstrap confidence
    intervals"). A resample in which the score is not defined (NaN) is left out.
    """
    value = float(score(np.ones((1, sequences)))[0])
    estimates = np.asarray(score(resamples(sequences, count, seed)))
    estimates = estimates[~np.isnan(estimates)]
    if math.isnan(value) or len(estimates) < 2:
        raise ValueError("the score is not defined on these sequences, so it has no interval")
    jackknife = np.asarray(score(np.ones((sequences, sequences)) - np.eye(sequences)))
    return Bootstrap(
        value, estimates, percentile(estimates, level), bca(value, estimates, jackknife, level), level
    )


def percentile(estimates: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The middle `level` of the resampled values."""
    low, high = np.quantile(estimates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bca(
    value: float, estimates: np.ndarray, jackknife: np.ndarray, level: float = LEVEL
) -> tuple[float, float]:
    """Bias-corrected and accelerated interval; the percentile interval where it is not defined.

    Not defined: no spread at all, or every resampled value on one side of `value`.
    """
    below = (np.mean(estimates < value) + np.mean(estimates <= value)) / 2
    jackknife = jackknife[~np.isnan(jackknife)]
    lean = jackknife.mean() - jackknife if len(jackknife) else np.zeros(1)
    spread = float(np.sum(lean**2)) ** 1.5
    if not 0 < below < 1 or spread == 0:
        return percentile(estimates, level)
    bias, acceleration = NORMAL.inv_cdf(float(below)), float(np.sum(lean**3)) / (6 * spread)
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        z = bias + NORMAL.inv_cdf(tail)
        ends.append(NORMAL.cdf(bias + z / (1 - acceleration * z)))
    low, high = np.quantile(estimates, ends)
    return float(low), float(high)


def permutation(
    difference: Score, sequences: int, *, count: int = RESAMPLES - 1, seed: int = 0
) -> Permutation:
    """Paired permutation test: may the two methods' results be exchanged, sequence by sequence?

    `difference(swapped_BS)` gives the difference of the two scores (B,) after exchanging the two methods'
    results on the sequences where `swapped` is 1. All 2^S exchanges are enumerated where they are at most 2^14;
    otherwise `count` random ones and the observed one, p = (1 + as extreme) / (1 + count). An exchange and its
    complement differ in sign only, so half of them are computed.
    """
    observed = abs(float(difference(np.zeros((1, sequences)))[0]))
    exact = 2**sequences <= EXACT
    if exact:
        codes = np.arange(2 ** (sequences - 1))[:, None]
        swapped = (codes >> np.arange(sequences)) & 1
    else:
        swapped = np.random.default_rng(seed).integers(0, 2, size=(count, sequences))
    values = np.abs(difference(swapped.astype(np.float64)))
    # values that are equal but for the order of a sum count as equal
    extreme = int(np.sum(values >= observed - 1e-9 * max(1.0, observed)))
    if exact:
        return Permutation(extreme / len(values), 2**sequences, True)
    return Permutation((1 + extreme) / (1 + count), count + 1, False)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Holm 1979): p-values that hold for all tests of the family at once."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected.tolist()


def smallest_difference(sd: float, *, level: float = LEVEL, power: float = POWER) -> float:
    """The smallest true difference that a two-sided test at `level` would find with probability `power`.

    Normal approximation with the standard error of the paired difference: (z[1 - a/2] + z[power]) * sd.
    """
    return (NORMAL.inv_cdf((1 + level) / 2) + NORMAL.inv_cdf(power)) * sd


def kendall_tau(x: Sequence[float], y: Sequence[float]) -> float:
    """Kendall's tau-b between two rankings of the same things; NaN where one of them is all ties."""
    agree, tied_x, tied_y = _pair_signs(x, y)
    total = len(agree)
    scale = math.sqrt((total - tied_x) * (total - tied_y))
    return float(np.sum(agree)) / scale if scale else math.nan


def order_changes(x: Sequence[float], y: Sequence[float]) -> float:
    """Share of pairs that `x` and `y` put in opposite order, of all pairs; NaN for fewer than two things."""
    agree, _, _ = _pair_signs(x, y)
    return float(np.mean(agree < 0)) if len(agree) else math.nan


def _pair_signs(x: Sequence[float], y: Sequence[float]) -> tuple[np.ndarray, int, int]:
    """Of every pair: +1 same order, -1 opposite, 0 tied; and how many are tied in x and in y."""
    first, second = np.triu_indices(len(x), 1)
    dx, dy = (np.sign(np.asarray(v)[first] - np.asarray(v)[second]) for v in (x, y))
    return dx * dy, int(np.sum(dx == 0)), int(np.sum(dy == 0))

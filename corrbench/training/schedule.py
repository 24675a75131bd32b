"""Order of samples, random numbers and learning rate as pure functions of (seed, update): nothing to save, nothing to lose.

Because every draw of an update comes from a generator of its own, a resumed run sees what the uninterrupted one saw,
and several processes agree on the whole batch before each takes its share.
"""

from __future__ import annotations

import functools
import hashlib
import math

import torch


def generator(seed: int, *tags: int | str) -> torch.Generator:
    """A CPU generator for this seed and these tags, independent of every other combination."""
    text = ":".join(str(part) for part in (seed, *tags))
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
    return torch.Generator().manual_seed(number)


@functools.lru_cache(maxsize=4)
def permutation(length: int, seed: int, epoch: int) -> torch.Tensor:
    """The order of `length` samples in one epoch."""
    return torch.randperm(length, generator=generator(seed, "epoch", epoch))


def sample_numbers(length: int, seed: int, first: int, count: int) -> list[int]:
    """Samples `first` to `first + count - 1` of the endless chain of shuffled epochs."""
    return [
        int(permutation(length, seed, place // length)[place % length])
        for place in range(first, first + count)
    ]


def rate(update: int, updates: int, base: float, warmup: int, end: float) -> float:
    """Learning rate of update 0, 1, ...: linear from base/warmup over `warmup` updates, then a half cosine to end * base."""
    if update < warmup:
        return base * (update + 1) / warmup
    passed = (update - warmup) / max(updates - warmup, 1)
    return base * (end + (1 - end) * 0.5 * (1 + math.cos(math.pi * passed)))

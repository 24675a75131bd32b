"""Features and neighbours kept on disk between runs: keyed by the digest of all that made them, bounded in size.

An entry is a `.npy` file (or several), written beside its place and renamed into it, read back memory-mapped. A key
covers the weights' content, the backbone's settings, the colour space, the input size, the frames' content and the
numerics, so nothing stale is ever returned; nothing is ever updated in place. The least recently used go first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from corrbench import config

UNITS = {
    "": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}


def parse_size(text: str | int) -> int:
    """Bytes of `20GiB`, `500MB`, `1e9`; `ValueError` for anything else."""
    found = re.fullmatch(
        r"\s*([0-9.]+(?:e[0-9]+)?)\s*([KMGT]I?B|)\s*", str(text).upper().replace("E+", "E").replace("E", "e")
    )
    if not found:
        raise ValueError(f"a size is a number with KB, MiB, GB, GiB..., got {text!r}")
    return int(float(found[1]) * UNITS[found[2]])


def default_folder() -> Path:
    """`$XDG_CACHE_HOME/corrbench/features`, or the same under `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "corrbench" / "features"


@dataclass
class Store:
    """Arrays by key in `folder`, at most `limit` bytes; `counts` says how often an entry was found and made."""

    folder: Path
    limit: int = 20 * 2**30
    counts: dict[str, int] = field(default_factory=lambda: {"found": 0, "made": 0})

    def get(
        self, key: Mapping[str, Any], make: Callable[[], tuple[torch.Tensor, ...]]
    ) -> tuple[torch.Tensor, ...]:
        """The tensors under `key`, made by `make()` and kept where they are not there yet."""
        place = self.folder / config.digest(key)
        there = self._read(place)
        if there is not None:
            self.counts["found"] += 1
            return there
        self.counts["made"] += 1
        made = make()
        self._write(place, made)
        return made

    def _read(self, place: Path) -> tuple[torch.Tensor, ...] | None:
        tensors = []
        for file in sorted(place.glob("*.npy")):
            try:
                array = np.load(file, mmap_mode="c", allow_pickle=False)
            except (OSError, ValueError):  # cut short by a full disk of an earlier version: make it again
                return None
            tensors.append(torch.from_numpy(array))
        if not tensors:
            return None
        os.utime(place)
        return tuple(tensors)

    def _write(self, place: Path, tensors: tuple[torch.Tensor, ...]) -> None:
        size = sum(t.numel() * t.element_size() for t in tensors)
        if size > self.limit:
            return
        self._make_room(size)
        temporary = place.with_name(f".{place.name}.{os.getpid()}")
        temporary.mkdir(parents=True, exist_ok=True)
        try:
            for number, tensor in enumerate(tensors):
                np.save(temporary / f"{number}.npy", tensor.cpu().numpy(), allow_pickle=False)
            os.rename(temporary, place)
        except OSError:  # no room, or another process was first: the result stands without being kept
            _remove(temporary)

    def _make_room(self, size: int) -> None:
        entries = sorted(
            (
                (p.stat().st_mtime, sum(f.stat().st_size for f in p.glob("*.npy")), p)
                for p in self.folder.glob("[0-9a-f]*")
            ),
            key=lambda e: e[0],
        )
        held = sum(e[1] for e in entries)
        for _, bytes_, place in entries:
            if held + size <= self.limit:
                return
            _remove(place)
            held -= bytes_


def _remove(place: Path) -> None:
    for file in place.glob("*"):
        file.unlink(missing_ok=True)
    if place.is_dir():
        place.rmdir()

"""Tensors kept on disk between runs, found again by the digest of all that made them, bounded in size.

An entry is one safetensors file, written beside its place, flushed and renamed into it, so it is whole or absent. It is
read memory-mapped: only the pages that are looked at come from the disk, and a process goes on reading an entry that
another one deletes. Nothing is updated in place. What is over the limit goes, least recently used first. A store that
cannot be written (full disk, read-only folder) costs time, never a run.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from corrbench import config

UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
DTYPES = {
    torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.int32: "I32",
    torch.uint8: "U8",
}  # fmt: skip
ENDING = ".safetensors"
ABANDONED = 3600.0  # seconds after which a file that nobody writes to any more is what a killed process left


def parse_size(text: str | int) -> int:
    """Bytes of `20GiB`, `500MB`, `1e9`; `ValueError` for anything else."""
    found = re.fullmatch(
        r"(\d+(?:\.\d*)?(?:e\+?\d+)?)\s*(?:([KMGT]?)(I?)B)?", str(text).strip().upper().replace("E", "e")
    )
    if not found or (found[3] and not found[2]):
        raise ValueError(f"a size is a number of bytes, or one with KB, MiB, GB, GiB, TB..., got {text!r}")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** UNITS[found[2] or ""])


def default_folder() -> Path:
    """`$XDG_CACHE_HOME/corrbench/features`, or the same under `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "corrbench" / "features"


@dataclass
class Store:
    """Tensors by key in `folder`, at most `limit` bytes; several processes may use one folder at once.

    `counts` says how often an entry was `found`, `made`, and made but `unkept` (no room, or no right to write).
    """

    folder: Path
    limit: int = 20 * 2**30
    counts: dict[str, int] = field(default_factory=lambda: {"found": 0, "made": 0, "unkept": 0})

    def get(
        self, key: Mapping[str, Any], make: Callable[[], tuple[torch.Tensor, ...]]
    ) -> tuple[torch.Tensor, ...]:
        """The tensors under `key`, on the CPU where they were kept; else made by `make()`, kept, and as it gave them."""
        place = self.folder / (config.digest(key) + ENDING)
        there = _read(place)
        if there is not None:
            self.counts["found"] += 1
            return there
        self.counts["made"] += 1
        made = make()
        if not self._write(place, key, made):
            self.counts["unkept"] += 1
        return made

    @contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Whether nobody else holds `name` just now; held until the block ends (or the process dies) if so."""
        with ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                handle = stack.enter_context(open(self.folder / f".{name}.lock", "w"))
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (
                OSError
            ) as error:  # held by another; or no folder to agree in: then everybody for themselves
                yield not isinstance(error, BlockingIOError)
                return
            yield True
            with suppress(OSError):
                os.unlink(handle.name)

    def _write(self, place: Path, key: Mapping[str, Any], tensors: tuple[torch.Tensor, ...]) -> bool:
        size = sum(t.numel() * t.element_size() for t in tensors)
        if size > self.limit:
            return False
        temporary = self.folder / f".{place.stem}.{secrets.token_hex(4)}.tmp"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._make_room(size)
            _save(temporary, key, tensors)
            os.replace(temporary, place)
            self._make_room(0)  # another process may have filled the room meanwhile
            return True
        except OSError:
            return False
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        """Delete the least recently used entries until `size` bytes more keep within the limit."""
        with open(self.folder / ".lock", "w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            found = [entry for path in self.folder.iterdir() if (entry := _entry(path)) is not None]
            held = sum(bytes_ for _, bytes_, _ in found)
            for used, bytes_, path in sorted(found):
                abandoned = path.suffix == ".tmp" and used < time.time() - ABANDONED
                if abandoned or (path.suffix == ENDING and held + size > self.limit):
                    path.unlink(missing_ok=True)
                    held -= bytes_


def _entry(path: Path) -> tuple[float, int, Path] | None:
    """When a file of ours was last used, its bytes and its path; None for files of others."""
    if not re.fullmatch(r"[0-9a-f]{64}\.safetensors|\.[0-9a-f]{64}\.[0-9a-f]{8}\.tmp", path.name):
        return None
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_mtime, info.st_size, path


def _read(place: Path) -> tuple[torch.Tensor, ...] | None:
    try:
        with safe_open(place, framework="pt") as file:  # checks that the file is as long as its header says
            tensors = tuple(file.get_tensor(str(n)) for n in range(len(file.keys())))
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError):  # damaged by other means than ours: made again and replaced
        return None
    with suppress(OSError):  # deleted just now (what is mapped stays), or somebody else's file
        os.utime(place)
    return tensors


def _save(path: Path, key: Mapping[str, Any], tensors: tuple[torch.Tensor, ...]) -> None:
    """Write a safetensors file without a second copy of its tensors in memory; the key stands in its metadata."""
    header: dict[str, Any] = {"__metadata__": {"key": json.dumps(config.canonical(key), sort_keys=True)}}
    end = 0
    for number, tensor in enumerate(tensors):
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[str(number)] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    with open(path, "xb") as handle:
        handle.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors:
            handle.write(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        handle.flush()
        os.fsync(handle.fileno())

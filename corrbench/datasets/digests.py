"""Content digests of data: sha256 over many small files, read in threads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from corrbench.hashing import sha256


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes; `ValueError` naming it where it cannot be read."""
    try:
        return sha256(path)
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be read ({error.strerror}); `corrbench data verify` says more"
        ) from None


def file_digests(paths: Iterable[Path], threads: int = 4) -> list[str]:
    """sha256 of each file, in order; hashing releases the interpreter lock, so threads help."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(file_digest, paths))


def combined(parts: Iterable[str]) -> str:
    """One sha256 over a list of short texts, each on its own line."""
    return hashlib.sha256("".join(f"{part}\n" for part in parts).encode()).hexdigest()

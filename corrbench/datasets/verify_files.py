"""Checks of single files and sequences for `verify`, and the report that they add to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from corrbench.datasets.digests import file_digest
from corrbench.datasets.images import image_size, read_image, read_index_mask

DIGITS = 16  # hexadecimal digits of a sha256 in a manifest: 64 bits, ample against damage
JPEG_END = b"\xff\xd9"
SHOWN = 12
THREADS = 4
Size = tuple[int, int]


@dataclass
class Report:
    """What a verification found. `compared` files had a checksum, `structural` ones had none to compare with."""

    title: str
    root: Path
    source: str
    compared: int = 0
    structural: int = 0
    there: list[str] = field(default_factory=list)
    official: int = 0
    missing: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing is missing or damaged."""
        return not self.missing and not self.damaged

    def text(self) -> str:
        lines = [
            f"{self.title} in {self.root}",
            f"  {len(self.there)} of {self.official} sequences are there",
        ]
        if self.compared:
            lines.append(f"  {self.compared} files compared by sha256 with a copy of the official release")
        if self.structural:
            lines.append(
                f"  {self.structural} files have no known checksum: checked for structure only (there, numbered "
                "without a gap, of one size, not cut off)"
            )
        lines += [f"  {note}" for note in self.notes]
        for word, found in (("MISSING", self.missing), ("DAMAGED", self.damaged)):
            lines += [f"  {word} {line}" for line in found[:SHOWN]]
            if len(found) > SHOWN:
                lines.append(f"  {word} ... and {len(found) - SHOWN} more")
        if self.sound and not self.there:
            lines.append("  nothing there to check")
        elif self.sound:
            lines.append("  complete, and nothing is wrong with it")
        else:
            lines.append(
                f"  NOT COMPLETE OR NOT SOUND: {len(self.missing)} missing, {len(self.damaged)} damaged"
            )
        return "\n".join([*lines, f"  {self.source}"])


def check_sequence(
    report: Report, name: str, frames: Path, masks: Path, known: dict[str, Any], decode: bool
) -> None:
    """Frames and masks of one sequence: count, numbering, size, checksum where known, structure where not.

    `known` is the sequence's entry in the manifest (frames, size, frame_sha256, mask_sha256), any of which may lack.
    """
    size: Size | None = (known["size"][0], known["size"][1]) if known.get("size") else None
    for folder, role, ending, digests in (
        (frames, "frame", ".jpg", known.get("frame_sha256")),
        (masks, "mask", ".png", known.get("mask_sha256")),
    ):
        found = sorted(p for p in folder.glob(f"*{ending}")) if folder.is_dir() else []
        count = known.get("frames") or max(len(found), 1)
        expected = [folder / f"{t:05d}{ending}" for t in range(count)]
        lacking = [path for path in expected if not path.is_file()]
        report.missing += [str(path) for path in lacking]
        for path in sorted(set(found) - set(expected)):
            report.damaged.append(f"{path}: {name} has {count} {role}s, this is one too many")
        there = [path for path in expected if path not in set(lacking)]
        if there and size is None:
            try:
                size = image_size(there[0])
            except ValueError as error:
                report.damaged.append(str(error))
                continue
        by_path = dict(zip(expected, digests, strict=True)) if digests else {}

        def problem(
            path: Path, role: str = role, size: Size | None = size, by_path: dict[Path, str] = by_path
        ) -> str:
            check = frame_problem if role == "frame" else mask_problem
            return check(path, size, by_path.get(path), decode)

        report.damaged += [text for text in each(problem, there) if text]
        if by_path:
            report.compared += len(there)
        else:
            report.structural += len(there)


def frame_problem(path: Path, size: Size | None, digest: str | None, decode: bool) -> str:
    """What is wrong with a frame, or an empty text."""
    try:
        if digest is not None and file_digest(path)[:DIGITS] != digest:
            read_image(path, size)  # says in what way it is damaged, where it does not decode
            return f"{path}: not the file of the official release (encoded anew, or damaged); fetch it again"
        if decode:
            read_image(path, size)
        elif digest is None:
            if size is not None and image_size(path) != size:
                read_image(path, size)
            if path.suffix == ".jpg" and not path.read_bytes().rstrip(b"\0").endswith(JPEG_END):
                return f"{path}: this frame is cut off; fetch it again"
    except ValueError as error:
        return str(error)
    return ""


def mask_problem(path: Path, size: Size | None, digest: str | None, decode: bool) -> str:
    """What is wrong with a mask, or an empty text. Masks are always decoded: they are what is scored."""
    try:
        if digest is None:
            read_index_mask(path, size)
        elif mask_digest(path, size) != digest:
            return f"{path}: other pixels than the mask of the official release; fetch it again"
    except ValueError as error:
        return str(error)
    return ""


def mask_digest(path: Path, size: Size | None = None) -> str:
    """sha256 of a mask's pixels, however its PNG was encoded."""
    mask = read_index_mask(path, size)
    head = f"{mask.shape[0]} {mask.shape[1]} ".encode()
    return hashlib.sha256(head + np.ascontiguousarray(mask).tobytes()).hexdigest()[:DIGITS]


def each(check: Callable[[Path], str], paths: Sequence[Path]) -> list[str]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(check, paths))

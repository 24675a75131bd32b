"""The compiled part of the native path: `native.cpp`, built once on this machine and kept in the user's cache.

A plain `g++ -shared` and ctypes: no torch headers, no ninja, two seconds once. Where no compiler is found, or the build
fails, there is no library and one log line says so; propagation then takes the tiled path.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCES = (Path(__file__).with_name("native.cpp"), Path(__file__).parents[1] / "metrics" / "davis.cpp")
HEADERS = (Path(__file__).with_name("native_record.h"), Path(__file__).with_name("native_tile.h"))
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fPIC", "-shared", "-pthread")
TARGETS = {
    "native": ("-march=native",),
    "avx2": ("-march=haswell",),
    "baseline": (),
}

_log = logging.getLogger(__name__)


def target() -> str:
    """Which instructions the library may use: $CORRBENCH_NATIVE, one of `native` (default), `avx2`, `baseline`, `off`."""
    name = os.environ.get("CORRBENCH_NATIVE") or "native"
    if name != "off" and name not in TARGETS:
        raise ValueError(f"CORRBENCH_NATIVE={name!r}: expected one of {', '.join((*TARGETS, 'off'))}")
    return name


def current() -> ctypes.CDLL | None:
    """The library that `target` asks for; None where there is none."""
    name = target()
    return None if name == "off" else library(name)


@functools.cache
def library(name: str) -> ctypes.CDLL | None:
    """The library for one of TARGETS, built if need be; None, and one log line, where it cannot be had."""
    try:
        compiler = _compiler()
        try:
            return _load([compiler, *FLAGS, *TARGETS[name]])
        except subprocess.CalledProcessError:
            if not TARGETS[name]:
                raise
            return _load([compiler, *FLAGS])  # a compiler that does not know the option: slower, not wrong
    except (OSError, subprocess.SubprocessError) as error:
        detail = str(getattr(error, "stderr", None) or error).strip()
        _log.warning("native propagation is not available, the slower tiled path is used: %s", detail)
        return None


def _compiler() -> str:
    for name in (os.environ.get("CXX"), "g++", "clang++", "c++"):
        found = shutil.which(name) if name else None
        if found:
            return found
    raise FileNotFoundError("no C++ compiler (g++, clang++, c++ or $CXX) was found")


def _load(command: list[str]) -> ctypes.CDLL:
    """The library of a command line: from the cache, or built there, or built in a temporary folder if it is read-only."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "corrbench" / "native"
    path = cache / f"{_key(command)}.so"
    if path.exists():
        return ctypes.CDLL(str(path))
    try:
        cache.mkdir(parents=True, exist_ok=True)
        folder, keep = tempfile.TemporaryDirectory(dir=cache), True
    except OSError:
        folder, keep = tempfile.TemporaryDirectory(), False
    with folder:
        made = Path(folder.name) / "native.so"
        build = [*command, "-o", str(made), *map(str, SOURCES)]
        subprocess.run(build, capture_output=True, check=True, text=True, timeout=600)
        if keep:
            made = made.replace(path)  # at once: two processes that build both end with a whole file
        return ctypes.CDLL(str(made))  # once loaded, its file may go


def _key(command: list[str]) -> str:
    """Digest of all that the binary depends on: sources, command, compiler, processor."""
    version = subprocess.run(
        [command[0], "--version"], capture_output=True, check=True, text=True, timeout=60
    ).stdout
    sources = [path.read_text() for path in (*SOURCES, *HEADERS)]
    parts = (*sources, *command, version, platform.system(), platform.machine(), _processor())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _processor() -> str:
    """Model and instruction sets of the first processor: machines of several kinds may share a cache."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor()
    wanted = (
        "vendor_id",
        "cpu family",
        "model",
        "model name",
        "flags",
        "Features",
        "CPU implementer",
        "CPU part",
    )
    return "\n".join(line for line in first if line.split(":")[0].strip() in wanted)

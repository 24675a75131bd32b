"""What a run was made with: versions, git state, machine, and the numeric settings, which are set here and recorded."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("corrbench", "torch", "torchvision", "numpy", "scikit-image", "pillow", "mmengine-lite", "triton")
AUTOCAST = ("bfloat16", "float16")


@dataclass(frozen=True)
class Numerics:
    """The numeric choices that can change a score: part of a record's key and signature.

    `autocast` is None (float32 features) or `bfloat16`/`float16` for the backbone alone; `path` says which implementation
    of the neighbour search runs (`auto` is replaced by what it stood for before a key is made); `compile` says that the
    backbone went through torch.compile, which rounds otherwise.
    """

    device: str = "cpu"
    dtype: str = "float32"
    tf32: bool = False
    autocast: str | None = None
    deterministic: bool = True
    path: str = "auto"
    compile: bool = False

    def __post_init__(self) -> None:
        if self.autocast is not None and self.autocast not in AUTOCAST:
            raise ValueError(f"autocast is none, {' or '.join(AUTOCAST)}, got {self.autocast!r}")

    def as_dict(self) -> dict[str, Any]:
        """Plain data; `compile` only where it is on, so that keys are those of records from before there was the choice."""
        return {name: value for name, value in asdict(self).items() if name != "compile" or value}

    def signature(self) -> str:
        """`cpu.float32`, with `.tf32`, `.bfloat16` and `.compiled` where they are on."""
        kind = self.device.partition(":")[0]
        words = [kind, self.dtype] + ["tf32"] * self.tf32 + ([self.autocast] if self.autocast else [])
        return ".".join(words + ["compiled"] * self.compile)


def apply(numerics: Numerics) -> None:
    """Set torch's global switches as `numerics` says: TF32, cuDNN's choice of algorithm, deterministic kernels."""
    import torch

    if numerics.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.deterministic = numerics.deterministic
    torch.backends.cudnn.benchmark = not numerics.deterministic
    torch.backends.cuda.matmul.allow_tf32 = numerics.tf32
    torch.backends.cudnn.allow_tf32 = numerics.tf32


def choose_device(wanted: str | None) -> str:
    """`wanted`, or the GPU where torch sees one; `ValueError` when a GPU is asked for and none is there."""
    import torch

    if wanted in (None, "auto"):
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise ValueError(f"--device {wanted}: is no device; write cpu, cuda or cuda:1") from None
    if device.type == "cuda" and (
        not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()
    ):
        seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
        raise ValueError(
            f"--device {wanted}: torch sees {seen} GPUs here; leave --device out to run on what there is"
        )
    return str(wanted)


def versions() -> dict[str, str]:
    """Version of every package that takes part in a number, and of Python."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@functools.cache
def git() -> dict[str, Any]:
    """Commit and dirtiness of the checkout this package runs from; both None for an installed package."""
    root = Path(__file__).parent.parent

    def ask(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=20, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    if not (root / ".git").exists():
        return {"commit": None, "dirty": None}
    status = ask("status", "--porcelain", "--untracked-files=no")
    return {"commit": ask("rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


@functools.cache
def machine() -> dict[str, Any]:
    """Processor, cores, memory and GPU: what a time was measured on. No host name."""
    info: dict[str, Any] = {
        "system": platform.system(),
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpu": None,
    }
    import torch

    if torch.cuda.is_available():
        info["gpu"] = torch.cuda.get_device_name()
        info["cuda"] = torch.version.cuda
    return info


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()

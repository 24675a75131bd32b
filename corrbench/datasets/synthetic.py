"""The synthetic benchmark: rendered on the spot from scikit-image's photographs, read by the real loaders.

When a data set is not on the machine, a run goes on with this one. It is written once to the user's cache in
DAVIS's, JHMDB's and VIP's own layouts, with a mark that makes every record say synthetic. Its numbers rank
nothing but themselves: no published number can be put beside them.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from corrbench.datasets.davis import DAVIS
from corrbench.datasets.digests import file_digests
from corrbench.datasets.jhmdb import JHMDB
from corrbench.datasets.rendered import Mark, read_mark, write_mark
from corrbench.datasets.vip import VIP
from corrbench.registry import DATASETS

VERSION = 1  # raise it with every change of a pixel or label that follows a release
KINDS = ("vos", "pose", "parts")
FOLDERS = {"vos": "DAVIS", "pose": "JHMDB", "parts": "VIP"}
LICENCE = "rendered from photographs in the public domain or under CC0 (scikit-image's data folder)"
CITATION = "corrbench's synthetic benchmark; van der Walt et al.: scikit-image, PeerJ 2:e453, 2014"
URL = "rendered on this machine by corrbench"


@DATASETS.register_module()
def Synthetic(kind: str = "vos") -> DAVIS | JHMDB | VIP:
    """The synthetic benchmark of a `kind`: vos (DAVIS's layout), pose (JHMDB's) or parts (VIP's)."""
    return {"vos": DAVIS, "pose": JHMDB, "parts": VIP}[_checked(kind)](root=ensure(kind))


def synthetic_config(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """What stands in for a data set's config when its data are missing: the same type on the rendered benchmark."""
    for kind, folder in FOLDERS.items():
        if dataset.get("type") == folder:
            return {"type": folder, "root": str(ensure(kind))}
    raise ValueError(
        f"there is no synthetic stand-in for {dataset.get('type')!r} (only for "
        f"{', '.join(FOLDERS.values())}); get the data set itself (`corrbench list datasets` says where)"
    )


def cache_folder() -> Path:
    """`corrbench/synthetic-v<version>` in `$XDG_CACHE_HOME` or `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "corrbench" / f"synthetic-v{VERSION}"


def ensure(kind: str) -> Path:
    """The root folder of the rendered benchmark of a `kind`, rendered now if the cache lacks it or holds it damaged.

    A few seconds the first time. Written to a folder beside it and moved into place, so that it is whole or
    absent.
    """
    root = cache_folder() / FOLDERS[_checked(kind)]
    if not _sound(root):
        _write(root, kind)
    return root


def render(folder: str | Path, which: Iterable[str] = KINDS, flow: bool = False) -> list[Path]:
    """Write the benchmarks of those kinds to `folder` as DAVIS, JHMDB and VIP folders; returns these.

    `flow` adds `Flow/<sequence>/%05d.flo` (Middlebury format, frame t to t + 1) to DAVIS. `ValueError` where
    something else lies in a folder already.
    """
    roots = []
    for kind in which:
        root = Path(folder) / FOLDERS[_checked(kind)]
        if root.exists() and read_mark(root) is None:
            raise ValueError(f"{root}: exists and was not rendered by corrbench; give another folder")
        _write(root, kind, flow)
        roots.append(root)
    return roots


def _sound(root: Path) -> bool:
    """Whether a rendered folder is whole: every file is there with the bytes that were written."""
    try:
        mark = read_mark(root) if root.is_dir() else None
        if mark is None or mark.name != _name(_kind_of(root), mark.content):
            return False
        return file_digests(root / name for name in mark.files) == list(mark.files.values())
    except ValueError:
        return False


@cache
def reference() -> dict[str, dict[str, str]]:
    """The content that version `VERSION` has: kind -> sequence -> sha256 of pixels and labels."""
    file = resources.files("corrbench.datasets").joinpath("manifests/synthetic.json")
    return json.loads(file.read_text(encoding="utf-8"))["content"]


def _name(kind: str, content: dict[str, str]) -> str:
    """What records print; it says so where arithmetic here gave other pixels than the reference."""
    other = "" if content == reference()[kind] else ", other pixels than the reference"
    return f"synthetic-{kind} (rendered, v{VERSION}{other})"


def _kind_of(root: Path) -> str:
    return next(kind for kind, folder in FOLDERS.items() if folder == root.name)


def _write(root: Path, kind: str, flow: bool = False) -> None:
    from corrbench.datasets import synthetic_files

    root.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        writers: dict[str, Callable[[Path], dict[str, str]]] = {
            "vos": lambda to: synthetic_files.write_davis(to, flow),
            "pose": synthetic_files.write_jhmdb,
            "parts": synthetic_files.write_vip,
        }
        content = writers[kind](building)
        files = sorted(p.relative_to(building).as_posix() for p in building.rglob("*") if p.is_file())
        digests = file_digests(building / name for name in files)
        mark = Mark(
            _name(kind, content),
            VERSION,
            LICENCE,
            CITATION,
            URL,
            content,
            dict(zip(files, digests, strict=True)),
        )
        write_mark(building, mark)
        building.chmod(0o755)
        _replace(building, root)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _replace(building: Path, root: Path) -> None:
    """Move a whole folder into place; another process that was faster has written the same."""
    old = None
    if root.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{root.name}-old-", dir=root.parent))
        os.replace(root, old / root.name)
    try:
        os.replace(building, root)
    except OSError:
        if read_mark(root) is None:
            raise
    finally:
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)


def _checked(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: the synthetic benchmark has {', '.join(KINDS)}")
    return kind

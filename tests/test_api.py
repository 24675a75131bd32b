"""`corrbench.NAME` is a function, whatever was imported before, and importing the package alone is light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import corrbench
from corrbench.record import Record

ROOT = Path(__file__).parent.parent
NAMES = (
    "run", "sweep", "compare", "reproduce", "score", "report", "check", "available", "read", "find", "to_frame",
    "scores_frame",
)  # fmt: skip
EVERY_MODULE = (
    "import importlib, pkgutil, sys, corrbench\n"
    "for found in pkgutil.walk_packages(corrbench.__path__, 'corrbench.'):\n"
    "    if not found.name.endswith('__main__'):\n"
    "        importlib.import_module(found.name)\n"
)


def test_names_are_functions_after_every_module_was_imported() -> None:
    """An imported submodule becomes an attribute of its package, so none may be called what a function is called."""
    code = (
        EVERY_MODULE
        + "print(*(n for n in sys.argv[1:] if type(getattr(corrbench, n)).__name__ != 'function'))"
    )
    done = subprocess.run([sys.executable, "-c", code, *NAMES], capture_output=True, text=True, timeout=120)
    assert (done.stdout.strip(), done.returncode) == ("", 0), done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_names_are_functions_with_a_docstring(name: str) -> None:
    assert callable(getattr(corrbench, name))
    assert getattr(corrbench, name).__doc__
    assert name in corrbench.__all__


def test_nothing_else_has_a_name() -> None:
    with pytest.raises(AttributeError, match="'corrbench' has no attribute 'swep'"):
        corrbench.swep  # noqa: B018


def test_importing_the_package_is_light() -> None:
    code = (
        "import sys, corrbench; print([m for m in ('torch', 'numpy', 'pandas', 'click') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_names_work_together(tiny_davis: Path, tmp_path: Path) -> None:
    """Run, sweep, find, compare and put into frames, as the tutorial does."""
    lab, task = str(ROOT / "methods" / "lab.py"), str(ROOT / "tasks" / "davis.py")
    given = {"data": tiny_davis, "out": tmp_path, "device": "cpu", "overrides": ["protocol.resize=short 96"]}
    record = corrbench.run(lab, task, **given)
    assert isinstance(record, Record)
    swept = corrbench.sweep(lab, task, {"topk": [5, 10]}, cache=tmp_path / "cache", **given)
    assert swept[1].folder == record.folder  # STT's own top-k: the record that was there
    assert {r.key for r in corrbench.find(tmp_path)} == {r.key for r in swept}
    assert corrbench.read(record.folder).key == record.key
    assert corrbench.to_frame(swept)["topk"].tolist() == [5, 10]
    assert len(corrbench.scores_frame(swept)) == 6
    found = corrbench.compare(swept, allow=("protocol",))
    assert len(found.pairs) == 1
    assert corrbench.report([tmp_path], tmp_path / "report", overlays="none")

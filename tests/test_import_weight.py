"""What a command imports: `--help`, `list`, `report`, `compare` start without torch, and quickly."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

LIGHT = [
    ["--help"],
    ["--version"],
    ["run", "--help"],
    ["list", "methods"],
    ["list", "tasks"],
    ["list", "protocols"],
    ["list", "datasets"],
    ["list", "checkpoints"],
    ["report", "--help"],
    ["compare", "--help"],
]
PROBE = (
    "import sys; sys.argv = ['corrbench', *{args!r}]\n"
    "from corrbench.cli import main\n"
    "try: main()\n"
    "except SystemExit as e: code = e.code\n"
    "heavy = [m for m in ('torch', 'torchvision', 'pandas', 'matplotlib', 'skimage') if m in sys.modules]\n"
    "print('HEAVY', heavy, file=sys.stderr); sys.exit(code)\n"
)


@pytest.mark.parametrize("args", LIGHT, ids=" ".join)
def test_light_commands_import_nothing_heavy(args: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(args=args)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stderr


def test_modules_behind_report_and_compare_import_nothing_heavy() -> None:
    code = (
        "import sys, corrbench.reporting, corrbench.comparison, corrbench.record\n"
        "print([m for m in ('torch', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_help_takes_less_than_a_second() -> None:
    """The best of three, since the machine may be busy with other tests."""
    best = 9.9
    for args in (["--help"], ["list", "methods"], ["--help"]):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "corrbench.cli", *args], capture_output=True, check=True, timeout=60
        )
        best = min(best, time.perf_counter() - start)
    assert best < 1.0

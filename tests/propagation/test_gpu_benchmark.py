"""The GPU benchmark runs from end to end without a GPU, at toy size, so that no time on one is spent on its mistakes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "benchmarks" / "gpu.py"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *words], capture_output=True, text=True, env=environment, timeout=400
    )


def test_sections_run_at_toy_size_one_after_the_other_and_keep_each_others_results(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    for sections in (("peak",), ("forms", "whole", "agree", "tune")):
        done = run("--toy", "--out", str(tmp_path), "--only", *sections)
        assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads((tmp_path / "gpu_toy.json").read_text())
    assert result["peak"]["fp16 TFLOP/s"] > 0  # of the first call
    assert result["whole"]["frames"] == 4
    assert set(result["whole"]["stages"]) == {
        "features",
        "neighbours",
        "propagate",
        "decode",
        "write",
        "score",
    }
    assert result["agree"]["largest difference of a frame"] == {"J": 0.0, "F": 0.0}
    assert result["tune"][0]["frames/s"] > 0
    assert "<svg" in (tmp_path / "gpu_toy.svg").read_text()


def test_a_section_that_does_not_exist_is_refused() -> None:
    done = run("--toy", "--only", "speed")
    assert done.returncode == 2
    assert "no section speed" in done.stderr

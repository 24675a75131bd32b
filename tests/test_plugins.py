"""Another package's plugin: built, installed into an environment of its own, found by entry point."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from corrbench import plugins

REPOSITORY = Path(__file__).parent.parent

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "grey-correspondence"
version = "1.0"
[project.entry-points."corrbench.plugins"]
grey = "grey_correspondence.backbone"
[tool.hatch.build.targets.wheel]
packages = ["grey_correspondence"]
"""
BACKBONE = '''
"""Grey values of 8x8 cells."""
import torch
from corrbench.registry import BACKBONES

@BACKBONES.register_module()
class Grey(torch.nn.Module):
    stride, channels = 8, 1
    def forward(self, image):
        return torch.nn.functional.avg_pool2d(image.mean(1, keepdim=True), 8)
'''
METHOD = '''"""Grey values."""
method = dict(type="LabelPropagation", backbone=dict(type="Grey"), colour="raw")
'''


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A fresh environment with the little package installed, which also sees this one's packages."""
    root = tmp_path_factory.mktemp("plugin")
    package = root / "source" / "grey_correspondence"
    (package / "methods").mkdir(parents=True)
    (package.parent / "pyproject.toml").write_text(PYPROJECT)
    (package / "__init__.py").write_text("")
    (package / "backbone.py").write_text(BACKBONE)
    (package / "methods" / "grey.py").write_text(METHOD)
    venv.create(root / "env", with_pip=True)
    ours = os.pathsep.join([str(REPOSITORY), sysconfig.get_path("purelib")])
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | {"PYTHONPATH": ours}
    python = root / "env" / "bin" / "python"
    subprocess.run(
        [
            python,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-index",
            "--no-deps",
            "--no-build-isolation",
            str(package.parent),
        ],
        check=True,
        env=variables,
        timeout=300,
    )
    return python, variables


def test_an_installed_package_brings_a_backbone_and_a_method(
    environment: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    python, variables = environment
    done = subprocess.run(
        [python, "-m", "corrbench.cli", "check", "grey"],
        capture_output=True, text=True, env=variables, cwd=tmp_path, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "backbone: stride 8, 1 channels, finite features" in done.stdout
    listed = subprocess.run(
        [python, "-m", "corrbench.cli", "list", "methods"],
        capture_output=True, text=True, env=variables, cwd=tmp_path, timeout=300,
    )  # fmt: skip
    assert "Grey values." in listed.stdout, listed.stderr


def test_without_the_package_its_name_is_unknown(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "corrbench.cli", "check", "grey"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
    )
    assert done.returncode == 2
    assert "there is no such file" in done.stderr


def test_files_are_found_by_name_and_listed_once() -> None:
    assert plugins.find("tasks", "davis").is_file()
    stems = [p.stem for p in plugins.files("methods")]
    assert len(stems) == len(set(stems))
    assert {"stt", "hog", "copy_first"} <= set(stems)

"""The tutorial runs from top to bottom, quickly, and is committed without outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent.parent / "docs" / "tutorial.ipynb"


def shown(notebook: nbformat.NotebookNode) -> list[str]:
    """The text that every code cell prints or ends with."""
    texts = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            parts = [out.get("text") or out.get("data", {}).get("text/plain", "") for out in cell.outputs]
            texts.append("".join(parts))
    return texts


def test_the_tutorial_is_committed_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(
        not cell.outputs and cell.execution_count is None
        for cell in notebook.cells
        if cell.cell_type == "code"
    )


# The kernel's own packages warn about sockets and event loops that they leave open; what is tested runs in the kernel.
@pytest.mark.filterwarnings("default")
def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "default")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    texts = shown(notebook)
    assert "'lab':" in texts[1]
    assert "synthetic" in texts[2]
    assert "95 % interval" in texts[4]
    assert "crw topk=40" in texts[5]
    assert "topk" in texts[6]
    assert "method x protocol" in texts[7]
    assert "sequence" in texts[8]

"""Every case of docs/robustness.md: the message, the exit code, and that nothing wrong is scored."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from corrbench.cli import main
from tests.bad_inputs import CASES, ROOT, Case, Place, prepare, words
from tests.conftest import write_davis


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return prepare(tmp_path_factory.mktemp("sound") / "place", write_davis)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.title)
def test_one_clear_sentence(case: Case, sound: Place, tmp_path: Path) -> None:
    root = tmp_path / "place"
    shutil.copytree(sound.root, root)
    done = CliRunner().invoke(main, words(case, Place(root)))
    assert done.exit_code == case.code, (done.output, done.exception)
    said = done.stderr.strip()
    message = said[said.rindex("corrbench: ") :]
    assert re.search(case.says, message, re.DOTALL), message
    assert "Traceback" not in done.output
    assert not list((root / "out").rglob("record.json")), "a wrong input was scored"


def test_the_page_lists_every_case() -> None:
    page = (ROOT / "docs" / "robustness.md").read_text()
    assert [c.title for c in CASES if f"| {c.title} |" not in page] == []
    assert len(CASES) >= 25

"""Every figure of the README comes from a record or a result file in the repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_measured_part_is_what_the_records_say() -> None:
    done = subprocess.run(
        [sys.executable, "reports/readme.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr or "run `python reports/readme.py`"


def test_committed_reports_hold_no_pixel_of_real_data() -> None:
    """Overlays in a committed page are of the rendered benchmark alone; no image file lies beside it."""
    pages = list((ROOT / "reports").glob("*/index.html"))
    assert pages
    films = [film for page in pages for film in page.read_text().split('<figure class="film"')[1:]]
    captions = [
        film.split("<a ")[0][-200:] for film in films
    ]  # a film's caption ends in the link to its record
    assert captions
    assert [caption for caption in captions if "(synthetic-vos (rendered" not in caption] == []
    assert not [p for p in (ROOT / "reports").rglob("*") if p.suffix in (".png", ".jpg", ".webp", ".gif")]

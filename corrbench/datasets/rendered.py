"""The mark of a rendered benchmark: a file at its root that makes every record say synthetic."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

MARK = "synthetic.json"


@dataclass(frozen=True)
class Mark:
    """What was rendered: `name` as records print it, and the sha256 of each sequence's pixels and labels.

    `files` are sha256 of the files as they were written here (relative to the root); PNG encoders differ
    between machines, the `content` does not.
    """

    name: str
    version: int
    licence: str
    citation: str
    url: str
    content: dict[str, str]
    files: dict[str, str]


def write_mark(root: Path, mark: Mark) -> None:
    (root / MARK).write_text(json.dumps(asdict(mark), indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_mark(root: Path) -> Mark | None:
    """The mark of the rendered benchmark at `root`; None where the data there is real."""
    path = root / MARK
    if not path.exists():
        return None
    try:
        return Mark(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path}: not a mark of a rendered benchmark ({error}); delete its folder") from None

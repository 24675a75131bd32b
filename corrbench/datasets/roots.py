"""Where a data set lies on this machine: `--data`, then `$CORRBENCH_DATA`, then the config."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from corrbench.datasets.origins import ORIGINS

VARIABLE = "CORRBENCH_DATA"


class DataMissing(FileNotFoundError, ValueError):
    """No place that was named holds the data set; the message names places, source and licence."""

    def __str__(self) -> str:  # FileNotFoundError would print an errno tuple
        return str(self.args[0])


def find_root(
    folder: str,
    given: str | Path | None = None,
    *,
    config: str | Path | None = None,
    required: Iterable[str] | None = None,
) -> Path:
    """The root folder of a data set whose own folder is usually called `folder` ("DAVIS", "JHMDB", ...).

    `given` (from `--data`) is looked at first, then `$CORRBENCH_DATA`, then `config` (the root in the task's
    file); each may be the data set's folder or the folder that holds it. A folder counts when it holds all
    `required` relative paths (default: those of `ORIGINS[folder]`). `DataMissing` where no place holds any of
    it; `ValueError` for a place that does not exist and for a data set that is there in part only, so that
    neither is taken for "no data".
    """
    origin = ORIGINS.get(folder)
    needs = tuple(required if required is not None else origin.required if origin else ())
    places = [("--data", given), (f"${VARIABLE}", os.environ.get(VARIABLE) or None), ("the config", config)]
    looked = []
    for source, value in places:
        if value is None:
            looked.append(f"{source} names no folder" if source == "the config" else f"{source} is not set")
            continue
        place = Path(value).expanduser()
        if not place.is_dir():
            raise ValueError(
                f"{place}: {source} names this folder, which does not exist; correct or unset it"
            )
        root = _within(place, folder, needs, source)
        if root is not None:
            return root.resolve()
        looked.append(f"{source} ({place}) holds no {folder}")
    raise DataMissing(
        f"{folder} is not on this machine: {', '.join(looked)}. "
        + (f"{origin.line()}. " if origin else "")
        + f"Unpack it and pass --data FOLDER or set ${VARIABLE}."
    )


def _within(place: Path, folder: str, needs: tuple[str, ...], source: str) -> Path | None:
    """`place/folder` or `place`, whichever holds the data set; `ValueError` for a part of it."""
    for root in (place / folder, place):
        missing = [path for path in needs if not (root / path).exists()]
        named = root.name == folder and root.is_dir()
        if not missing and (needs or named):
            return root
        if named or (root.is_dir() and len(missing) < len(needs)):
            raise ValueError(
                f"{root}: {source} leads to this {folder} folder, but it lacks {', '.join(missing)}; "
                f"unpack the whole data set there, or point elsewhere"
            )
    return None

"""Weights that corrbench ships: where they lie, and what such a file says about its own training. Imports no torch.

They are part of the package, next to a model card each. `scripts/ship_weights.py` makes them out of a trained stage.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from corrbench.run_weights import training_kept

FOLDER = Path(__file__).parent / "checkpoints"
FIELD = "corrbench"  # of the safetensors header's metadata: JSON


def header(path: Path | str) -> dict[str, Any]:
    """What a shipped file says about its own training; reads no tensor. `ValueError` for a file that says nothing."""
    path = Path(path)
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length < 1 << 24:
                raise ValueError("it has no safetensors header")
            about = json.loads(json.loads(file.read(length))["__metadata__"][FIELD])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} does not say how it was trained ({error}); weights that corrbench ships are written by "
            "scripts/ship_weights.py"
        ) from None
    return dict(about)


def training_of(path: Path | str) -> dict[str, Any]:
    """What a record keeps of the training behind a shipped file."""
    return training_kept(header(path))

"""What every record of a benchmark begins with."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from corrbench import provenance


def heading(script: str) -> dict[str, Any]:
    """The command line of `script` (its `__file__`), the machine with its load of the last minute, and versions."""
    return {
        "command": " ".join([f"python benchmarks/{Path(script).name}", *sys.argv[1:]]),
        "machine": provenance.machine() | {"load": round(os.getloadavg()[0], 2)},
        "versions": provenance.versions(),
    }

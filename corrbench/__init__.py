"""corrbench: the reproducibility benchmark for video correspondence.

    import corrbench as cb
    record = cb.run("methods/hog.py", "tasks/davis.py")
    record.summary["J&F-Mean"]

The functions are imported when they are first used, so `import corrbench` is quick and imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "run": "corrbench.api",
    "ablate": "corrbench.ablation",
    "sweep": "corrbench.sweeping",
    "compare": "corrbench.comparison",
    "reproduce": "corrbench.reproduction",
    "score": "corrbench.external",
    "report": "corrbench.reporting",
    "check": "corrbench.checking",
    "available": "corrbench.listing",
    "read": "corrbench.record",
    "find": "corrbench.record",
    "to_frame": "corrbench.frames",
    "scores_frame": "corrbench.frames",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'corrbench' has no attribute {name!r}")
    module = import_module(_HOME[name])
    return getattr(module, {"report": "write_from"}.get(name, name))

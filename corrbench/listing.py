"""`corrbench list`: what there is, without torch and without executing any plugin file."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

from corrbench import plugins

Rows = list[dict[str, str]]


def available(what: str) -> Rows:
    """One dict of texts a method, task, protocol, dataset or checkpoint."""
    return {"methods": _methods, "tasks": _tasks, "protocols": _protocols, "datasets": _datasets,
            "checkpoints": _checkpoints}[what]()  # fmt: skip


def show(what: str, *, as_json: bool = False) -> None:
    """Print `available(what)` as a table or as JSON."""
    rows = available(what)
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    shown = Table(show_edge=False, pad_edge=False)
    for name in rows[0] if rows else []:
        shown.add_column(name, overflow="fold")
    for row in rows:
        shown.add_row(*row.values())
    Console(highlight=False).print(shown, markup=False)


def _literal(node: ast.expr) -> Any:
    """A `dict(...)` or literal expression as a value; what is neither as None."""
    if isinstance(node, ast.Call):
        return {k.arg: _literal(k.value) for k in node.keywords}
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _methods() -> Rows:
    rows = []
    for path in plugins.files("methods"):
        method = _literal(plugins.blocks(path)["method"]) or {}
        backbone = method.get("backbone") or {}
        rows.append(
            {
                "method": path.stem,
                "backbone": str(backbone.get("type", "")),
                "checkpoint": str(method.get("checkpoint") or ""),
                "title": plugins.title(plugins.parse(path), path),
            }
        )
    return rows


def _tasks() -> Rows:
    rows = []
    for path in plugins.files("tasks"):
        task = _literal(plugins.blocks(path)["task"]) or {}
        rows.append(
            {
                "task": path.stem,
                "type": str(task.get("type", "")),
                "data": str((task.get("dataset") or {}).get("type", "")),
                "title": plugins.title(plugins.parse(path), path),
            }
        )
    return rows


def _protocols() -> Rows:
    from corrbench import protocol

    return [
        {"protocol": name, "for": kind, "switches": protocol.preset(name, kind).signature()}
        for name in protocol.names()
        for kind in ("vos", "pose", "parts")
    ]


def _datasets() -> Rows:
    from corrbench.datasets.origins import ORIGINS
    from corrbench.datasets.roots import find_root

    rows = []
    for name, origin in ORIGINS.items():
        try:
            where: Path | str = find_root(name, None)
        except FileNotFoundError:
            where = "not found"
        rows.append(
            {
                "dataset": name,
                "licence": origin.licence,
                "citation": origin.citation,
                "from": origin.url,
                "here": str(where),
            }
        )
    return rows


def _checkpoints() -> Rows:
    from corrbench import zoo

    return zoo.describe()

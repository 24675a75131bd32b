"""Plugin files (found, checked to be data, never executed here) and other packages' plugins.

Other packages come by the entry-point group `corrbench.plugins`: a package declares
`[project.entry-points."corrbench.plugins"] anything = "its.module"`; importing that module registers its classes, and any
`methods/` or `tasks/` folder beside the module is offered by name (`corrbench run theirs tasks/davis.py`).
"""

from __future__ import annotations

import ast
import functools
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from corrbench.words import did_you_mean

GROUP = "corrbench.plugins"


@functools.cache
def load_all() -> tuple[str, ...]:
    """Import every installed plugin once and return their names; `ValueError` names the package whose import fails."""
    names = []
    for point in sorted(entry_points(group=GROUP), key=lambda p: p.name):
        try:
            point.load()
        except Exception as error:
            owner = point.dist.name if point.dist else "an unknown package"
            raise ValueError(
                f"the plugin {point.name!r} of {owner} ({point.value}) cannot be imported: "
                f"{type(error).__name__}: {error}; repair or uninstall {owner}"
            ) from error
        names.append(point.name)
    return tuple(names)


def folders(kind: str) -> list[Path]:
    """The folders that hold plugin files of `kind` (`methods` or `tasks`): here, this project's, installed packages'."""
    places = [Path.cwd() / kind, Path(__file__).parent.parent / kind]
    for point in entry_points(group=GROUP):
        spec = find_spec(point.value.partition(":")[0].partition(".")[0])
        places += [Path(p) / kind for p in (spec.submodule_search_locations or [])] if spec else []
    unique: list[Path] = []
    for place in places:
        if place.is_dir() and place.resolve() not in [u.resolve() for u in unique]:
            unique.append(place)
    return unique


def find(kind: str, name: str) -> Path:
    """The plugin file that `name` means: a path, or the stem of a file in one of `folders(kind)`."""
    if name.endswith(".py") or "/" in name:
        return Path(name)
    for folder in folders(kind):
        if (folder / f"{name}.py").is_file():
            return folder / f"{name}.py"
    return Path(kind) / f"{name}.py"


def files(kind: str) -> list[Path]:
    """Every plugin file of `kind`, the first of each name."""
    seen: dict[str, Path] = {}
    for folder in folders(kind):
        for path in sorted(folder.glob("*.py")):
            if not path.name.startswith("_"):
                seen.setdefault(path.stem, path)
    return list(seen.values())


def parse(path: Path) -> ast.Module:
    """The syntax tree of a plugin file, having checked that it holds literals and `dict(...)` only."""
    if not path.is_file():
        folder = path.parent
        known = sorted(str(p) for p in folder.glob("*.py")) if folder.is_dir() else []
        raise ValueError(f"{path}: there is no such file.{did_you_mean(str(path), known)}")
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except (SyntaxError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"{path}: is not valid Python: {error}") from None
    for node in ast.walk(tree):
        allowed = isinstance(node, _DATA_NODES) or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "dict"
            and not node.args
            and all(k.arg for k in node.keywords)
        )
        if not allowed:
            line = getattr(node, "lineno", 1)
            raise ValueError(
                f"{path}, line {line}: a plugin file holds data only (literals and dict(...)); "
                f"put code into an importable module and name it in custom_imports"
            )
    return tree


_DATA_NODES = (
    ast.Module, ast.Assign, ast.Expr, ast.Name, ast.Load, ast.Store, ast.Constant, ast.List, ast.Tuple, ast.Dict,
    ast.keyword, ast.UnaryOp, ast.USub, ast.UAdd, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Set,
)  # fmt: skip


def title(tree: ast.Module, path: Path) -> str:
    """The first line of the file's docstring, or its stem."""
    doc = ast.get_docstring(tree)
    return doc.strip().splitlines()[0] if doc else path.stem


def blocks(path: Path) -> dict[str, ast.expr]:
    """Top-level name -> expression of a plugin file, its bases included, without importing or executing anything."""
    tree = parse(path)
    found: dict[str, ast.expr] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node.value
    base = found.pop("_base_", None)
    names = [n.value for n in ast.walk(base) if isinstance(n, ast.Constant)] if base is not None else []
    for name in names:
        found = blocks(path.parent / str(name)) | found
    return found

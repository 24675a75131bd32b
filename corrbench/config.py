"""Plugin files as data: load them, override known keys, fill in class defaults, digest and compare them.

mmengine's `Config` reads the files (`_base_`, `_delete_`); what it does loosely is strict here: a file
with anything but literals and `dict(...)` is refused before it is read, an override of an unknown key is an error,
and the digest is of content with the defaults filled in (never of order, path or formatting).
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corrbench.plugins import parse, title
from corrbench.registry import BACKBONES, DATASETS, LOSSES, METHODS, STAGES, TASKS, lookup
from corrbench.words import did_you_mean

# A nested dict with a `type` is looked up by the key it stands under, so a config cannot name another registry's class.
NESTED = {"backbone": BACKBONES, "teacher": BACKBONES, "dataset": DATASETS, "loss": LOSSES, "losses": LOSSES,
          "contrast": STAGES}  # fmt: skip
# Where something lies on this host never changes a number, so it is no part of a digest.
HOST_KEYS = frozenset({"root"})
KNOWN_NAMES = frozenset(
    {"method", "task", "training", "ablations", "schedules", "custom_imports", "_base_", "_delete_"}
)


@dataclass(frozen=True)
class PluginFile:
    """One file of `methods/` or `tasks/`: its name (the stem), its title (the docstring's first line) and its data."""

    path: Path
    name: str
    title: str
    data: dict[str, Any]


def load(path: str | Path, want: str | None = None) -> PluginFile:
    """Read the plugin file `path`; `want` is `method` or `task`, the block it has to hold.

    Imports what `custom_imports` names. `ValueError` when the file is missing, is not data, has a top-level name that
    nothing reads, or lacks `want`.
    """
    from mmengine.config import Config

    path = Path(path)
    tree = parse(path)
    try:
        config = Config.fromfile(str(path), lazy_import=False, import_custom_modules=False)
    except (KeyError, FileNotFoundError, SyntaxError, TypeError) as error:
        raise ValueError(f"{path}: cannot be read as a config: {error}") from None
    data = config.to_dict()
    for name in data:
        if name not in KNOWN_NAMES:
            raise ValueError(
                f"{path}: nothing reads the name {name!r}.{did_you_mean(name, sorted(KNOWN_NAMES))}"
            )
    for module in data.pop("custom_imports", {}).get("imports", []):
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ValueError(
                f"{path}: custom_imports names {module!r}, which cannot be imported: {error}"
            ) from None
    if "schedules" in data:
        data["schedules"] = {
            name: _whole_schedule(path, data["schedules"], name) for name in data["schedules"]
        }
    if want is not None and not isinstance(data.get(want), dict):
        raise ValueError(f"{path}: expected a {want} file, that is one with `{want} = dict(type=...)`")
    return PluginFile(path, path.stem, title(tree, path), data)


def _whole_schedule(path: Path, schedules: Mapping[str, dict[str, Any]], name: str) -> dict[str, Any]:
    """The changes of schedule `name` on top of those of the schedule that its `_base_` names, if any."""
    whole: dict[str, Any] = {}
    line = [name]
    while True:
        whole = {key: value for key, value in schedules[line[-1]].items() if key != "_base_"} | whole
        base = schedules[line[-1]].get("_base_")
        if base is None:
            return whole
        if base not in schedules:
            raise ValueError(
                f"{path}: schedule {line[-1]!r} builds on {base!r}, which the file does not have."
                f"{did_you_mean(str(base), sorted(schedules))}"
            )
        if base in line:
            raise ValueError(
                f"{path}: schedules build on one another in a circle: {' -> '.join([*line, base])}"
            )
        line.append(base)


def resolve(registry: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with every default of its class filled in, nested parts too. Unknown keys and types are refused."""
    if "type" not in config:
        raise ValueError(f"a {registry.name} needs the key 'type', got the keys {sorted(config)}")
    target = lookup(registry, config["type"])
    parameters = inspect.signature(target).parameters
    for key in config:
        if key != "type" and key not in parameters:
            raise ValueError(
                f"{config['type']} has no setting {key!r}.{did_you_mean(key, sorted(parameters))}"
            )
    resolved: dict[str, Any] = {"type": config["type"]}
    for name, parameter in parameters.items():
        if name in config:
            resolved[name] = _nested(name, config[name])
        elif parameter.default is not parameter.empty:
            resolved[name] = _nested(name, parameter.default)
    return resolved


def _nested(name: str, value: Any) -> Any:
    if name in NESTED and isinstance(value, Mapping) and "type" in value:
        return resolve(NESTED[name], value)
    if name in NESTED and isinstance(value, list | tuple):
        return [_nested(name, item) for item in value]
    if isinstance(value, Mapping):
        return {key: _nested(key, item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def resolve_file(data: Mapping[str, Any]) -> dict[str, Any]:
    """The blocks of a plugin file, each resolved: `method`, `task`, `training` (a list of stages)."""
    resolved: dict[str, Any] = {}
    if "method" in data:
        resolved["method"] = resolve(METHODS, data["method"])
    if "task" in data:
        resolved["task"] = resolve(TASKS, data["task"])
    if "training" in data:
        resolved["training"] = [resolve(STAGES, stage) for stage in data["training"]]
    return resolved


def parse_override(text: str) -> tuple[str, Any]:
    """`key=value` as a dotted key and a Python value; `none`, `true`, `false` in any case; anything else is a string."""
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise ValueError(f"an override is key=value, such as method.backbone.depth=50, got {text!r}")
    words = {"none": None, "true": True, "false": False}
    value = value.strip()
    if value.lower() in words:
        return key.strip(), words[value.lower()]
    try:
        return key.strip(), ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key.strip(), value


def override(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a file's `data` with the dotted keys of `changes` set; only keys that exist once resolved are accepted.

    `training.1.global_weight` addresses the second stage. `ValueError` lists the known keys at the level that failed.
    """
    changed: dict[str, Any] = json.loads(json.dumps(data))
    # Types first: the settings that a key may name are those of the class that is going to be built.
    for key, value in sorted(changes.items(), key=lambda item: not item[0].endswith(".type")):
        known = resolve_file(changed)
        _check_known(known, key)
        _assign(changed, key.split("."), value, known)
    resolve_file(changed)
    return changed


def _check_known(known: Any, key: str) -> None:
    at: Any = known
    for depth, part in enumerate(key.split(".")):
        place = ".".join(key.split(".")[:depth]) or "the config"
        if isinstance(at, list):
            if not part.isdigit() or int(part) >= len(at):
                raise ValueError(
                    f"unknown key {key!r}: {place} is a list of {len(at)}, {part!r} is no index of it"
                )
            at = at[int(part)]
        elif isinstance(at, Mapping) and part in at:
            at = at[part]
        elif isinstance(at, Mapping):
            raise ValueError(
                f"unknown key {key!r}: {place} has no {part!r}.{did_you_mean(part, sorted(map(str, at)))}"
            )
        else:
            raise ValueError(f"unknown key {key!r}: {place} is {at!r}, which has no parts")


def _assign(data: Any, parts: list[str], value: Any, known: Any) -> None:
    head, rest = (int(parts[0]) if isinstance(data, list) else parts[0]), parts[1:]
    if not rest:
        data[head] = list(value) if isinstance(value, tuple) else value
        return
    if (
        isinstance(data, dict) and head not in data
    ):  # left to the class's default: write the default out, then change it
        data[head] = json.loads(json.dumps(known[head]))
    _assign(data[head], rest, value, known[head])


def canonical(value: Any) -> Any:
    """`value` as plain JSON data in which equal settings are equal text: no host keys, 1.0 as 1, tuples as lists."""
    if isinstance(value, Mapping):
        return {str(k): canonical(v) for k, v in value.items() if k not in HOST_KEYS}
    if isinstance(value, list | tuple):
        return [canonical(v) for v in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ValueError(f"a config holds numbers, text, lists and dicts only, got {value!r}")


def digest(value: Any) -> str:
    """sha256 of the canonical JSON of `value` (64 hex digits)."""
    text = json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> leaf of a nested config."""
    items: Iterable[tuple[Any, Any]]
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list) and any(isinstance(v, Mapping) for v in value):
        items = enumerate(value)
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in items:
        flat |= flatten(item, f"{prefix}.{key}" if prefix else str(key))
    return flat


def diff(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> (value in `a`, value in `b`) where two resolved configs differ; a missing key counts as None."""
    left, right = flatten(canonical(a)), flatten(canonical(b))
    return {
        key: (left.get(key), right.get(key))
        for key in sorted(left.keys() | right.keys())
        if left.get(key) != right.get(key)
    }

"""The seven registries, and `build`, the only way a config becomes an object.

mmengine's `Registry.build` imports and calls any dotted name it is given, so a config would be code. `build` here
accepts registered names only, and answers a typo with the nearest known names.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from mmengine.registry import Registry

from corrbench.words import did_you_mean

METHODS = Registry("method", locations=["corrbench.methods"])
BACKBONES = Registry("backbone", locations=["corrbench.backbones"])
STAGES = Registry("stage", locations=["corrbench.training"])
LOSSES = Registry("loss", locations=["corrbench.training"])
TASKS = Registry("task", locations=["corrbench.tasks"])
DATASETS = Registry("dataset", locations=["corrbench.datasets"])
METRICS = Registry("metric", locations=["corrbench.metrics"])

REGISTRIES = {r.name: r for r in (METHODS, BACKBONES, STAGES, LOSSES, TASKS, DATASETS, METRICS)}


def lookup(registry: Registry, name: object) -> Any:
    """The class or function registered as `name`; `ValueError` with the known names for anything else."""
    registry.import_from_location()
    if not isinstance(name, str) or name not in registry.module_dict:
        known = sorted(registry.module_dict)
        raise ValueError(f"{name!r} is not a registered {registry.name}.{did_you_mean(str(name), known)}")
    return registry.module_dict[name]


def build(registry: Registry, config: Mapping[str, Any], **given: Any) -> Any:
    """Call what `config["type"]` names in `registry` with the other entries of `config` and with `given`.

    `given` holds objects that a config cannot (built parts, devices, paths) and wins over the config's entry of the
    same name. `ValueError` for an unregistered type, an unknown argument or a missing one.
    """
    if "type" not in config:
        raise ValueError(f"a {registry.name} needs the key 'type', got the keys {sorted(config)}")
    target = lookup(registry, config["type"])
    arguments = {key: value for key, value in config.items() if key != "type"} | given
    parameters = inspect.signature(target).parameters
    for key in arguments:
        if key not in parameters:
            raise ValueError(f"{config['type']} has no setting {key!r}.{did_you_mean(key, list(parameters))}")
    missing = [
        name
        for name, p in parameters.items()
        if p.default is p.empty
        and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        and name not in arguments
    ]
    if missing:
        raise ValueError(
            f"{config['type']} needs {', '.join(repr(m) for m in missing)}, which the config lacks"
        )
    return target(**arguments)

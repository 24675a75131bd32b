"""Evaluate methods over a grid of protocols and switches, computing features and neighbours once.

Sequence by sequence: its features are made once a method and input size, its neighbours once a window, context and
normalisation (with the largest k that any setting asks for); every top-k, temperature and read-out is then only a gather.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from corrbench import api, config, runner
from corrbench.plan import Plan
from corrbench.record import Record
from corrbench.store import Store, default_folder, parse_size
from corrbench.words import did_you_mean

# Short names on the command line for what people call these switches.
SHORT = {"k": "topk", "T": "temperature", "r": "radius", "ctx": "context"}


def parse_over(texts: Sequence[str]) -> dict[str, list[Any]]:
    """`["protocol=stt,crw", "topk=5,10"]` as axis -> values; `radius=none` means no mask."""
    from dataclasses import fields

    from corrbench.protocol import Protocol

    known = [f.name for f in fields(Protocol) if f.name not in ("name", "version")] + ["protocol"]
    axes: dict[str, list[Any]] = {}
    for text in texts:
        name, separator, values = text.partition("=")
        name = SHORT.get(name.strip(), name.strip())
        if not separator or not values.strip():
            raise ValueError(f"--over {text}: write SWITCH=VALUE,VALUE,..., such as topk=5,10,20")
        if name not in known:
            raise ValueError(
                f"--over {text}: {name!r} is no switch of a protocol.{did_you_mean(name, known)}"
            )
        axes[name] = [config.parse_override(f"x={value}")[1] for value in values.split(",")]
    return axes


def settings(axes: Mapping[str, Sequence[Any]], *, one_at_a_time: bool = False) -> list[dict[str, Any]]:
    """The points of the grid, each a dict axis -> value; one axis at a time: around the method's own protocol."""
    if not one_at_a_time:
        return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    protocols = axes.get("protocol", [None])
    points: list[dict[str, Any]] = []
    for protocol in protocols:
        own = {} if protocol is None else {"protocol": protocol}
        points.append(own)
        points += [own | {name: v} for name, values in axes.items() if name != "protocol" for v in values]
    return points


def changes(point: Mapping[str, Any]) -> tuple[str | None, list[str]]:
    """A point of the grid as the `protocol` and `overrides` arguments of a run."""
    overrides = []
    for name, value in point.items():
        if name == "protocol":
            continue
        if name == "radius" and value is None:
            overrides.append("protocol.mask=none")
        else:
            overrides.append(f"protocol.{name}={value}")
    protocol = point.get("protocol")
    return (None if protocol is None else str(protocol)), overrides


def plans(
    methods: Sequence[str | Path], task: str | Path, points: Sequence[Mapping[str, Any]], **options: Any
) -> list[Plan]:
    """A plan for every method and point; points that come to one key (a switch at its own value) give one plan."""
    overrides = list(options.pop("overrides", ()))
    fixed = options.pop("protocol", None)
    found: dict[str, Plan] = {}
    for method in methods:
        for point in points:
            protocol, own = changes(point)
            plan = api.plan(method, task, protocol=protocol or fixed, overrides=[*overrides, *own], **options)
            found.setdefault(plan.key + plan.method_file.name, plan)
    return list(found.values())


def sweep(
    methods: Sequence[str | Path],
    task: str | Path,
    over: Mapping[str, Sequence[Any]] | Sequence[str],
    *,
    one_at_a_time: bool = False,
    cache: str | Path | None = None,
    cache_size: str | int = "20GiB",
    progress: Callable[[Plan, str], None] | None = None,
    **options: Any,
) -> list[Record]:
    """Run every method at every point of `over` and return the records; `options` are those of `plan`.

    `over` maps an axis (`protocol`, or a switch of `Protocol`) to its values. `cache` is where features and neighbours
    are kept, at most `cache_size`. Finished records are taken as they are.
    """
    axes = dict(over) if isinstance(over, Mapping) else parse_over(over)
    todo = plans(methods, task, settings(axes, one_at_a_time=one_at_a_time), **options)
    store = Store(Path(cache) if cache else default_folder(), parse_size(cache_size))
    return execute(todo, store, progress)


def execute(
    todo: Sequence[Plan], store: Store, progress: Callable[[Plan, str], None] | None = None
) -> list[Record]:
    """Run plans that share features: sequence by sequence, so that what is shared is still at hand."""
    for _, group in itertools.groupby(todo, key=lambda p: p.method_file.name):
        members = [p for p in group if runner.cached(p) is None]
        if not members:
            continue
        # One method object for all of them: its weights are loaded once.
        method = members[0].method
        if hasattr(method, "share"):
            method.share(store, k=max((p.protocol.topk or 0) for p in members))
        members = [replace(p, method=method) for p in members]
        for name in members[0].dataset.names():
            for plan in members:
                runner.predict(plan, names=[name])
                if progress:
                    progress(plan, name)
    return [runner.execute(plan) for plan in todo]

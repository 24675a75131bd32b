"""Evaluate methods over a grid of protocols and switches, computing features and neighbours once.

Sequence by sequence: its features are made once a method and input size, its neighbours once a window, context and
normalisation (with the largest top-k that any setting asks of them); every top-k, temperature and read-out is then only
a gather. The records are those that a run of each setting by itself writes, but for what they say of time.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from corrbench import api, config, runner
from corrbench.plan import Plan
from corrbench.protocol import FIELDS
from corrbench.record import Record
from corrbench.store import Store, default_folder, parse_size
from corrbench.words import did_you_mean

# Short names on the command line for what people call these switches.
SHORT = {"k": "topk", "T": "temperature", "r": "radius", "ctx": "context"}
AXES = ("protocol", *(name for name in FIELDS if name not in ("name", "version")))

Axes = Mapping[str, Any]
Point = dict[str, Any]


def parse_over(over: str | Iterable[str] | Axes) -> dict[str, list[Any]]:
    """`["protocol=stt,crw", "topk=5,10"]`, or a mapping of axes to values, as axis -> values.

    An axis is `protocol` or a switch of a protocol; given twice, its values add up. `ValueError` for any other.
    """
    if isinstance(over, Mapping):
        pairs = [(name, values) for name, values in over.items()]
    else:
        pairs = [_parse_axis(text) for text in ([over] if isinstance(over, str) else over)]
    axes: dict[str, list[Any]] = {}
    for given, values in pairs:
        name = SHORT.get(given, given)
        if name not in AXES:
            raise ValueError(
                f"--over {given}: {name!r} is no switch of a protocol.{did_you_mean(name, list(AXES))}"
            )
        several = list(values) if isinstance(values, list | tuple | range) else [values]
        if not several:
            raise ValueError(f"--over {given}: no values; write {given}=VALUE,VALUE,...")
        axes.setdefault(name, []).extend(several)
    return axes


def _parse_axis(text: str) -> tuple[str, list[Any]]:
    name, separator, values = text.partition("=")
    if not separator or not all(value.strip() for value in values.split(",")):
        raise ValueError(f"--over {text}: write SWITCH=VALUE,VALUE,..., such as topk=5,10,20")
    return name.strip(), [config.parse_override(f"x={value}")[1] for value in values.split(",")]


def settings(axes: Mapping[str, Sequence[Any]], *, one_at_a_time: bool = False) -> list[Point]:
    """The points of the grid, each a dict axis -> value; one axis at a time: around each protocol (or the method's own)."""
    if not one_at_a_time:
        return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    switches = [(name, value) for name, values in axes.items() if name != "protocol" for value in values]
    starts: list[Point] = [{"protocol": name} for name in axes.get("protocol", [])] or [{}]
    return [
        start | change for start in starts for change in ({}, *({name: value} for name, value in switches))
    ]


def changes(point: Mapping[str, Any], mask: str) -> tuple[str | None, list[str]]:
    """A point of the grid as the `protocol` and `overrides` arguments of a run, where the protocol's own mask is `mask`.

    `radius=none` is no mask. A radius under a protocol without a mask means the square one, and without a mask no
    radius matters, so it is left as it is.
    """
    point = dict(point)
    protocol = point.pop("protocol", None)
    if _none(point.get("radius", 0)) or _none(point.get("mask", "")):
        point["mask"] = "none"
    elif "radius" in point and mask == "none":
        point.setdefault("mask", "square")
    if point.get("mask", mask) == "none":
        point = {k: v for k, v in point.items() if k not in ("radius", "strict", "first_masked")}
    overrides = [f"protocol.{name}={value}" for name, value in point.items()]
    return None if protocol is None else str(protocol), overrides


def _none(value: Any) -> bool:
    return value is None or str(value).lower() == "none"


def plans(
    methods: Sequence[str | Path], task: str | Path, points: Sequence[Mapping[str, Any]], **options: Any
) -> list[Plan]:
    """A plan for every method and point; points that come to one key (a switch at its own value) give one plan."""
    overrides = list(options.pop("overrides", ()))
    fixed = options.pop("protocol", None)
    masks: dict[tuple[Any, Any], str] = {}  # of a method under a protocol, before the point's own switches
    found: dict[str, Plan] = {}
    for method, point in itertools.product(methods, points):
        start = (method, point.get("protocol") or fixed)
        if start not in masks:
            plain = api.plan(method, task, protocol=start[1], overrides=overrides, **options)
            masks[start] = plain.protocol.mask
        protocol, own = changes(point, masks[start])
        plan = api.plan(method, task, protocol=protocol or fixed, overrides=[*overrides, *own], **options)
        found.setdefault(f"{plan.method_file.name} {plan.key}", plan)
    return list(found.values())


def sweep(
    methods: str | Path | Sequence[str | Path],
    task: str | Path,
    over: str | Sequence[str] | Axes,
    *,
    one_at_a_time: bool = False,
    cache: str | Path | None = None,
    cache_size: str | int = "20GiB",
    progress: Callable[[Plan, str], None] | None = None,
    **options: Any,
) -> list[Record]:
    """Run every method at every point of `over` and return the records; `options` are those of `plan`.

    `over` maps an axis (`protocol`, or a switch of `Protocol`) to its values. `cache` is where features and neighbours
    are kept, at most `cache_size`. Finished records are taken as they are. `progress` is told of a plan and a sequence
    that is done.
    """
    several = [methods] if isinstance(methods, str | Path) else methods
    store = Store(Path(cache) if cache else default_folder(), parse_size(cache_size))
    points = settings(parse_over(over), one_at_a_time=one_at_a_time)
    todo = plans(several, task, points, **options)
    if train_missing(todo):
        todo = plans(several, task, points, **options)
    return execute(todo, store, progress)


def train_missing(todo: Sequence[Plan], say: Callable[[str], None] = print) -> bool:
    """Train what the plans lack, each method once; whether anything was trained (then plan again: keys are new)."""
    lacking = {plan.method_file.name: plan for plan in todo if plan.to_train}
    for plan in lacking.values():
        api.train(plan, progress=False, say=say)
    return bool(lacking)


def execute(
    todo: Sequence[Plan],
    store: Store,
    progress: Callable[[Plan, str], None] | None = None,
    done: Callable[[Record], None] | None = None,
) -> list[Record]:
    """Run plans that share features: sequence by sequence, so that what is shared is still at hand.

    `progress` is told of a plan and a sequence that is predicted, `done` of a record that is written. Either may raise
    to stop: what is finished is kept.
    """
    groups: dict[str, list[Plan]] = {}
    for plan in todo:
        groups.setdefault(_shared(plan), []).append(plan)
    for name, group in groups.items():
        members = [plan for plan in group if runner.cached(plan) is None]
        if not members:
            continue
        method = members[0].method  # one for all: its weights are loaded once
        if hasattr(method, "share"):
            method.share(
                store, [plan.protocol for plan in group]
            )  # of finished ones too: the same keys as before
        _predict([dataclasses.replace(plan, method=method) for plan in members], name, store, progress)
        for plan in members:
            record = runner.execute(plan)
            if done:
                done(record)
    return [runner.execute(plan) for plan in todo]


def _predict(
    members: Sequence[Plan], group: str, store: Store, progress: Callable[[Plan, str], None] | None
) -> None:
    """The sequences that no other process is at; then those, where `runner.predict` waits for it and looks after it."""

    def run(sequence: str) -> None:
        for plan in members:
            runner.predict(plan, names=[sequence])
            if progress:
                progress(plan, sequence)

    busy: list[str] = []
    for sequence in members[0].dataset.names():
        with store.claim(f"{group[:16]}-{sequence}") as ours:
            if ours:
                run(sequence)
            else:
                busy.append(sequence)
    for sequence in busy:
        run(sequence)


def _shared(plan: Plan) -> str:
    """Digest of what runs must have in common to go side by side: all but the protocol."""
    return config.digest(
        {
            "method": plan.resolved["method"] | {"protocol": None},
            "weights": plan.weights.sha256,
            "task": plan.task_file.name,
            "data": plan.dataset.digest(),
            "names": list(plan.dataset.names()),
            "numerics": plan.numerics.as_dict(),
        }
    )

"""What a run is going to be: files resolved, data found, protocol settled, weights identified, key and signature made."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corrbench import __version__, config, plugins, run_weights
from corrbench.protocol import Protocol, preset
from corrbench.provenance import Numerics
from corrbench.registry import DATASETS, METHODS, TASKS, build, lookup
from corrbench.run_weights import Weights
from corrbench.words import did_you_mean

BLOCKS = {"method": "method", "training": "method", "task": "task", "protocol": "protocol"}


@dataclass(frozen=True)
class Plan:
    """Everything about one run that is known before it starts."""

    method_file: config.PluginFile
    task_file: config.PluginFile
    given: dict[str, Any]
    resolved: dict[str, Any]
    method: Any
    task: Any
    protocol: Protocol
    weights: Weights
    numerics: Numerics
    key: str
    signature: str
    folder: Path
    notes: tuple[str, ...] = field(default=())
    training: dict[str, Any] = field(
        default_factory=dict
    )  # schedule, changes, seed, root and sample of its stages

    @property
    def to_train(self) -> tuple[str, ...]:
        """A line a stage that has to be trained before this can run."""
        return self.weights.to_train

    @property
    def title(self) -> str:
        """The method file's title; with weights that corrbench ships, it says so."""
        if not self.weights.variant:
            return self.method_file.title
        return f"{self.method_file.title.rstrip('.')}; corrbench's own weights {self.weights.name}, not the authors'"

    @property
    def dataset(self) -> Any:
        return self.task.dataset


def split_overrides(overrides: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`-o` texts as changes of the method file, the task file and the protocol."""
    changes: dict[str, dict[str, Any]] = {"method": {}, "task": {}, "protocol": {}}
    for text in overrides:
        key, value = config.parse_override(text)
        block = key.partition(".")[0]
        if block not in BLOCKS or "." not in key:
            raise ValueError(
                f"-o {text}: a key starts with method., task., training.N. or protocol.{did_you_mean(block, list(BLOCKS))}"
            )
        changes[BLOCKS[block]][key if block != "protocol" else key.partition(".")[2]] = value
    return changes


def settle_protocol(
    method_protocol: str | Mapping[str, Any],
    kind: str,
    *,
    name: str | None = None,
    task_changes: Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Protocol:
    """The protocol of a run: the preset, then the task's changes, then the method's own, then `-o protocol.*`.

    `name` (of `--protocol`) replaces the method's preset together with the method's own changes of it.
    """
    own: dict[str, Any] = {}
    if name is None and isinstance(method_protocol, Mapping):
        own = dict(method_protocol)
        name = own.pop("name", None)
        if name is None:
            raise ValueError(
                f"protocol=dict(...) of a method needs the key 'name' of a preset, got {sorted(own)}"
            )
    elif name is None:
        name = str(method_protocol)
    protocol = preset(name, kind)
    for step in (task_changes or {}, own, changes or {}):
        if step:
            protocol = protocol.replace(**step)
    return protocol


def build_task(
    task_config: Mapping[str, Any], data: Path | None, sample: bool
) -> tuple[Any, tuple[str, ...]]:
    """The task with its data set; the rendered benchmark in its place where the data are missing and `sample` is on."""
    from corrbench.datasets.roots import DataMissing
    from corrbench.datasets.synthetic import FOLDERS, synthetic_config

    dataset = dict(task_config["dataset"])
    if "root" not in inspect.signature(lookup(DATASETS, dataset.get("type"))).parameters:
        return build(TASKS, task_config), ()  # rendered, not read
    places = [str(data)] if data is not None else list(dict.fromkeys([None, dataset.get("root")]))
    missing: DataMissing | None = None
    for place in places:  # --data; else $CORRBENCH_DATA (which no root means), then the task file's own root
        try:
            return build(TASKS, dict(task_config) | {"dataset": dataset | {"root": place}}), ()
        except DataMissing as error:
            missing = missing or error
    assert missing is not None
    if not sample or dataset["type"] not in FOLDERS.values():  # some have no rendered stand-in
        raise missing
    note = (
        f"NO DATA: {missing}\n"
        "Going on with the small SYNTHETIC benchmark rendered on this machine; its numbers say nothing about "
        "the real data. --no-sample makes missing data an error."
    )
    return build(TASKS, dict(task_config) | {"dataset": synthetic_config(dataset)}), (note,)


def make(
    method: str | Path,
    task: str | Path,
    *,
    protocol: str | None = None,
    overrides: Sequence[str] = (),
    data: Path | None = None,
    sample: bool = True,
    numerics: Numerics | None = None,
    out: Path | str = "runs",
    weights: Weights | None = None,
    changes: Mapping[str, Any] | None = None,
    label: str | None = None,
    schedule: str | None = None,
    seed: int = 0,
) -> Plan:
    """Plan the run of a method file on a task file. Reads data lists and weight files, computes nothing.

    `overrides` are `-o` texts; `changes` further dotted changes of the method file (an ablation's); `weights` those of a
    training run, in place of the zoo's; `label` names the variant. `ValueError` for everything a user can mend.
    """
    plugins.load_all()
    method_file = config.load(plugins.find("methods", str(method)), "method")
    task_file = config.load(plugins.find("tasks", str(task)), "task")
    split = split_overrides(overrides)
    scheduled = schedule_changes(
        method_file, schedule
    )  # a schedule may change the method as well as its stages
    changed = split["method"] | dict(changes or {})
    method_data = config.override(method_file.data, scheduled | changed)
    training = {"changes": changed, "root": data, "sample": sample}
    task_data = config.override(task_file.data, split["task"])
    resolved_task = config.resolve(TASKS, task_data["task"])
    numerics = settle_path(numerics or Numerics())

    resolved_method, built_method = _resolved_and_built(method_data)
    built_task, notes = build_task(task_data["task"], data, sample)
    settled = settle_protocol(
        built_method.protocol,
        built_task.kind,
        name=protocol,
        task_changes=built_task.protocol,
        changes=split["protocol"],
    )
    if weights is None:
        weights = run_weights.settle(
            method_file.data,
            built_method.needs_checkpoint,
            schedule,
            seed,
            training | {"device": numerics.device},
        )
    backbone = method_data["method"].get("backbone", {})
    if (network := weights.network(backbone)) != backbone:  # they are of more than the method's backbone
        method_data["method"]["backbone"] = network
        resolved_method, built_method = _resolved_and_built(method_data)
    label = label or weights.variant or None
    dataset = built_task.dataset
    # What is resolved says the representation; the protocol and the weights' content have digest parts of their own.
    method_part = representation(resolved_method)
    task_part = {k: v for k, v in resolved_task.items() if k not in ("protocol", "dataset")}
    key = config.digest(
        {
            "method": method_part,
            "weights": weights.sha256,
            "task": task_part,
            "kind": built_task.kind,
            "protocol": settled.settings(),
            "data": dataset.digest(),
            "numerics": numerics.as_dict(),
        }
    )
    name = f"{method_file.name}{'-' + label if label else ''}"
    signature = "|".join(
        [
            f"{data_label(dataset)}@{dataset.digest()[:8]}",
            f"{task_file.name}.{built_task.kind}.v{built_task.version}",
            f"{name}@{config.digest(method_part)[:8]}",
            f"weights:{weights.words}",
            f"{settled.name}.v{settled.version}:{settled.signature()}",
            f"{numerics.signature()}",
            f"corrbench:{__version__}",
        ]
    )
    folder = Path(out) / task_file.name / f"{slug(name)}-{slug(settled.name)}-{key[:12]}"
    given = {
        "method": str(method_file.path.name),
        "task": str(task_file.path.name),
        "protocol": protocol,
        "overrides": list(overrides),
        "changes": dict(changes or {}),
        "label": label,
    }
    resolved = {"method": resolved_method, "task": resolved_task, "protocol": settled.settings()}
    return Plan(
        method_file, task_file, given, resolved, built_method, built_task, settled, weights, numerics, key, signature,
        folder, notes, training | {"schedule": schedule, "seed": seed},
    )  # fmt: skip


def _resolved_and_built(method_data: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """The method with every default filled in, and the method."""
    settings = method_data["method"]
    return config.resolve(METHODS, settings), build(METHODS, settings)


def representation(resolved_method: Mapping[str, Any]) -> dict[str, Any]:
    """What a resolved method is, without its protocol and its checkpoint's name, which a key has parts of their own for."""
    return {k: v for k, v in resolved_method.items() if k not in ("protocol", "checkpoint")}


def schedule_changes(file: config.PluginFile, schedule: str | None) -> dict[str, Any]:
    """The dotted changes of the method file's `schedule`; `ValueError` for one that it does not have."""
    known = file.data.get("schedules", {})
    if schedule is not None and schedule not in known:
        raise ValueError(f"{file.path} has no schedule {schedule!r}.{did_you_mean(schedule, sorted(known))}")
    return dict(known[schedule]) if schedule is not None else {}


def settle_path(numerics: Numerics) -> Numerics:
    """`numerics` with `auto` replaced by the implementation of the neighbour search that runs on that device here."""
    from dataclasses import replace

    from corrbench.propagation import choose_method

    return replace(numerics, path=choose_method(numerics.device, numerics.path))


def data_label(dataset: Any) -> str:
    """`DAVIS-2017 val`, with `, 10 of 30 sequences` where the data are a part, and `synthetic` where they are that."""
    present, official = len(dataset.names()), dataset.official
    part = f", {present} of {official} sequences" if present != official else ""
    synthetic = "synthetic: " if dataset.synthetic and "synthetic" not in dataset.name.lower() else ""
    return f"{synthetic}{dataset.name}{part}"


def slug(text: str) -> str:
    """`text` as part of a folder's name: letters, digits, dot and underscore, everything else one hyphen."""
    kept = "".join(c if c.isalnum() or c in "._" else "-" for c in text)
    return "-".join(part for part in kept.split("-") if part)

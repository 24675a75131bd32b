"""Which weights a run uses: a checkpoint of the zoo, the result of training here, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Weights:
    """Where a run's weights lie, their sha256, and what they are called. All None without weights.

    `trained` (stages, schedule, seed) is of weights of our own training. `variant` is appended to the name of a method that
    runs with them: of those that corrbench ships, and a schedule's name. `to_train` has a line a stage that is still
    missing; the run's key is final once they are trained.
    """

    name: str | None = None
    path: Path | None = None
    sha256: str | None = None
    licence: str | None = None
    trained: Mapping[str, Any] | None = None
    variant: str = ""
    to_train: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any] | None:
        """What a record keeps."""
        if self.name is None:
            return None
        trained = {"trained": dict(self.trained)} if self.trained else {}
        return {"name": self.name, "sha256": self.sha256, "licence": self.licence} | trained

    def network(self, backbone: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of the network that these weights are of, for a method with `backbone`: see `network_of`."""
        return network_of(self.trained["stages"], backbone) if self.trained else dict(backbone)

    @property
    def words(self) -> str:
        """What a signature says."""
        if self.to_train:
            return "to be trained"
        return self.sha256[:8] if self.sha256 else "none"


def settle(
    method_data: Mapping[str, Any],
    checkpoint: str | None,
    schedule: str | None,
    seed: int,
    training: Mapping[str, Any],
) -> Weights:
    """The weights of a method: trained under `schedule` where one is given, else the zoo's `checkpoint`, else none.

    `training` is what `cache.plan` is given besides: dotted `changes` on top of the schedule, `root`, `device`, `sample`.
    `ValueError` in one sentence where a checkpoint cannot be had; for a method with stages it also says how to train.
    """
    if schedule is not None:
        return _trained(method_data, schedule, seed, training)
    if checkpoint is None:
        return Weights()
    from corrbench import zoo

    try:
        found = zoo.locate(checkpoint)
    except zoo.CheckpointMissing as error:
        schedules = ", ".join(method_data.get("schedules", {}))
        if not method_data.get("training") or not schedules:
            raise
        raise ValueError(f"{error}; or train it here with --schedule ({schedules})") from None
    return Weights(checkpoint, found.path, found.sha256, found.licence, found.trained, variant=found.variant)


def _trained(
    method_data: Mapping[str, Any], schedule: str, seed: int, training: Mapping[str, Any]
) -> Weights:
    """Weights of our own training: those in the cache, or lines of what is still to train (`to_train`)."""
    from corrbench.training import cache

    stages = cache.plan(method_data, schedule=schedule, seed=seed, estimate=True, **training)
    changed = ", ".join(f"{k}={v}" for k, v in training["changes"].items() if k.startswith("training."))
    name = f"{schedule} schedule{' with ' + changed if changed else ''}, seed {seed}"
    if not all(stage.cached for stage in stages):
        lines = tuple(stage.line() for stage in stages if not stage.cached)
        return Weights(name=name, to_train=lines, variant=schedule)
    done = cache.train_missing(method_data, schedule=schedule, seed=seed, progress=False, **training)
    return replace(of_training(name, done), variant=schedule)


def of_training(name: str, trained: Any, ablation: str | None = None) -> Weights:
    """A training run's result (`training.cache.Trained`) as the weights of a run, with what a record keeps of it."""
    about = training_kept({**trained.info, "ablation": ablation})
    return Weights(name, trained.path, trained.sha256, "that of the training data", about)


def network_of(stages: Sequence[Mapping[str, Any]], backbone: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the network that the weights of the last of `stages` are of, for a method with `backbone`.

    It is that backbone, or, where the last stage leaves a `Whitened` network, that one whitened.
    """
    joined = _joined(stages[-1])
    if not joined or backbone["type"] == "Whitened":
        return dict(backbone)
    return {"type": "Whitened", "backbone": dict(backbone)} | joined


def _joined(stage: Mapping[str, Any]) -> dict[str, Any]:
    """What the map behind a stage's network joins, out of the stage's settings or of what a record keeps; or nothing.

    A stage `Whitening` leaves such a map, and so does one whose own backbone is `Whitened`.
    """
    settings = stage.get("settings", stage)
    backbone = settings.get("backbone", {})
    holder = backbone if backbone.get("type") == "Whitened" else settings
    joined = {key: holder[key] for key in ("layers", "means", "directions") if key in holder}
    return joined | {key: holder[key] for key in ("dropped", "centred", "adapted") if holder.get(key)}


def training_kept(about: Mapping[str, Any]) -> dict[str, Any]:
    """What a record keeps of a training run (`Trained.info`) or of a shipped file (`shipped.header`)."""
    keys = ("type", "digest", "updates", "data", "device", "sha256")
    stages = [{key: stage[key] for key in keys} | _joined(stage) for stage in about["stages"]]
    return {key: about[key] for key in ("schedule", "seed", "ablation", "synthetic")} | {"stages": stages}

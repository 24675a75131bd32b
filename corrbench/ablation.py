"""`corrbench ablate`: train what a method's ablations lack, evaluate each, and say how far each is from the full method.

Stages that ablations share are trained once. Everything is kept as it is made (stages by digest, records by key), so the
same command after an interruption goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corrbench import config, plan, plugins, run_weights
from corrbench.ablation_questions import asked
from corrbench.ablation_study import FULL, write
from corrbench.ablation_table import Row, rows_of
from corrbench.record import Record
from corrbench.registry import did_you_mean

if TYPE_CHECKING:
    from corrbench.training.cache import StagePlan, Trained

Say = Callable[[str], None]
Run = Callable[[plan.Plan], Record]


@dataclass(frozen=True)
class Variant:
    """The full method or one of its ablations, with one seed. `skipped` says why it cannot be trained, if it cannot."""

    name: str
    seed: int
    changes: dict[str, Any]
    stages: tuple[StagePlan, ...] = ()
    skipped: str | None = None


@dataclass(frozen=True)
class Ablation:
    """What `ablate` found: the table's rows, the records behind them, loud notes, and the files that were written."""

    method: str
    task: str
    schedule: str | None
    metric: str
    extent: str
    rows: tuple[Row, ...]
    records: dict[tuple[str, int], Record]
    notes: tuple[str, ...]
    files: tuple[Path, ...]


def changes_of(data: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    """The dotted changes of a method file's ablation `name`; none for None or the full method."""
    if name is None or name == FULL:
        return {}
    known = data.get("ablations", {})
    if name not in known:
        raise ValueError(f"{name!r} is no ablation of this method.{did_you_mean(name, [FULL, *known])}")
    return dict(known[name])


def variants(
    method: str | Path,
    *,
    only: Sequence[str] = (),
    seeds: int | Mapping[str, int] = 1,
    seed: int = 0,
    schedule: str | None = None,
    overrides: Sequence[str] = (),
    data: str | Path | None = None,
    sample: bool = True,
    device: str = "cpu",
    estimate: bool = True,
    fetch: bool = True,
) -> list[Variant]:
    """The full method and its ablations (`only`: some of them), each with its seeds and planned stages.

    `seeds` is how many, from `seed` on; or that by name, 1 for names it lacks. `ValueError` for unknown names.
    """
    from corrbench.training import cache

    plugins.load_all()
    file = config.load(plugins.find("methods", str(method)), "method")
    if not file.data.get("ablations"):
        raise ValueError(f"{file.path}: has no `ablations = {{...}}`, so there is nothing to ablate")
    given = plan.split_overrides(overrides)["method"]
    names = [FULL, *(n for n in only if n != FULL)] if only else [FULL, *file.data["ablations"]]
    counts = seeds if isinstance(seeds, Mapping) else dict.fromkeys(names, seeds)
    for name in counts:
        changes_of(file.data, name)
    found = []
    for name in dict.fromkeys(names):
        changes = given | changes_of(file.data, name)
        for number in range(seed, seed + counts.get(name, 1)):
            whole = cache.variant(file.data, schedule, changes)
            why = _lacking(whole, fetch) or _idle(whole, changes_of(file.data, name))
            stages: tuple[StagePlan, ...] = ()
            if why is None:
                stages = cache.plan(
                    file.data, schedule=schedule, changes=changes, seed=number, root=data, device=device, sample=sample,
                    estimate=estimate,
                )  # fmt: skip
            found.append(Variant(name, number, changes_of(file.data, name), stages, why))
    return found


def _lacking(data: Mapping[str, Any], fetch: bool) -> str | None:
    """The sentence about a teacher's checkpoint that is not on this machine; None where nothing is missing."""
    from corrbench import zoo

    for stage in data.get("training", []):
        name = stage.get("teacher_weights")
        if name and stage.get("updates", 1) > 0:
            try:
                zoo.locate(name, fetch=fetch)
            except zoo.CheckpointMissing as error:
                return str(error)
    return None


def _idle(data: Mapping[str, Any], changes: Mapping[str, Any]) -> str | None:
    """The sentence about changes of stages whose place a checkpoint of the zoo has taken; None where there are none."""
    from corrbench.training import cache

    if not data.get("training"):
        return None
    stages = cache.chain(data)
    first, settings = stages[cache.beginning([settings for _, settings in stages])]
    names = [key for key in changes if key.startswith("training.") and int(key.split(".")[1]) < first]
    if not settings.get("weights") or not names:
        return None
    return (
        f"stage {first} starts from the checkpoint {settings['weights']}, so {names[0]} changes nothing; "
        f"-o training.{first}.weights=None trains the stages before it"
    )


def describe(found: Sequence[Variant]) -> list[str]:
    """Lines for people: what would be trained, stages that are shared once, how long it takes, what is left out."""
    import math

    from corrbench.training import cache, speed

    stages = cache.unique([v.stages for v in found])
    missing = [s for s in stages if not s.cached]
    users: dict[str, list[str]] = {}
    for variant in found:
        for stage in variant.stages:
            users.setdefault(stage.digest, []).append(f"{variant.name} (seed {variant.seed})")
    lines = [
        f"{len(found)} variants, {len(stages)} stages, {len(stages) - len(missing)} of them trained already"
    ]
    lines += [f"{stage.line()}, for {_some(users[stage.digest])}" for stage in missing]
    total = sum(stage.seconds for stage in missing)
    if missing and not math.isnan(total):
        lines.append(f"training all of it takes about {speed.words(total)} on this machine")
    lines += [f"left out: {v.name}: {v.skipped}" for v in found if v.skipped and v.seed == found[0].seed]
    return lines


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def ablate(
    method: str | Path,
    task: str | Path,
    *,
    only: Sequence[str] = (),
    seeds: int | Mapping[str, int] = 1,
    seed: int = 0,
    schedule: str | None = None,
    protocol: str | None = None,
    overrides: Sequence[str] = (),
    data: str | Path | None = None,
    sample: bool = True,
    out: str | Path = "runs",
    device: str | None = None,
    autocast: str | None = None,
    compile: bool = False,
    memory: str | None = None,
    report: str | Path = "reports/ablation",
    progress: bool = True,
    say: Say = print,
    run: Run | None = None,
) -> Ablation:
    """Train and evaluate the full method and its ablations, and write the table and the report of all studies in `report`.

    A variant that cannot be trained (a teacher's checkpoint is missing, the loss became NaN) is in the table with its
    reason. `run` evaluates a plan (default: `runner.execute`); `say` is given progress lines.
    """
    from corrbench import api, runner
    from corrbench import scores as sc
    from corrbench.training import cache, loop

    where = api.numerics(device).device
    common: dict[str, Any] = {"schedule": schedule, "overrides": overrides, "data": data, "sample": sample}
    found = variants(method, only=only, seeds=seeds, seed=seed, device=where, estimate=progress, **common)
    for line in describe(found):
        say(line)
    file = config.load(plugins.find("methods", str(method)), "method")
    records: dict[tuple[str, int], Record] = {}
    reasons: dict[str, str] = {v.name: v.skipped for v in found if v.skipped}
    notes: dict[str, None] = {}
    for variant in found:
        if variant.skipped:
            continue
        try:
            trained, planned = trained_plan(
                variant, method, task, protocol=protocol, out=out, device=device, autocast=autocast, compile=compile,
                memory=memory, progress=progress, say=lambda text: None,
                label=f"{variant.name} {schedule or 'as-written'} s{variant.seed}", **common,
            )  # fmt: skip
        except loop.Diverged as error:
            reasons[variant.name] = f"seed {variant.seed}: {error}"
            say(f"{variant.name}, {reasons[variant.name]}")
            continue
        for text in (*trained.notes, *planned.notes):
            if text not in notes:
                say(text)
            notes[text] = None
        record = (run or runner.execute)(planned)
        records[variant.name, variant.seed] = record
        metric = sc.headline(record)
        say(f"{variant.name}, seed {variant.seed}: {metric} {record.summary[metric]:.1f}")
    if not any(name == FULL for name, _ in records):
        raise ValueError(
            f"{file.path}: the full method could not be trained ({reasons.get(FULL, 'no reason')})"
        )
    rows = rows_of(records, FULL, reasons, [v.name for v in found], asked(file.name))
    first = next(iter(records.values()))
    result = Ablation(
        file.name,
        first.task["name"],
        schedule,
        sc.headline(first),
        sc.extent(first),
        tuple(rows),
        records,
        tuple(notes),
        (),
    )
    stages = [
        s.folder for s in cache.unique([v.stages for v in found]) if (s.folder / "stage.json").is_file()
    ]
    given = plan.split_overrides(overrides)["method"]
    files = write(result, Path(report), stages, _settings(file.data, schedule, given))
    return Ablation(**{**vars(result), "files": tuple(files)})


def trained_plan(
    variant: Variant,
    method: str | Path,
    task: str | Path,
    *,
    label: str,
    schedule: str | None = None,
    overrides: Sequence[str] = (),
    data: str | Path | None = None,
    sample: bool = True,
    device: str | None = None,
    stages: AbstractContextManager[None] | None = None,
    progress: bool = True,
    say: Say = print,
    **settings: Any,
) -> tuple[Trained, plan.Plan]:
    """Train what a variant lacks and plan its evaluation with those weights; nothing is evaluated.

    `stages` is entered while training (it may say where stages are cached), `settings` are the rest of `api.plan`'s.
    `loop.Diverged` where the loss became NaN.
    """
    from corrbench import api
    from corrbench.training import cache

    file = config.load(plugins.find("methods", str(method)), "method")
    given = plan.split_overrides(overrides)["method"]
    with stages or nullcontext():
        trained = cache.train_missing(
            file.data, schedule=schedule, changes=given | variant.changes, seed=variant.seed, root=data,
            device=api.numerics(device).device, sample=sample, progress=progress, say=say,
        )  # fmt: skip
    scheduled = file.data.get("schedules", {}).get(schedule, {})  # a schedule may change the method too
    planned = api.plan(
        method, task, overrides=overrides, data=data, sample=sample, device=device, label=plan.slug(label),
        weights=weights_of(variant, trained), changes=scheduled | variant.changes, **settings,
    )  # fmt: skip
    return trained, planned


def _settings(data: Mapping[str, Any], schedule: str | None, given: Mapping[str, Any]) -> str:
    """Digest of what the variants are: the stages under a schedule, what is evaluated, and what each ablation changes."""
    from corrbench.training import cache

    changed = cache.variant(data, schedule, given)
    method = {k: v for k, v in changed["method"].items() if k != "checkpoint"}
    return config.digest(
        {"training": changed["training"], "method": method, "ablations": changed["ablations"]}
    )


def weights_of(variant: Variant, trained: Trained) -> run_weights.Weights:
    """A training run's weights as a run's plan takes them, named after the variant, schedule and seed."""
    name = f"{variant.name}, {trained.info['schedule'] or 'as written'} schedule, seed {variant.seed}"
    return run_weights.of_training(name, trained, None if variant.name == FULL else variant.name)

"""One seed of a study trained again, from nothing, in a cache of its own: does it give the score that the report has?"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from corrbench import api, runner
from corrbench import scores as sc
from corrbench.ablation import trained_plan, variants
from corrbench.ablation_study import FULL, Study, studies


@dataclass(frozen=True)
class SeedCheck:
    """The reported score of a variant and seed, the score of the run that was trained again, and all seeds' scores."""

    name: str
    seed: int
    metric: str
    reported: float
    again: float
    seeds: tuple[float, ...]
    same_weights: bool

    @property
    def holds(self) -> bool:
        """The same weights; or a score within two standard deviations of the reported seeds' mean (two seeds at least)."""
        if self.same_weights or len(self.seeds) < 2:
            return self.same_weights
        return abs(self.again - mean(self.seeds)) <= 2 * stdev(self.seeds)

    def line(self) -> str:
        """The result in one sentence."""
        spread = (
            f"{mean(self.seeds):.2f} ± {stdev(self.seeds):.2f}" if len(self.seeds) > 1 else "one seed only"
        )
        same = "the same weights to the last bit" if self.same_weights else "other weights"
        verdict = (
            "holds"
            if self.holds
            else "does NOT hold"
            if len(self.seeds) > 1
            else "cannot be told without more seeds"
        )
        return (
            f"{self.name}, seed {self.seed}, trained again: {self.metric} {self.again:.2f}, reported "
            f"{self.reported:.2f} (all seeds "
            f"{spread}); {same}: {verdict}"
        )


def check_seed(
    method: str | Path,
    task: str | Path,
    *,
    schedule: str | None,
    report: str | Path,
    name: str = FULL,
    seed: int = 0,
    overrides: Sequence[str] = (),
    protocol: str | None = None,
    data: str | Path | None = None,
    sample: bool = True,
    device: str | None = None,
    out: str | Path = "runs/check-seed",
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> SeedCheck:
    """Train variant `name` with `seed` again and evaluate it as the study in the folder `report` was.

    Stages are cached below `out`, apart from all others, so that an interrupted check goes on. `ValueError` where the
    report has no such run under the same conditions.
    """
    apart = Path(out).resolve() / "cache"
    common: dict[str, Any] = {"schedule": schedule, "overrides": overrides, "data": data, "sample": sample}
    with _cache_in(apart):
        (variant,) = [
            v
            for v in variants(
                method,
                only=[name],
                seed=seed,
                device=api.numerics(device).device,
                estimate=False,
                **common,
            )
            if v.name == name
        ]
    trained, planned = trained_plan(
        variant, method, task, label=f"{name} again s{seed}", protocol=protocol, out=out, device=device,
        stages=_cache_in(apart), progress=progress, say=say, **common,
    )  # fmt: skip
    made = runner.execute(planned)
    study = _study_of(Path(report), made, name, seed)
    reported = study.records[name, seed]
    return SeedCheck(
        name, seed, study.metric, reported.summary[study.metric], made.summary[study.metric],
        tuple(r.summary[study.metric] for (n, _), r in sorted(study.records.items()) if n == name),
        reported.data["checkpoint"]["sha256"] == trained.sha256,
    )  # fmt: skip


def _study_of(report: Path, made: Any, name: str, seed: int) -> Study:
    """The study with a run of that variant and seed under the conditions of `made`."""
    for study in studies(report):
        known = study.records.get((name, seed))
        same_schedule = study.schedule == made.data["checkpoint"]["trained"]["schedule"]
        if known is not None and same_schedule and sc.group_key(known) == sc.group_key(made):
            return study
    raise ValueError(
        f"{report} has no run of {name!r} with seed {seed} under the conditions of "
        f"{made.folder}; run `corrbench ablate` first"
    )


@contextmanager
def _cache_in(folder: Path) -> Iterator[None]:
    """Stages are looked for and kept below `folder` inside."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["XDG_CACHE_HOME"]
        else:
            os.environ["XDG_CACHE_HOME"] = before

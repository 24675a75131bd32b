"""Ablation results with numbers made up to order: records by variant and seed, and trained stages with their logs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from corrbench import record
from corrbench import scores as sc
from corrbench.ablation_study import FULL
from corrbench.ablation_table import rows_of
from corrbench.summary import summarise
from tests.fake_records import make_records

VARIANTS = {FULL: 0.0, "no global distillation": -1.0, "spatial step only": -9.0, "temporal step only": -4.0}
CHANGED = {"vos": ("J-Mean", "F-Mean"), "pose": ("hits@0.1", "hits@0.2"), "parts": ("intersection",)}


def result(
    root: Path, effects=None, seeds=None, *, kind="vos", sequences=10, official=30, synthetic=False, noise=0.3, wobble=0.2,
    reasons=None, notes=(), method="stt", schedule="medium", **how,
):  # fmt: skip
    """What `ablate` has when its runs are done: `effects` in points, `noise` over seeds, `wobble` over sequences."""
    effects = VARIANTS if effects is None else effects
    base = make_records(
        root / "base",
        kind=kind,
        methods=("stt",),
        sequences=sequences,
        official=official,
        synthetic=synthetic,
        **how,
    )[0]
    records = {}
    for name, points in effects.items():
        for seed in range((seeds or {}).get(name, 1)):
            records[name, seed] = _record(root / "runs", base, name, seed, points, noise, wobble, schedule)
    rows = rows_of(records, FULL, reasons or {}, [*effects, *(reasons or {})])
    first = next(iter(records.values()))
    return SimpleNamespace(
        method=method, task=first.task["name"], schedule=schedule, metric=sc.headline(first), extent=sc.extent(first),
        rows=tuple(rows), records=records, notes=tuple(notes),
    )  # fmt: skip


def _record(root, base, name, seed, points, noise, wobble, schedule):
    rng = np.random.default_rng([seed, *hashlib.sha256(name.encode()).digest()[:4]])
    table = base.scores()
    shift = points + rng.normal(0, noise)
    for column in [c for c in table if c in CHANGED[base.kind]]:
        own = {s: rng.normal(0, wobble) for s in dict.fromkeys(table["sequence"].tolist())}
        apart = (shift + np.array([own[s] for s in table["sequence"].tolist()])) / 100
        table[column] = table[column] + apart * table.get("count", table.get("union", np.ones(len(apart))))
    rows = [
        {c: (str(v[i]) if v.dtype.kind == "U" else float(v[i])) for c, v in table.items()}
        for i in range(len(table["sequence"]))
    ]
    key = hashlib.sha256(f"{base.key}{base.dataset}{name}{seed}{points}{schedule}".encode()).hexdigest()
    chain = [d for d in digests(name, seed) if d]
    data = base.data | {
        "key": key, "seed": seed, "summary": {k: float(v) for k, v in summarise(base.kind, table).items()},
        "signature": base.signature + f"|{name} {seed}",
        "method": base.data["method"] | {"name": f"stt-{name}-s{seed}".replace(" ", "-")},
        "checkpoint": {
            "name": f"{name}, seed {seed}", "sha256": key, "licence": "none",
            "trained": {
                "schedule": schedule, "seed": seed, "ablation": None if name == FULL else name, "synthetic": False,
                "stages": [{"type": t, "digest": d} for t, d in chain],
            },
        },
    }  # fmt: skip
    frames = [{"sequence": "a", "object": "1", "frame": "00001", "J": 0.5, "F": 0.5}]
    return record.write(root / base.task["name"] / key[:12], data, {"scores.csv": rows, "frames.csv": frames})


def digests(name, seed):
    """The stages of a variant: the spatial one is shared, unless the variant does without."""
    spatial = (
        None if name in ("temporal step only", "joint training") else ("Spatial", _digest("spatial", seed))
    )
    temporal = None if name == "spatial step only" else ("Temporal", _digest(name, seed))
    return spatial, temporal


def stages(root: Path, found, updates=3000) -> list[Path]:
    """Folders of the stages behind `found`, as the training cache has them."""
    made = {}
    for name, seed in found.records:
        for number, pair in enumerate(digests(name, seed)):
            if pair is not None and pair[1] not in made:
                made[pair[1]] = _stage(root / pair[1], *pair, number, name, seed, updates)
    return list(made.values())


def _stage(folder, kind, digest, number, name, seed, updates):
    folder.mkdir(parents=True)
    rng = np.random.default_rng([seed, int(digest[:6], 16)])
    losses = (
        {"contrast": 7.0}
        if kind == "Spatial"
        else {"reconstruction2": 0.5, "reconstruction3": 0.6, "local": 6.0}
    )
    if kind == "Temporal" and "global" not in name and name != "temporal step only":
        losses["global"] = 0.02
    lines = [",".join(["update", "lr", "updates_per_second", *losses])]
    for at in range(10, updates + 1, 10):
        fall = 0.3 + 0.7 * np.exp(-4 * at / updates)
        values = [f"{v * fall * (1 + 0.05 * rng.normal()):.6g}" for v in losses.values()]
        lines.append(",".join([str(at), "1e-4", f"{3 + 0.1 * rng.normal():.4g}", *values]))
    (folder / "log.csv").write_text("\n".join(lines) + "\n")
    about = {
        "digest": digest, "type": kind, "number": number, "seed": seed, "parent": None, "updates": updates,
        "settings": {"batch": 16, "dataset": {"type": "Videos", "folders": ["/home/me/DAVIS-train-256"]}},
        "data": {"name": "DAVIS-train-256", "synthetic": False}, "losses": losses, "updates_per_second": 3.0,
        "device": "cpu", "machine": {"cpu": "a processor", "gpu": None}, "git": {"commit": "b" * 40, "dirty": False},
        "sha256": digest,
    }  # fmt: skip
    (folder / "stage.json").write_text(json.dumps(about))
    return folder


def _digest(name, seed):
    return hashlib.sha256(f"{name}{seed}".encode()).hexdigest()

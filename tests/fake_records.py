"""Records with seeded numbers for tests of statistics and reports: shaped as the runner's, measured on
nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math

import numpy as np

from corrbench import record
from corrbench.protocol import preset
from corrbench.summary import summarise

JOINTS = ("neck", "belly", "face", "right shoulder", "left shoulder", "right hip", "left hip")
CLASSES = ("background", "hat", "hair", "face", "coat")
DATASETS = {
    "vos": ("DAVIS-2017 val", 30),
    "pose": ("JHMDB split1 test", 268),
    "parts": ("VIP val", 50),
}
TASKS = {"vos": "davis", "pose": "jhmdb", "parts": "vip"}


def make_records(
    root, *, kind="vos", methods=("hog", "lab", "dino"), protocols=("stt",), switches=None, sequences=8,
    synthetic=True, official=None, frames=12, seed=0, effect=None,
):  # fmt: skip
    """Records of methods x (protocols and one-switch changes of each) under `root`, read back from disk.

    `effect` maps a method's name to points added to all its numbers.
    """
    settings = []
    for name in protocols:
        base = preset(name, kind)
        settings.append(base)
        for key, values in (switches or {}).items():
            settings += [dataclasses.replace(base, **{key: value}) for value in values]
    made = []
    for method, protocol in itertools.product(methods, settings):
        made.append(
            _make(root, kind, method, protocol, sequences, synthetic, official, frames, seed, effect or {})
        )
    return made


def _make(root, kind, method, protocol, sequences, synthetic, official, frames, seed, effect):
    names = [f"clip-{i:02d}" for i in range(sequences)]
    quality = _random(method, seed).uniform(0.3, 0.7) + effect.get(method, 0.0) / 100
    quality += _random(protocol.signature(), seed).uniform(-0.1, 0.1)
    rng = _random(f"{method}{protocol.signature()}", seed)
    easy = {name: _random(name, seed).uniform(-0.3, 0.3) for name in names}
    rows, per_frame = {"vos": _vos, "pose": _pose, "parts": _parts}[kind](rng, names, easy, quality, frames)
    key = hashlib.sha256(f"{method}|{protocol.signature()}|{kind}|{seed}|{effect}".encode()).hexdigest()
    dataset, whole = DATASETS[kind]
    if synthetic:
        dataset, whole = "corrbench synthetic", sequences
    seconds = float(rng.uniform(1, 20))
    table = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    data = {
        "key": key,
        "signature": f"{dataset}@12345678|{TASKS[kind]}.{kind}.v1|{method}|weights:none|{protocol.signature()}|cpu",
        "created": "2026-01-01T00:00:00Z",
        "method": {"name": method, "title": f"{method.upper()} features", "digest": "1", "backbone": method.upper()},
        "task": {"name": TASKS[kind], "title": TASKS[kind].upper(), "kind": kind, "version": 1, "digest": "2"},
        "protocol": {
            "name": protocol.name, "version": protocol.version, "digest": "3",
            "signature": protocol.signature(), "settings": dataclasses.asdict(protocol),
        },
        "dataset": {
            "name": dataset, "sequences": sequences, "official": official or whole, "synthetic": synthetic,
            "digest": "12345678abcd", "licence": "CC0", "citation": "nobody, 2026", "url": "", "names": names,
        },
        "checkpoint": None,
        "given": {},
        "resolved": {"method": {"backbone": {"type": method.upper()}}, "task": {}, "protocol": {}},
        "numerics": {
            "device": "cpu", "dtype": "float32", "tf32": False, "autocast": None, "deterministic": True, "path": "native",
        },
        "versions": {"corrbench": "0.1.0", "torch": "2.5"},
        "git": {"commit": "0" * 40, "dirty": False},
        "machine": {"cpu": "a processor", "cores": 2, "gpu": None},
        "summary": {k: float(v) for k, v in summarise(kind, table).items()},
        "seed": None,
        "cost": {
            "seconds": seconds, "stages": {"features": seconds / 2, "propagate": seconds / 2},
            "frames": frames * sequences, "frames_per_second": frames * sequences / seconds, "peak_memory_mib": 200.0,
        },
    }  # fmt: skip
    folder = root / TASKS[kind] / f"{method}-{protocol.name}-{key[:12]}"
    return record.write(folder, data, {"scores.csv": rows, "frames.csv": per_frame})


def _random(words, seed):
    return np.random.default_rng([seed, *hashlib.sha256(words.encode()).digest()[:8]])


def _vos(rng, names, easy, quality, frames):
    rows, per_frame = [], []
    for index, name in enumerate(names):
        for number in range(1 + index % 2):
            base = quality + easy[name] + rng.normal(0, 0.05)
            decay = np.linspace(0.1, -0.1, frames)
            j, f = (np.clip(base + decay + rng.normal(0, 0.03, frames), 0, 1) for _ in range(2))
            rows.append({
                "sequence": name, "object": number + 1,
                "J-Mean": j.mean(), "J-Recall": (j > 0.5).mean(), "J-Decay": j[:3].mean() - j[-3:].mean(),
                "F-Mean": f.mean(), "F-Recall": (f > 0.5).mean(), "F-Decay": f[:3].mean() - f[-3:].mean(),
                "frames": frames,
            })  # fmt: skip
            per_frame += [
                {
                    "sequence": name,
                    "object": number + 1,
                    "frame": f"{t + 1:05d}",
                    "J": float(j[t]),
                    "F": float(f[t]),
                }
                for t in range(frames)
            ]
    return rows, per_frame


def _pose(rng, names, easy, quality, frames):
    rows, per_frame = [], []
    for name in names:
        truth = rng.uniform(50, 250, (len(JOINTS), 2))
        for number, joint in enumerate(JOINTS):
            spread = 0.12 * (1.3 - quality - easy[name])
            distance = np.abs(rng.normal(0, spread + 0.01, frames))
            row = {"sequence": name, "joint": joint, "count": frames, "annotated": frames + 1, "lost": 1}
            row |= {f"hits@{a}": int((distance <= a).sum()) for a in (0.1, 0.2, 0.3, 0.4, 0.5)}
            row |= {"count_no0": frames - 1}
            row |= {f"hits_annotated@{a}": row[f"hits@{a}"] for a in (0.1, 0.2, 0.3, 0.4, 0.5)}
            row |= {f"hits_no0@{a}": max(0, row[f"hits@{a}"] - 1) for a in (0.1, 0.2, 0.3, 0.4, 0.5)}
            rows.append(row)
            mirror = number + 1 if "right" in joint else number - 1
            for t in range(frames):
                goal = (
                    truth[mirror]
                    if ("right" in joint or "left" in joint) and rng.uniform() < 0.1
                    else truth[number]
                )
                x, y = goal + rng.normal(0, 5, 2)
                per_frame.append({
                    "sequence": name, "joint": joint, "frame": t, "distance": float(distance[t]) if t else math.nan,
                    "x": x, "y": y, "gt_x": truth[number][0], "gt_y": truth[number][1],
                })  # fmt: skip
    return rows, per_frame


def _parts(rng, names, easy, quality, frames):
    rows = []
    for name in names:
        for number, label in enumerate(CLASSES):
            union = int(rng.integers(500, 5000))
            share = np.clip(quality + easy[name] - 0.1 * number + rng.normal(0, 0.05), 0, 1)
            rows.append({
                "sequence": name, "class": label, "intersection": int(share * union), "union": union,
                "intersection_no0": int(share * union * 0.8), "union_no0": int(union * 0.9),
            })  # fmt: skip
    return rows, []

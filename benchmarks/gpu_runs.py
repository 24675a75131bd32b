"""Whole runs for benchmarks/gpu.py: a made-up data set in DAVIS's layout, and records of it by `corrbench.run`."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
METHOD, TASK = str(ROOT / "methods" / "random_resnet18.py"), str(ROOT / "tasks" / "davis.py")
SMALL = ("protocol.resize=short 64", "protocol.radius=2", "protocol.context=2", "protocol.topk=4")


def render(root: Path, sequences: int, frames: int, size: tuple[int, int]) -> Path:
    """Textured discs that drift over a drifting texture, JPEG frames and palette masks of two objects each."""
    from PIL import Image

    from corrbench.indexed_png import encode

    if (root / "ImageSets").exists():
        return root
    h, w = size
    names = [f"drift-{i:02d}" for i in range(sequences)]

    def one(number: int) -> None:
        rng = np.random.default_rng(number)
        cell = max(2, h // 30)
        texture = np.kron(rng.integers(0, 160, (2 * h // cell, 2 * w // cell, 3)), np.ones((cell, cell, 1)))
        discs = [
            (np.roll(texture[::-1, ::-1], 40 * i, axis=1) / 2 + 90, rng.uniform(0.3, 0.7, 2)) for i in (0, 1)
        ]
        y, x = np.mgrid[:h, :w]
        for part in ("JPEGImages", "Annotations"):
            (root / part / "480p" / names[number]).mkdir(parents=True, exist_ok=True)
        for t in range(frames):
            image, mask = texture[t : t + h, t : t + w].copy(), np.zeros((h, w), np.uint8)
            for i, (look, (cy, cx)) in enumerate(discs):
                shift = (-1) ** i * 2 * t
                inside = (y - cy * h) ** 2 + (x - cx * w - shift) ** 2 < (h / (5 + 2 * i)) ** 2
                image[inside] = np.roll(look, shift, axis=1)[:h, :w][inside]
                mask[inside] = i + 1
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(
                root / "JPEGImages" / "480p" / names[number] / f"{t:05d}.jpg", quality=90
            )
            (root / "Annotations" / "480p" / names[number] / f"{t:05d}.png").write_bytes(encode(mask))

    with ThreadPoolExecutor() as pool:
        list(pool.map(one, range(sequences)))
    (root / "ImageSets" / "2017").mkdir(parents=True)
    (root / "ImageSets" / "2017" / "val.txt").write_text("\n".join(names) + "\n")
    return root


def whole(device: str, toy: bool, out: Path) -> dict[str, Any]:
    """2,000 frames of 480p from JPEG files to scores, by stage; the first run (kernels are built) and a second."""
    data = _data(toy, out, many=True)
    found: dict[str, Any] = {}
    for turn in ("first", "second"):
        begun = time.perf_counter()
        record = _run(data, out / f"runs-{turn}", device, toy)
        found[f"{turn} run, seconds"] = time.perf_counter() - begun
    found |= {"frames": record.cost["frames"], "stages": record.cost["stages"], "cost": record.cost}
    found["summary"] = record.summary
    for turn in ("first", "second"):
        shutil.rmtree(out / f"runs-{turn}")
    return found


def agree(device: str, toy: bool, out: Path) -> dict[str, Any]:
    """One record on the GPU and on the CPU: every score, and the largest difference of J and F of any object and frame."""
    data = _data(toy, out, many=False)
    records = {where: _run(data, out / "runs-agree", where, toy) for where in dict.fromkeys((device, "cpu"))}
    rows = [record.frames() for record in records.values()]
    apart = {name: float(np.abs(rows[0][name] - rows[-1][name]).max()) for name in ("J", "F")}
    found = {
        "summary": {where: record.summary for where, record in records.items()},
        "paths": {where: record.numerics["path"] for where, record in records.items()},
        "largest difference of a frame": apart,
    }
    shutil.rmtree(out / "runs-agree")
    return found


def precision(device: str, toy: bool, out: Path) -> dict[str, Any]:
    """J&F with float32, bf16 and fp16 features on one set of frames, each compiled as well, and the seconds of the
    backbone: of a compiled one's first run, where it is compiled, and of its second.
    """
    data = _data(toy, out, many=False)
    found: dict[str, Any] = {}
    for autocast in (None, "bfloat16") if toy else (None, "bfloat16", "float16"):
        for compile in (False,) if toy else (False, True):
            runs = [
                _run(data, out / "runs-precision", device, toy, autocast=autocast, compile=compile)
                for _ in range(1 + compile)
            ]
            found[f"{autocast or 'float32'}{' compiled' * compile}"] = {
                "J&F": runs[-1].summary["J&F-Mean"],
                "seconds": [run.cost["stages"]["features"] for run in runs],
            }
    shutil.rmtree(out / "runs-precision")
    return found


def _data(toy: bool, out: Path, many: bool) -> Path:
    if toy:
        return render(out / "drift-toy", 1, 4, (48, 64))
    return render(
        out / f"drift-{'many' if many else 'few'}", 28 if many else 2, 72 if many else 30, (480, 854)
    )


def _run(data: Path, out: Path, device: str, toy: bool, **choices: Any) -> Any:
    from corrbench import api

    return api.run(
        METHOD,
        TASK,
        data=data,
        out=out,
        device=device,
        overrides=SMALL if toy else (),
        when="always",
        **choices,
    )

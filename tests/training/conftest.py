# ruff: noqa: C408 (settings read as they do in a method file)
"""Small stages on a small moving texture, so that a whole training run takes a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

SMALL = dict(type="ResNet", depth=18, width=8)
STUDENT = SMALL | dict(stem_pool=None, strides=(1, 2, 2, 4), layer=4)
TEACHER = SMALL | dict(stem_pool="max", strides=(1, 2, 2, 2), layer=4)


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`clips/<name>/%05d.jpg` of a texture that slides, and `photos/*.jpg` of several sizes."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for clip in range(3):
        coarse = Image.fromarray(rng.integers(0, 256, (14, 20, 3), dtype=np.uint8))
        texture = np.asarray(coarse.resize((160, 112), Image.Resampling.BICUBIC))
        folder = root / "clips" / f"clip{clip}"
        folder.mkdir(parents=True)
        for t in range(4 + clip):
            frame = texture[2 * t : 2 * t + 72, 3 * t : 3 * t + 128]
            Image.fromarray(frame).save(folder / f"{t:05d}.jpg", quality=95)
    (root / "photos" / "more").mkdir(parents=True)
    for number, size in enumerate([(40, 52), (61, 40), (48, 48), (50, 90), (44, 47)]):
        blobs = Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8))
        image = blobs.resize(size[::-1], Image.Resampling.BICUBIC)
        image.save(root / "photos" / ("more" if number % 2 else "") / f"{number}.jpg")
    return root


@pytest.fixture
def spatial(data_root: Path) -> dict[str, Any]:
    return dict(
        type="Spatial", backbone=TEACHER, dataset=dict(type="Photos", folders=["photos", "clips"], root=str(data_root)),
        updates=4, batch=4, queue=16, dim=16, crop=32, bn_groups=2, lr=0.03, key_momentum=0.9,
    )  # fmt: skip


@pytest.fixture
def temporal(data_root: Path) -> dict[str, Any]:
    return dict(
        type="Temporal", backbone=STUDENT, teacher=TEACHER,
        dataset=dict(type="Videos", folders=["clips"], root=str(data_root)),
        updates=4, batch=2, crop=64, radii=(4, 2), lr=1e-3,
    )  # fmt: skip

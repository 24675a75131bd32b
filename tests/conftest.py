"""What several tests share: a tiny DAVIS, the real data where they are, and a quiet machine."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corrbench.indexed_png import encode

# Triton decides when it is first imported, by whichever test, whether its kernels are interpreted on the CPU.
if not Path("/dev/nvidiactl").exists():
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(autouse=True)
def own_cache(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Tests see no data root and no checkpoint of the person who runs them, unless they ask for `real_data`."""
    if "real_data" not in request.fixturenames:
        monkeypatch.delenv("CORRBENCH_DATA", raising=False)
        monkeypatch.delenv("CORRBENCH_CHECKPOINTS", raising=False)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """`$CORRBENCH_DATA`, the folder with DAVIS, BADJA and JHMDB; skipped without it."""
    root = os.environ.get("CORRBENCH_DATA")
    if not root:
        pytest.skip(
            "real data are not here: set CORRBENCH_DATA to the folder that holds DAVIS, BADJA and JHMDB"
        )
    return Path(root)


def moving_squares(
    frames: int, size: tuple[int, int], objects: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Textured squares on a textured background, moving two pixels a frame: (T, h, w, 3) and index masks (T, h, w)."""
    rng = np.random.default_rng(seed)
    h, w = size
    back = np.kron(rng.integers(0, 120, (h // 4 + 1, w // 4 + 1, 3)), np.ones((4, 4, 1)))[:h, :w].astype(
        np.uint8
    )
    images, masks = [], []
    looks = rng.integers(100, 256, (objects, 4, 4, 3))
    for t in range(frames):
        image, mask = back.copy(), np.zeros((h, w), np.uint8)
        for i in range(objects):
            y, x, side = 6 + 20 * i, 4 + 2 * t + 9 * i, 16
            image[y : y + side, x : x + side] = np.kron(looks[i], np.ones((4, 4, 1)))
            mask[y : y + side, x : x + side] = i + 1
        images.append(image)
        masks.append(mask)
    return np.stack(images), np.stack(masks)


def write_davis(root: Path, *, frames: int = 4, size: tuple[int, int] = (48, 64)) -> Path:
    """A DAVIS folder with two val sequences by their official names: `bike-packing` (two objects), `blackswan` (one)."""
    (root / "ImageSets" / "2017").mkdir(parents=True)
    (root / "ImageSets" / "2017" / "val.txt").write_text("bike-packing\nblackswan\n")
    for number, (name, objects) in enumerate([("bike-packing", 2), ("blackswan", 1)]):
        images, masks = moving_squares(frames, size, objects, number)
        for part in ("JPEGImages", "Annotations"):
            (root / part / "480p" / name).mkdir(parents=True)
        for t in range(frames):
            Image.fromarray(images[t]).save(root / "JPEGImages" / "480p" / name / f"{t:05d}.jpg", quality=95)
            (root / "Annotations" / "480p" / name / f"{t:05d}.png").write_bytes(encode(masks[t]))
    return root


@pytest.fixture
def tiny_davis(tmp_path: Path) -> Path:
    """A fresh two-sequence DAVIS of four 48x64 frames each."""
    return write_davis(tmp_path / "DAVIS")

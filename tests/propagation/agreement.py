"""What "the same neighbours" means, random cases to test it on, and the golden files as protocols."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from corrbench.labels import encode_mask
from corrbench.propagation import Context, Neighbours, Window, choose_method
from corrbench.propagation.types import as_vectors
from corrbench.protocol import Protocol

GOLDEN = Path(__file__).parents[1] / "golden" / "propagation"
FILES = sorted(path.stem for path in GOLDEN.glob("*.npz"))
METHODS = ("tiled", "native")


def runs_here(method: str) -> bool:
    try:
        choose_method("cpu", method)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Case:
    """A random search: features with duplicates, ties and zeros, a window, a context."""

    seed: int
    features: Tensor
    window: Window
    context: Context
    k: int
    normalise: bool
    exact: bool  # products are small whole numbers, so every method must give the very same neighbours


def case(seed: int, largest: int = 40) -> Case:
    draw = random.Random(seed)
    h, w = draw.randint(5, largest), draw.randint(5, largest)
    channels = draw.choice([1, 2, 3, 7, 16, 33, 64, 100, 257, 300])
    frames = draw.randint(2, 7)
    generator = torch.Generator().manual_seed(seed)
    exact = seed % 3 == 0
    if exact:
        features = torch.randint(-2, 3, (frames, channels, h, w), generator=generator).float()
    else:
        features = torch.randn(frames, channels, h, w, generator=generator) * draw.choice([1e-3, 1.0, 30.0])
    if draw.random() < 0.3:
        features[draw.randrange(frames)] = features[draw.randrange(frames)]  # two frames alike
    if draw.random() < 0.3:
        features[:, :, draw.randrange(h)] = 0  # zero vectors
    if draw.random() < 0.3:
        features[..., w // 2 :] = features[..., :1]  # a flat region: ties everywhere
    if draw.random() < 0.05:
        features[:] = 1
    mask = draw.choice(["square", "circle", "none"])
    strict = draw.random() < 0.5
    radius = draw.choice([0, 1, 1.5, 2, 3, 5, 8, 12, 50])
    radius = max(radius, 1) if strict else radius
    window = Window(mask, radius, strict, draw.random() < 0.5)
    context = Context(draw.choice([0, 1, 2, 3, 5, 9]), draw.choice(["twice", "copies", "unique"]))
    return Case(
        seed,
        features,
        window,
        context,
        draw.choice([1, 2, 5, 10, 17]),
        not exact and draw.random() < 0.7,
        exact,
    )


def assert_same_neighbours(found: Neighbours, expected: Neighbours, case: Case) -> None:
    """Fail unless `found` is what `expected` is, up to the rounding of sums.

    Exact cases: bit for bit. Others, with a tolerance of 1e-5 of the largest possible product: similarities agree rank by
    rank; each key is a real one, named once, seen through the window, with the similarity it is said to have; rows
    are ordered by (similarity desc, index asc); and a key that no other one comes near has the very same place.
    """
    assert found.index.dtype == torch.int32
    assert found.similarity.dtype == torch.float32
    assert found.index.shape == expected.index.shape
    assert (found.grid, found.context) == (expected.grid, expected.context)
    if case.exact:
        assert torch.equal(found.similarity, expected.similarity)
        assert torch.equal(found.index, expected.index)
        return
    vectors = as_vectors(case.features, case.normalise)
    tolerance = 1e-5 * float(vectors.square().sum(dim=2).max())
    missing = expected.index < 0
    assert torch.equal(found.index < 0, missing)
    assert torch.equal(found.similarity == -torch.inf, missing)
    worst = (found.similarity - expected.similarity).masked_fill(missing, 0).abs().max()
    assert worst <= tolerance, f"case {case.seed}: similarities differ by {worst}"
    _assert_ordered(found)
    for t in range(1, len(vectors)):
        _assert_real(found, vectors, t, case, tolerance)
    clear = torch.ones_like(missing)
    near = (expected.similarity[..., :-1] - expected.similarity[..., 1:]).nan_to_num(0) <= 2 * tolerance
    clear[..., :-1] &= ~near
    clear[..., 1:] &= ~near
    clear[..., -1] = False  # the key that just failed to be found may be near
    assert torch.equal(found.index[clear], expected.index[clear])


def _assert_ordered(found: Neighbours) -> None:
    here, after = found.similarity[..., :-1], found.similarity[..., 1:]
    ascending = found.index[..., :-1] < found.index[..., 1:]
    assert ((here > after) | ((here == after) & (ascending | (found.index[..., 1:] < 0)))).all()


def _assert_real(found: Neighbours, vectors: Tensor, t: int, case: Case, tolerance: float) -> None:
    (h, w), slots = found.grid, torch.tensor(case.context.of(t))
    index = found.index[t - 1].long()
    there = index >= 0
    slot, cell = index.clamp_min(0) // (h * w), index.clamp_min(0) % (h * w)
    key = vectors[slots[slot], cell].double()
    true = (key * vectors[t][:, None].double()).sum(dim=2)
    assert ((true - found.similarity[t - 1]).masked_fill(~there, 0).abs() <= tolerance).all()
    seen = case.window.dense(h, w)[torch.arange(h * w)[:, None], cell]
    if case.window.sees_all(0):
        seen |= slot == 0
    assert (seen | ~there).all()
    named = index.sort(dim=1).values
    assert ((named[:, 1:] != named[:, :-1]) | (named[:, 1:] < 0)).all()


def golden(name: str) -> tuple[dict[str, np.ndarray], Protocol, Tensor]:
    """A golden file, its settings as a protocol, and its first label on the grid."""
    with np.load(GOLDEN / f"{name}.npz") as archive:
        data = dict(archive)
    common = {"topk": int(data["topk"]), "temperature": float(data["temperature"])}
    grid = data["features"].shape[2:]
    if name.startswith("crw"):
        protocol = Protocol(
            context=int(data["context"]), early="copies", mask="circle", radius=int(data["radius"]), strict=True,
            first_masked=False, down="bilinear", minmax=False, **common,
        )  # fmt: skip
    elif name.startswith("dino"):
        protocol = Protocol(
            context=int(data["context"]), early="unique", radius=int(data["radius"]), down="nearest",
            up="bilinear-nearest", **common,
        )  # fmt: skip
    else:
        protocol = Protocol(
            context=int(data["precede_frames"]), mask=str(data["mode"]), radius=int(data["neighbor_range"]) // 2,
            strict=str(data["mode"]) == "circle", first_masked=bool(data["first_masked"]), **common,
        )  # fmt: skip
    if "first_maps" in data:
        maps = torch.from_numpy(data["first_maps"])[None]
        first = torch.nn.functional.interpolate(maps, size=grid, mode="bilinear", align_corners=False)[0]
        return data, protocol.replace(minmax=False), first
    return data, protocol, encode_mask(data["first_label"], data["first_label"].shape, grid, protocol.down)

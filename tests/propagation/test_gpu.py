"""The GPU path against the dense definition: on the CPU through Triton's interpreter, on a GPU compiled (`-m gpu`)."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when the kernels are first imported, below

pytest.importorskip("triton")
from corrbench.propagation import gpu, reference
from corrbench.propagation.types import Context, Neighbours, Window

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True)
def few_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def agree(found: Neighbours, truth: Neighbours, tolerance: float = 2e-6) -> None:
    """The same similarities in order, and the same keys but for those within rounding of each other."""
    a, b = found.similarity.cpu(), truth.similarity
    assert torch.equal(torch.isinf(a), torch.isinf(b))
    scale = max(1.0, float(b[torch.isfinite(b)].abs().max())) if torch.isfinite(b).any() else 1.0
    assert (a - b).nan_to_num(0, 0, 0).abs().max() <= tolerance * scale
    differ = found.index.cpu() != truth.index
    assert int(differ.sum()) <= 0.002 * differ.numel()


def features(frames: int, channels: int, h: int, w: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(frames, channels, h, w, generator=torch.Generator().manual_seed(seed))


CASES = {
    "square, odd sizes": ((4, 20, 9, 19), Window("square", 3), Context(2, "twice"), 5, True),
    "circle, strict, frame 0 free, copies": (
        (4, 33, 10, 17),
        Window("circle", 4, True, False),
        Context(3, "copies"),
        10,
        True,
    ),
    "circle, inclusive, no duplicates": ((4, 16, 8, 16), Window("circle", 5), Context(2, "unique"), 7, True),
    "no mask": ((3, 300, 7, 9), Window("none"), Context(2, "unique"), 7, True),
    "frame 0 alone": ((3, 8, 6, 5), Window("square", 2), Context(0, "unique"), 3, True),
    "dot products": ((3, 24, 9, 9), Window("square", 3), Context(2, "twice"), 5, False),
    "one channel": ((3, 1, 6, 18), Window("square", 2), Context(1, "twice"), 4, True),
    "one cell": ((3, 5, 1, 1), Window("square", 2), Context(2, "twice"), 2, True),
    "fewer keys than k": ((3, 12, 3, 3), Window("square", 1), Context(1, "unique"), 20, True),
    "radius wider than the grid": ((3, 12, 5, 6), Window("circle", 40), Context(2, "twice"), 6, True),
    "many channels in chunks": ((2, 513, 4, 5), Window("square", 2), Context(1, "twice"), 4, True),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_switch_agrees_with_the_definition(case: tuple) -> None:
    shape, window, context, k, normalise = case
    given = features(*shape)
    found = gpu.neighbours(given.to(DEVICE), window, context, k, normalise=normalise)
    agree(found, reference.neighbours(given, window, context, k, normalise=normalise))


def test_ties_are_broken_by_index_and_what_overflows_is_redone() -> None:
    """Features of four directions only: hundreds of equal similarities a query, far more than the buffer holds."""
    directions = torch.eye(4)
    choice = torch.randint(0, 4, (3, 12, 20), generator=torch.Generator().manual_seed(1))
    given = directions[choice].permute(0, 3, 1, 2).contiguous()
    before = gpu.counts.redone
    found = gpu.neighbours(given.to(DEVICE), Window("square", 8), Context(2, "twice"), 10)
    truth = reference.neighbours(given, Window("square", 8), Context(2, "twice"), 10)
    assert gpu.counts.redone > before
    assert torch.equal(found.index.cpu(), truth.index)
    assert torch.equal(found.similarity.cpu(), truth.similarity)


def test_zero_features_are_all_ties() -> None:
    found = gpu.neighbours(
        torch.zeros(3, 4, 5, 6, device=DEVICE), Window("square", 2), Context(1, "twice"), 4
    )
    truth = reference.neighbours(torch.zeros(3, 4, 5, 6), Window("square", 2), Context(1, "twice"), 4)
    assert torch.equal(found.index.cpu(), truth.index)


def test_copies_of_a_frame_tie_exactly_and_stand_in_slot_order() -> None:
    found = gpu.neighbours(features(2, 16, 8, 9).to(DEVICE), Window("square", 3), Context(5, "copies"), 6)
    cells = 8 * 9
    assert torch.equal(found.index[0].cpu() // cells, torch.arange(6).expand(cells, 6).int())
    assert (found.similarity[0] == found.similarity[0, :, :1]).all()


def test_a_small_budget_changes_nothing() -> None:
    given = features(5, 8, 6, 7).to(DEVICE)
    whole = gpu.neighbours(given, Window("square", 2), Context(2, "twice"), 5)
    parts = gpu.neighbours(given, Window("square", 2), Context(2, "twice"), 5, budget=1)
    assert torch.equal(whole.index, parts.index)
    assert torch.equal(whole.similarity, parts.similarity)


def test_near_ties_below_fp16s_resolution_are_ordered_by_float32() -> None:
    """Keys that fp16 cannot tell apart: the certified bound has to keep them all for the float32 ranking."""
    base = torch.nn.functional.normalize(features(1, 32, 1, 1).flatten(), dim=0)
    generator = torch.Generator().manual_seed(3)
    noise = 1e-4 * torch.randn(2, 6, 7, 32, generator=generator)
    given = (base + noise).permute(0, 3, 1, 2).contiguous()
    found = gpu.neighbours(given.to(DEVICE), Window("square", 2), Context(1, "unique"), 5)
    vectors = torch.nn.functional.normalize(given.double().flatten(2).transpose(1, 2), dim=2)
    seen = Window("square", 2).dense(6, 7)
    exact = (vectors[1] @ vectors[0].T).masked_fill(~seen, -torch.inf).topk(5, dim=1).values
    assert (found.similarity[0].cpu().double() - exact).abs().max() < 3e-7


def test_features_that_are_not_finite_are_refused() -> None:
    given = features(2, 4, 3, 3)
    given[1, 2, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="features of frame 1 hold NaN"):
        gpu.neighbours(given.to(DEVICE), Window("square", 1), Context(1, "twice"), 2)


@pytest.mark.gpu
@pytest.mark.parametrize("normalise", [True, False])
def test_a_davis_frame_against_float64_on_a_gpu(normalise: bool) -> None:
    given = features(24, 256, 60, 107).cuda()
    found = gpu.neighbours(given, Window("square", 12), Context(20, "twice"), 10, normalise=normalise)
    vectors = given.double().flatten(2).transpose(1, 2)
    vectors = torch.nn.functional.normalize(vectors, dim=2) if normalise else vectors
    seen = Window("square", 12).dense(60, 107).cuda()
    keys = [(vectors[23] @ vectors[f].T).masked_fill(~seen, -torch.inf) for f in Context(20, "twice").of(23)]
    exact = torch.cat(keys, dim=1).topk(10, dim=1).values
    assert ((found.similarity[22].double() - exact).abs() <= 1e-6 * exact.abs().clamp_min(1)).all()


def test_the_kernels_compile_for_a_hopper_gpu(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """Without a GPU: Triton's compiler makes code with Hopper's matrix instruction. In a process without the interpreter."""
    import subprocess
    import sys

    code = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from corrbench.propagation import gpu_kernels as g
names = g.search.arg_names
kinds = {"half_ptr": "*fp16", "slack_ptr": "*fp32", "score_ptr": "*fp32"}
fixed = dict(STEPS=14, SHAPE=1, TY=8, TX=16, BN=64, BC=64, CHUNKS=1, CAP=128)
signature = {n: "constexpr" if n in fixed else kinds.get(n, "*i32" if n.endswith("_ptr") else "i32") for n in names}
made = compile(ASTSource(g.search, signature=signature, constexprs={(names.index(n),): v for n, v in fixed.items()}),
               target=GPUTarget("cuda", 90, 32), options={"num_warps": 8})
assert "wgmma" in made.asm["ptx"]
print("compiled", made.metadata.shared)
"""
    variables = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | {
        "TRITON_CACHE_DIR": str(tmp_path)
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=variables, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "compiled" in done.stdout

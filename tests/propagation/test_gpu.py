"""The GPU path against the dense definition: on the CPU through Triton's interpreter, on a GPU compiled (`-m gpu`)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when the kernels are first imported, below

pytest.importorskip("triton")
from corrbench import memory
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
    """Features of two directions only: hundreds of equal similarities a query, far more than the buffer holds."""
    directions = torch.eye(2)
    choice = torch.randint(0, 2, (2, 12, 13), generator=torch.Generator().manual_seed(1))
    given = directions[choice].permute(0, 3, 1, 2).contiguous()
    found = gpu.neighbours(given.to(DEVICE), Window("square", 8), Context(2, "twice"), 5)
    truth = reference.neighbours(given, Window("square", 8), Context(2, "twice"), 5)
    assert found.redone  # some, and counted
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


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("at_once", [1, 3])
def test_no_budget_changes_a_bit(normalise: bool, at_once: int) -> None:
    """Frames pass through the buffers in groups of at_once, features of four directions among them, which are redone."""
    given = features(6, 8, 6, 7) * torch.rand(6, 1, 6, 7, generator=torch.Generator().manual_seed(5))
    given[3] = (torch.arange(42) % 4 == torch.arange(8)[:, None]).float().view(8, 6, 7)
    window, context = Window("square", 5), Context(2, "twice")
    budget = memory.Clip(6, (6, 7), 8, 2, 5).search_bytes(at_once)
    whole = gpu.neighbours(given.to(DEVICE), window, context, 5, normalise=normalise)
    parts = gpu.neighbours(given, window, context, 5, normalise=normalise, budget=budget, device=DEVICE)
    assert torch.equal(whole.index, parts.index)
    assert torch.equal(whole.similarity, parts.similarity)
    assert whole.redone == parts.redone


def test_a_budget_that_holds_not_even_one_frame_says_what_is_needed() -> None:
    with pytest.raises(
        ValueError, match=r"9 frames on a grid of 60x80 with 64 channels needs .* 1 MiB is the limit"
    ):
        gpu.neighbours(features(9, 64, 60, 80), Window("square", 2), Context(2, "twice"), 5, budget=2**20)


@pytest.mark.parametrize("at_once", [1, 3])
def test_the_search_holds_no_more_than_the_model_says(at_once: int) -> None:
    """Every tensor alive at any moment, counted, against `Clip.search_bytes`; and the model is not far above."""
    given, window, context = features(7, 64, 5, 9), Window("square", 2), Context(2, "unique")
    clip = memory.Clip(7, (5, 9), 64, 2, 5)
    found, most = memory.peak(
        lambda: gpu.neighbours(given, window, context, 5, budget=clip.search_bytes(at_once))
    )
    assert torch.equal(found.index, gpu.neighbours(given, window, context, 5).index)
    assert 0.6 * clip.search_bytes(at_once) < most <= clip.search_bytes(at_once) + 2**16  # tables of entries


@pytest.mark.parametrize(
    ("grid", "frames"),
    [((60, 144), 104), ((135, 240), 70), ((135, 240), 1000)],
    ids=["1152 wide", "1080p", "long"],
)
def test_wide_and_large_frames_are_searched_in_8_gb(grid: tuple[int, int], frames: int) -> None:
    clip = memory.Clip(frames, grid, 256, 20, 10)
    at_once = clip.targets_at_once(8 * 10**9)
    assert at_once >= 8
    assert clip.search_bytes(at_once) <= 8 * 10**9


def test_out_of_memory_goes_on_with_half_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    given = features(7, 8, 6, 7)
    hold, sizes = gpu.Frames.hold, []

    def small(self, wanted):  # type: ignore[no-untyped-def]
        sizes.append(len(self.vectors))
        if len(self.vectors) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        hold(self, wanted)

    monkeypatch.setattr(gpu.Frames, "hold", small)
    with pytest.warns(RuntimeWarning, match="out of memory on .*: going on with [31] frames at once"):
        found = gpu.neighbours(given.to(DEVICE), Window("square", 2), Context(2, "twice"), 5)
    monkeypatch.setattr(gpu.Frames, "hold", hold)
    assert torch.equal(
        found.index, gpu.neighbours(given.to(DEVICE), Window("square", 2), Context(2, "twice"), 5).index
    )
    assert sizes[:3] == [7, 6, 4]


def certified(given: torch.Tensor, normalise: bool) -> tuple[float, float]:
    """Largest error of the fp16 scores (float32 sums) and the smallest certified bound, both of a single score."""
    held = gpu.Frames(given, normalise, torch.device(DEVICE), len(given))
    held.hold(range(len(given)))
    scale = held.scale()
    exact = given.double().flatten(2).transpose(1, 2)
    exact = exact / torch.linalg.vector_norm(exact, dim=2, keepdim=True).clamp_min(1e-300)
    size = torch.ones(1, dtype=torch.float64) if scale is None else scale.cpu().double()
    score = held.half[1].float().cpu() @ held.half[0].float().cpu().T
    score = score if scale is None else score * scale[0].cpu()
    wanted = exact[1] @ exact[0].T * (size if scale is None else size[0])
    error = (score.double() - wanted).abs().amax(dim=1)
    bound = held.slack()[1].cpu().double() / 2
    assert (error <= bound).all()
    return float(error.max()), float(bound[bound.isfinite()].max())


@pytest.mark.parametrize(
    "kind", ["random", "one direction", "dynamic range", "subnormal channels", "two scales"]
)
@pytest.mark.parametrize("normalise", [True, False])
def test_the_bound_holds_against_float64(kind: str, normalise: bool) -> None:
    given = features(2, 96, 7, 9, seed=7)
    if kind == "one direction":  # all rounding errors alike: the worst for a sum
        given = torch.ones(2, 96, 7, 9) * 0.3333 + 1e-5 * given
    if kind == "dynamic range":
        given = given * 10.0 ** torch.linspace(-9, 9, 63).view(7, 9)
    if kind == "subnormal channels":
        given = given * 10.0 ** torch.linspace(0, -9, 96).view(96, 1, 1)
    if kind == "two scales":
        given[:, :, 3] *= 1e-6
    error, bound = certified(given, normalise)
    assert error > bound / 100  # a bound that is not of this size would keep everything


@pytest.mark.parametrize("size", [1e-3, 1e-12, 1e-22, 1e15])
def test_dot_products_of_any_size_are_found(size: float) -> None:
    """Lengths over seven decades: fp16 alone could not hold them; where float32 itself underflows everything is redone."""
    given = features(3, 24, 7, 9, seed=2) * size * 10.0 ** torch.linspace(-7, 0, 63).view(7, 9)
    found = gpu.neighbours(given.to(DEVICE), Window("square", 2), Context(1, "twice"), 5, normalise=False)
    truth = reference.neighbours(given, Window("square", 2), Context(1, "twice"), 5, normalise=False)
    scale = truth.similarity.abs().amax(dim=2, keepdim=True)
    assert ((found.similarity.cpu() - truth.similarity).abs() <= 2e-6 * scale + 1e-44).all()


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


COMPILE = """
import sys
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from corrbench.propagation import gpu, gpu_kernels as g
def made(kernel, fixed, **options):
    names = kernel.arg_names
    kinds = {"half_ptr": "*fp16", "crowded_ptr": "*i8"} | dict.fromkeys(
        ("slack_ptr", "scale_ptr", "score_ptr", "vector_ptr", "similarity_ptr", "out_ptr"), "*fp32")
    signature = {n: "constexpr" if n in fixed else kinds.get(n, "*i32" if n.endswith("_ptr") else "i32") for n in names}
    constants = {(names.index(n),): v for n, v in fixed.items()}
    return compile(ASTSource(kernel, signature=signature, constexprs=constants), target=GPUTarget("cuda", 90, 32),
                   options=options)
for channels, block, chunks in ((256, 256, 1), (1024, 128, 8)):
    launch = gpu.Launch()
    fixed = dict(STEPS=14, SHAPE=1, SCALED=False, TY=8, TX=16, BN=launch.keys, BC=block, CHUNKS=chunks, CAP=128)
    search = made(g.search, fixed, num_warps=launch.warps, num_stages=launch.stages)
    assert "wgmma" in search.asm["ptx"]
    assert search.metadata.shared <= 227 * 1024, search.metadata.shared
made(g.compact, dict(STEPS=20, CAP=128, KEPT=64, BR=8), num_warps=4)
made(g.rank, dict(KEPT=64, BR=4, BC=32), num_warps=4)
made(g.measure, dict(SHAPE=2, BN=64, BC=32), num_warps=4)
made(g.choose, dict(SHAPE=2, BN=1024), num_warps=4)
print("compiled")
"""


def test_the_kernels_compile_for_a_hopper_gpu(tmp_path: Path) -> None:
    """Without a GPU: Triton's compiler makes code with Hopper's matrix instruction. In a process without the interpreter."""
    variables = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | {
        "TRITON_CACHE_DIR": str(tmp_path)
    }
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], capture_output=True, text=True, env=variables, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "compiled" in done.stdout

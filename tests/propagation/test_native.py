"""The compiled search: the same neighbours as the definition, the same bits in every form, and what happens without it."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from corrbench.propagation import Context, Neighbours, Window, choose_method, compiled, native, reference
from tests.propagation.agreement import Case, assert_same_neighbours, case

FLAGS_OF = {"native": set(), "avx2": {"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe"}, "baseline": set()}

needs_library = pytest.mark.skipif(not native.available(), reason="no C++ compiler on this machine")


def _processor_flags() -> set[str]:
    path = Path("/proc/cpuinfo")
    return set(path.read_text().split("\n\n")[0].split()) if path.exists() else set()


@pytest.fixture(params=sorted(FLAGS_OF))
def built_for(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each instruction set that this processor has."""
    if not FLAGS_OF[request.param] <= _processor_flags():
        pytest.skip(f"this processor cannot run {request.param!r}")
    monkeypatch.setenv("CORRBENCH_NATIVE", request.param)
    if not native.available():
        pytest.skip("no C++ compiler on this machine")
    return request.param


def _same(a: Neighbours, b: Neighbours) -> bool:
    return torch.equal(a.index, b.index) and torch.equal(a.similarity, b.similarity)


def _search(
    c: Case, *, pruned: bool | None = None, threads: int | None = None
) -> tuple[Neighbours, native.Counts]:
    return native.search(
        c.features, c.window, c.context, c.k, normalise=c.normalise, pruned=pruned, threads=threads
    )


def _reference(c: Case) -> Neighbours:
    return reference.neighbours(c.features, c.window, c.context, c.k, normalise=c.normalise)


def _smooth(frames: int, channels: int, h: int, w: int, seed: int = 0) -> torch.Tensor:
    """Features as networks make them: positive, smooth, few directions, a large common part."""
    generator = torch.Generator().manual_seed(seed)
    few = torch.randn(frames, 12, h // 4 + 1, w // 4 + 1, generator=generator).cumsum(0)
    mix = torch.randn(channels, 12, generator=generator)
    up = torch.nn.functional.interpolate(few, size=(h, w), mode="bilinear", align_corners=False)
    return (
        torch.einsum("cd,tdhw->tchw", mix, up)
        + 0.1 * torch.randn(frames, channels, h, w, generator=generator)
    ).relu() + 0.2


@pytest.mark.parametrize("seed", range(200, 224))
def test_agrees_with_the_definition(built_for: str, seed: int) -> None:
    c = case(seed, largest=24)
    expected = _reference(c)
    exact, _ = _search(c, pruned=False, threads=1)
    assert_same_neighbours(exact, expected, c)
    pruned, _ = _search(c, pruned=True, threads=2)
    assert _same(pruned, exact)


@needs_library
@pytest.mark.parametrize("seed", range(300, 306))
def test_similarities_are_those_of_float64(seed: int) -> None:
    c = case(seed, largest=12)
    found, _ = _search(c, threads=1)
    vectors = c.features.double().flatten(2).transpose(1, 2)
    if c.normalise:
        vectors = torch.nn.functional.normalize(vectors, dim=2)
    size = float(vectors.square().sum(dim=2).max())
    h, w = found.grid
    for t in range(1, len(vectors)):
        every = torch.stack([vectors[t] @ vectors[f].T for f in c.context.of(t)], dim=1)
        for slot in range(every.shape[1]):
            if not c.window.sees_all(slot):
                every[:, slot].masked_fill_(~c.window.dense(h, w), -torch.inf)
        best = every.flatten(1).sort(dim=1, descending=True).values[:, : c.k]
        best = torch.nn.functional.pad(best, (0, c.k - best.shape[1]), value=-torch.inf)
        torch.testing.assert_close(
            found.similarity[t - 1].double(), best, rtol=0, atol=1e-6 * max(size, 1e-30)
        )


@needs_library
@pytest.mark.parametrize("k", [1, 10, 64, 300])
def test_more_neighbours_than_keys(k: int) -> None:
    window, context = Window("circle", 2.5), Context(2, "unique")
    features = torch.randn(4, 70, 9, 11)
    exact, _ = native.search(features, window, context, k, pruned=False)
    pruned, _ = native.search(features, window, context, k, pruned=True)
    assert _same(pruned, exact)
    expected = reference.neighbours(features, window, context, k)
    assert torch.equal(exact.index < 0, expected.index < 0)
    assert (exact.similarity[exact.index < 0] == -torch.inf).all()
    assert bool((exact.index < 0).any()) == (k > 1)  # a corner sees 8 keys of frame 0


@needs_library
@pytest.mark.parametrize("pruned", [False, True])
def test_threads_change_no_bit(pruned: bool) -> None:
    features = _smooth(5, 96, 37, 41)
    window, context = Window("square", 6, first_masked=False), Context(3, "twice")
    one, counts = native.search(features, window, context, 10, pruned=pruned, threads=1)
    for threads in (2, 3, 7, 32):
        other, again = native.search(features, window, context, 10, pruned=pruned, threads=threads)
        assert _same(other, one)
        assert again == counts


@needs_library
@pytest.mark.parametrize(
    "change",
    [
        lambda x: x,
        lambda x: x.round(),
        lambda x: x * 1e-12,
        lambda x: x * 1e-21,
        lambda x: x * 1e12,
        lambda x: x * torch.logspace(-20, 3, x.shape[3]),
        lambda x: torch.where(torch.arange(x.shape[3]) < 20, x, 0),
        lambda x: torch.where(torch.arange(x.shape[3]) < 20, x, 1),
        lambda x: x[:1].expand_as(x),
        lambda x: x - x.mean(dim=(0, 2, 3), keepdim=True),
    ],
    ids=[
        "smooth",
        "whole",
        "small",
        "underflowing",
        "large",
        "all sizes",
        "zeros",
        "flat",
        "still",
        "centred",
    ],
)
@pytest.mark.parametrize("normalise", [True, False])
def test_pruning_changes_no_bit(change: Callable[[torch.Tensor], torch.Tensor], normalise: bool) -> None:
    features = change(_smooth(4, 150, 26, 37)).contiguous()
    window, context = Window("square", 9), Context(3, "twice")
    exact, _ = native.search(features, window, context, 10, normalise=normalise, pruned=False)
    pruned, counts = native.search(features, window, context, 10, normalise=normalise, pruned=True)
    assert _same(pruned, exact)
    assert counts.queries == 3 * 26 * 37


@needs_library
def test_queries_with_too_many_candidates_are_redone_and_counted() -> None:
    features = _smooth(3, 80, 40, 48)
    features[:, :, :, 24:] = features[:1, :, :1, :1]  # half of the frame is one and the same vector
    window, context = Window("square", 12), Context(2, "twice")
    pruned, counts = native.search(features, window, context, 10, pruned=True)
    assert 0 < counts.redone < counts.queries
    exact, none = native.search(features, window, context, 10, pruned=False)
    assert none.redone == 0
    assert _same(pruned, exact)
    flat = pruned.index[:, 10 * 48 + 40]  # far inside the flat half: the first ten keys in index order
    assert torch.equal(flat, flat.sort(dim=1).values)
    assert (flat < 40 * 48).all()


@needs_library
def test_copies_of_frame_0_tie_exactly_in_slot_order() -> None:
    features = torch.randn(3, 64, 12, 12)
    found = native.neighbours(features, Window("circle", 5, True, False), Context(6, "copies"), 21)
    slots, cells = found.index[0] // 144, found.index[0] % 144  # frame 1 sees seven copies of frame 0
    for i in range(144):
        for n in range(0, 14, 7):
            inside = cells[i, n : n + 7]
            if (inside == inside[0]).all():
                assert slots[i, n : n + 7].tolist() == list(range(7))
                assert found.similarity[0, i, n : n + 7].unique().numel() == 1
    assert (cells[:, :7] == cells[:, :1]).all(dim=1).any()


@needs_library
def test_bad_input_is_refused() -> None:
    good = torch.randn(3, 8, 6, 6)
    for bad in (torch.nan, torch.inf, 1e30):
        features = good.clone()
        features[2, 3, 1, 1] = bad
        with pytest.raises(ValueError, match="features of frame 2 hold NaN, infinity"):
            native.neighbours(features, Window(), Context(), 3)
    with pytest.raises(ValueError, match=r"features of shape \(8, 6, 6\)"):
        native.neighbours(good[0], Window(), Context(), 3)
    with pytest.raises(ValueError, match="k=0"):
        native.neighbours(good, Window(), Context(), 0)
    with pytest.raises(ValueError, match="threads=0"):
        native.neighbours(good, Window(), Context(), 3, threads=0)
    with pytest.raises(ValueError, match="features on meta"):
        native.neighbours(good.to("meta"), Window(), Context(), 3)
    assert native.neighbours(good[:1], Window(), Context(), 3).index.shape == (0, 36, 3)


@needs_library
def test_auto_takes_the_native_search() -> None:
    assert choose_method("cpu") == "native"


def test_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORRBENCH_NATIVE", "off")
    assert not native.available()
    assert choose_method("cpu") == "tiled"
    with pytest.raises(RuntimeError, match="use method='tiled'"):
        native.neighbours(torch.randn(2, 4, 5, 5), Window(), Context(), 1)
    monkeypatch.setenv("CORRBENCH_NATIVE", "sse9")
    with pytest.raises(
        ValueError, match="CORRBENCH_NATIVE='sse9': expected one of native, avx2, baseline, off"
    ):
        native.available()


@pytest.fixture
def nothing_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty cache, and no library loaded by tests before; the cache's folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CORRBENCH_NATIVE", "baseline")
    compiled.library.cache_clear()
    yield tmp_path / "cache" / "corrbench" / "native"
    compiled.library.cache_clear()


def test_without_a_compiler_one_line_is_logged(
    nothing_loaded: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with caplog.at_level(logging.WARNING):
        assert not native.available()
        assert not native.available()
        assert choose_method("cpu") == "tiled"
    assert [record.getMessage() for record in caplog.records] == [
        "native propagation is not available, the slower tiled path is used: "
        "no C++ compiler (g++, clang++, c++ or $CXX) was found"
    ]


def test_a_compiler_that_fails_is_not_fatal(
    nothing_loaded: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script = tmp_path / "broken"
    script.write_text(
        '#!/bin/sh\ncase "$*" in --version) echo broken 1.0;; *) echo no such thing >&2; exit 1;; esac\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CXX", str(script))
    with caplog.at_level(logging.WARNING):
        assert not native.available()
    assert "no such thing" in caplog.text
    assert list(nothing_loaded.iterdir()) == []


@needs_library
def test_a_cache_that_cannot_be_written(nothing_loaded: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert native.available()


@needs_library
def test_two_processes_compile_at_once(tmp_path: Path) -> None:
    program = (
        "from corrbench.propagation import native, Window, Context\n"
        "import torch\n"
        "torch.manual_seed(0)\n"
        "found = native.neighbours(torch.randn(2, 70, 9, 9), Window(), Context(), 3)\n"
        "print(int(found.index.sum()))"
    )
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": str(tmp_path),
        "CORRBENCH_NATIVE": "baseline",
        "OMP_NUM_THREADS": "1",
    }
    both = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert said[0] == said[1]
    assert said[0][1] == ""
    kept = list((tmp_path / "corrbench" / "native").iterdir())
    assert [path.suffix for path in kept] == [".so"]


def test_the_pruned_form_is_chosen_where_there_is_much_to_prune():
    davis, stt, short = (60, 107), Window("square", 12), Window("square", 6)
    assert native.pays(256, davis, stt, 21)
    assert native.pays(96, davis, stt, 21)
    assert native.pays(64, davis, Window("none"), 1)
    assert not native.pays(48, davis, stt, 21)
    assert not native.pays(64, davis, short, 8)
    assert not native.pays(512, davis, short, 2)
    assert not native.pays(256, (10, 10), Window("none"), 8)


@pytest.mark.parametrize(("channels", "leads"), [(12, 17), (20, 25), (30, 25), (200, 25), (201, 9)])
def test_more_coordinates_in_fp32_where_they_hold_the_energy(
    channels: int, leads: int, built_for: str
) -> None:
    """Features whose energy falls by the direction, and (201) features whose does not."""
    generator = torch.Generator().manual_seed(channels)
    falling = 0.8 ** torch.arange(channels) if leads > 9 else torch.ones(channels)
    mix, _ = torch.linalg.qr(torch.randn(channels, channels, generator=generator))
    features = torch.einsum(
        "cd,tdhw->tchw", mix * falling, torch.randn(4, channels, 19, 23, generator=generator)
    )
    window, context = Window("square", 5), Context(3, "unique")
    held = native.Packed(compiled.current(), features, True, True, 1, 1)
    assert held.codes - native.FACTS == leads
    exact, _ = native.search(features, window, context, 7, pruned=False)
    pruned, _ = native.search(features, window, context, 7, pruned=True)
    assert _same(pruned, exact)

"""Windows and contexts against their definitions, spelled out."""

from __future__ import annotations

import pytest
import torch

from corrbench.propagation import Context, Neighbours, Window


@pytest.mark.parametrize("mask", ["square", "circle"])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("radius", [1, 1.5, 2, 2.5, 5, 12, 12.3])
def test_a_window_sees_what_is_within_its_radius(mask, strict, radius):
    window = Window(mask, radius, strict)
    expected = []
    for dy in range(-14, 15):
        for dx in range(-14, 15):
            distance = max(abs(dy), abs(dx)) if mask == "square" else (dy * dy + dx * dx) ** 0.5
            if distance < radius or (not strict and distance == radius):
                expected.append([dy, dx])
    assert window.offsets().tolist() == expected


def test_key_counts_of_radius_12():
    """The same nominal 12 is 625 keys for STT and DINO, 441 for DINOv3, 437 for CRW and VFS."""
    assert len(Window("square", 12).offsets()) == 625
    assert len(Window("circle", 12).offsets()) == 441
    assert len(Window("circle", 12, strict=True).offsets()) == 437


@pytest.mark.parametrize(
    "window",
    [
        Window("square", 1),
        Window("circle", 2),
        Window("circle", 2, True),
        Window("square", 9),
        Window("none"),
    ],
)
def test_the_dense_mask_is_the_window_at_every_cell(window):
    h, w = 4, 6
    dense = window.dense(h, w)
    seen = None if window.mask == "none" else {tuple(o) for o in window.offsets().tolist()}
    for q in range(h * w):
        for k in range(h * w):
            offset = (k // w - q // w, k % w - q % w)
            assert bool(dense[q, k]) == (seen is None or offset in seen)


def test_contexts_of_the_papers():
    stt, crw, dino = Context(3, "twice"), Context(3, "copies"), Context(3, "unique")
    assert [stt.of(t) for t in (1, 2, 4)] == [(0, 0), (0, 0, 1), (0, 1, 2, 3)]
    assert [crw.of(t) for t in (1, 2, 4)] == [(0, 0, 0, 0), (0, 0, 0, 1), (0, 1, 2, 3)]
    assert [dino.of(t) for t in (1, 2, 4)] == [(0,), (0, 1), (0, 1, 2, 3)]
    assert stt.of(3) == (0, 0, 1, 2)
    assert stt.of(9) == crw.of(9) == dino.of(9) == (0, 6, 7, 8)
    assert Context(0, "twice").of(5) == (0,)
    assert len(Context(20, "copies").of(1)) == 21
    assert Context(20, "twice").of(1) == (0, 0)


def test_only_slot_0_is_exempt_from_the_mask():
    window = Window("circle", 12, strict=True, first_masked=False)
    assert [window.sees_all(slot) for slot in range(3)] == [True, False, False]
    assert not Window("circle", 12).sees_all(0)
    assert Window("none").sees_all(5)


def test_bad_values_are_named():
    with pytest.raises(ValueError, match="window mask='round'"):
        Window("round")
    with pytest.raises(ValueError, match="window radius=-1"):
        Window("square", -1)
    with pytest.raises(ValueError, match="window radius=nan"):
        Window("square", float("nan"))
    with pytest.raises(ValueError, match="leaves no key"):
        Window("circle", 0, strict=True)
    with pytest.raises(ValueError, match="context early='once'"):
        Context(3, "once")
    with pytest.raises(ValueError, match="context frames=-1"):
        Context(-1)
    with pytest.raises(ValueError, match="target frame 0"):
        Context().of(0)
    with pytest.raises(ValueError, match="has no half-widths"):
        Window("none").offsets()
    with pytest.raises(ValueError, match="expected twice"):
        Neighbours(torch.zeros(1, 5, 2, dtype=torch.int32), torch.zeros(1, 5, 2), (2, 3), Context())

"""carry() under every switch against the dense definition, and by hand on small cases."""

from __future__ import annotations

import itertools
from contextlib import contextmanager

import pytest
import torch

from corrbench.propagation import Context, Window, carry, neighbours, propagate, reference
from corrbench.protocol import Protocol, names, preset

GENERATOR = torch.Generator().manual_seed(5)
FEATURES = torch.randn(6, 20, 13, 17, generator=GENERATOR)
FEATURES[:, :, 3] = 0
FEATURES[2] = FEATURES[1]
LABEL = torch.rand(4, 13, 17, generator=GENERATOR)


def small(protocol: Protocol) -> Protocol:
    """The protocol with a window and a temperature that matter on these features."""
    changes: dict[str, object] = {} if protocol.mask == "none" else {"radius": 4}
    if not protocol.normalise:
        changes["temperature"] = 5.0
    return protocol.replace(**changes)


@pytest.mark.parametrize("name", names())
def test_every_preset_agrees_with_the_reference(name, method):
    protocol = small(preset(name))
    expected = reference.carry(FEATURES, LABEL, protocol)
    assert (carry(FEATURES, LABEL, protocol, path=method) - expected).abs().max() <= 1e-5


SWITCHES = list(
    itertools.product(
        [(10, "joint"), (3, "frame"), (None, "joint"), (None, "frame")],
        ["soft", "hard", "minmax"],
        ["twice", "copies", "unique"],
        [("square", True), ("circle", False), ("none", True)],
    )
)


@pytest.mark.parametrize("chosen", SWITCHES[::3], ids=str)
def test_combinations_of_switches_agree_with_the_reference(chosen):
    (topk, scope), stored, early, (mask, first_masked) = chosen
    protocol = Protocol(
        context=3, early=early, mask=mask, radius=3, first_masked=first_masked, topk=topk, topk_scope=scope,
        stored=stored,
    )  # fmt: skip
    expected = reference.carry(FEATURES, LABEL, protocol)
    assert (carry(FEATURES, LABEL, protocol, path="tiled") - expected).abs().max() <= 1e-5


def test_small_blocks_change_nothing(monkeypatch):
    from corrbench.propagation import blocks

    monkeypatch.setattr(blocks, "BLOCK", 20000)
    for topk, scope in [(3, "frame"), (None, "joint")]:
        protocol = Protocol(context=4, early="copies", mask="none", topk=topk, topk_scope=scope)
        expected = reference.carry(FEATURES, LABEL, protocol)
        assert (carry(FEATURES, LABEL, protocol, path="tiled") - expected).abs().max() <= 1e-5


def test_one_neighbour_copies_its_label():
    """A scene that moves one cell to the right: with k=1 every label moves with it."""
    colours = torch.randn(8, 6, 9, generator=torch.Generator().manual_seed(3))
    features = torch.stack([colours, colours.roll(1, dims=2), colours.roll(2, dims=2)])
    label = (torch.arange(9) == 4).float().expand(6, 9)[None]
    soft = carry(features, label, Protocol(topk=1, radius=2, context=1))
    for t in range(3):
        assert torch.equal(soft[t, 0], (torch.arange(9) == 4 + t).float().expand(6, 9))


def test_per_frame_weights_by_hand():
    """Two context frames, one cell each: softmax over a single key is 1, so the result is the mean of the labels."""
    features = torch.tensor([3.0, 1.0, 2.0]).reshape(3, 1, 1, 1)
    label = torch.tensor([[[0.25]], [[1.0]]])
    protocol = Protocol(
        context=5, early="unique", topk=1, topk_scope="frame", normalise=False, temperature=1.0
    )
    assert torch.allclose(carry(features, label, protocol), label.expand(3, 2, 1, 1))
    two = torch.tensor([[2.0, 0.0], [1.0, 1.0]]).reshape(2, 1, 1, 2)
    given = torch.tensor([[[1.0, 0.0]]])
    kept = torch.softmax(torch.tensor([2.0, 0.0]), dim=0)[0]  # top-1 after the softmax, not renormalised
    soft = carry(two, given, protocol.replace(mask="none"))
    assert torch.allclose(soft[1], kept.expand(1, 1, 2))


def test_all_keys_weigh_without_top_k():
    features = torch.tensor([[2.0, 0.0], [1.0, 0.0]]).reshape(2, 1, 1, 2)
    protocol = Protocol(context=0, early="unique", mask="none", topk=None, normalise=False, temperature=1.0)
    soft = carry(features, torch.tensor([[[1.0, 0.0]]]), protocol)
    assert torch.allclose(soft[1], torch.tensor([[[torch.e**2 / (torch.e**2 + 1), 0.5]]]))


def test_what_is_stored():
    label = torch.tensor([[[0.2, 0.5, 0.0]], [[0.6, 0.5, 0.0]]])
    assert reference.store(label, "soft") is label
    assert reference.store(label, "hard").tolist() == [[[0, 1, 1]], [[1, 0, 0]]]
    assert torch.allclose(reference.store(label, "minmax")[0], torch.tensor([[0.4, 1.0, 0.0]]))
    assert torch.equal(reference.store(torch.zeros(1, 2, 2), "minmax"), torch.zeros(1, 2, 2))
    with pytest.raises(ValueError, match="stored='all'"):
        reference.store(label, "all")


def test_any_smaller_k_and_any_temperature_follow_from_one_search():
    window, context = Window("square", 4), Context(3, "twice")
    found = neighbours(FEATURES, window, context, 10)
    for k, temperature in [(1, 0.07), (4, 0.5), (10, 0.01)]:
        protocol = Protocol(context=3, radius=4, topk=k, temperature=temperature)
        expected = reference.carry(FEATURES, LABEL, protocol)
        assert (propagate(found, LABEL, temperature, k) - expected).abs().max() <= 1e-5


def test_labels_of_a_class_do_not_depend_on_the_other_classes():
    protocol = Protocol(context=3, radius=4)
    every = carry(FEATURES, LABEL, protocol)
    one = carry(FEATURES, LABEL[2:3], protocol)
    assert torch.allclose(every[:, 2:3], one, atol=1e-6)


def test_one_frame():
    assert torch.equal(carry(FEATURES[:1], LABEL, Protocol()), LABEL[None])


@pytest.mark.parametrize("path", ["reference", "tiled"])
def test_stages_are_timed(path):
    seen = []

    @contextmanager
    def clock(stage):
        seen.append(stage)
        yield

    carry(FEATURES[:2], LABEL, Protocol(radius=2), path=path, clock=clock)
    assert seen == (["propagate"] if path == "reference" else ["neighbours", "propagate"])


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"first label of shape \(4, 13, 16\)"):
        carry(FEATURES, LABEL[..., :-1], Protocol())
    found = neighbours(FEATURES[:2], Window("square", 2), Context(1), 3)
    with pytest.raises(ValueError, match="topk=4: expected 1 to 3"):
        propagate(found, LABEL, 0.07, 4)
    with pytest.raises(ValueError, match="temperature=0"):
        propagate(found, LABEL, 0.0)
    with pytest.raises(ValueError, match=r"first label of shape \(13, 17\)"):
        propagate(found, LABEL[0], 0.1)

"""Presets, sizes, signatures and refusals of protocols."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest

from corrbench import protocol
from corrbench.protocol import CHOICES, FIELDS, KINDS, Protocol, preset, replace

ALL = [(name, kind) for name in protocol.names() for kind in KINDS]


def switches(name: str, kind: str, *fields: str) -> tuple[object, ...]:
    made = preset(name, kind)
    return tuple(getattr(made, field) for field in fields)


def test_the_papers_are_there():
    assert {"stt", "stt-s4", "vfs", "crw", "dino", "dinov3"} <= set(protocol.names())


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_every_preset_is_valid_and_named(name, kind):
    made = preset(name, kind)
    assert made.name == name
    assert Protocol(**made.settings()) == made


def test_masks_of_the_papers():
    fields = ("mask", "radius", "strict", "first_masked", "context", "early")
    assert switches("stt", "vos", *fields) == ("square", 12, False, True, 20, "twice")
    assert switches("stt", "pose", *fields) == ("square", 5, False, True, 20, "twice")
    assert switches("stt", "parts", *fields) == ("square", 16, False, True, 20, "twice")
    assert [preset("stt-s4", kind).radius for kind in KINDS] == [35, 12, 35]
    assert switches("vfs", "vos", *fields) == ("circle", 12, True, True, 20, "twice")
    assert switches("crw", "vos", *fields) == ("circle", 12, True, False, 20, "copies")
    assert [preset("crw", kind).context for kind in KINDS] == [20, 7, 4]
    assert switches("dino", "vos", *fields) == ("square", 12, False, True, 7, "unique")
    assert switches("dinov3", "vos", *fields) == ("circle", 12, False, True, 7, "unique")
    assert switches("siammae", "vos", *fields) == ("circle", 20, True, False, 20, "copies")
    assert preset("uvc").mask == preset("timecycle").mask == "none"


def test_weights_of_the_papers():
    fields = ("topk", "topk_scope", "temperature", "normalise", "stored", "minmax")
    assert switches("stt", "vos", *fields) == (10, "joint", 0.07, True, "soft", True)
    assert switches("stt", "pose", *fields) == (10, "joint", 0.07, True, "soft", False)
    assert switches("crw", "vos", *fields) == (10, "joint", 0.05, True, "soft", False)
    assert switches("dino", "vos", *fields) == (5, "joint", 0.1, True, "soft", True)
    assert switches("dinov3", "vos", *fields) == (5, "joint", 0.2, True, "soft", True)
    assert switches("uvc", "vos", *fields) == (5, "frame", 1.0, False, "soft", True)
    assert switches("uvc", "pose", *fields) == (20, "frame", 1.0, False, "minmax", True)
    assert switches("timecycle", "vos", *fields) == (5, "frame", 512**-0.5, True, "minmax", True)
    assert switches("mast-like", "vos", *fields) == (None, "joint", 1.0, False, "hard", False)
    assert switches("siammae", "vos", *fields) == (7, "joint", 0.7, True, "soft", False)


def test_joints_of_the_papers():
    fields = ("sigma", "sigma_in", "background", "decode_top", "decode_at", "score_first")
    assert switches("stt", "pose", *fields) == (4.0, "pixels", False, 5, "image", True)
    assert switches("crw", "pose", *fields) == (0.5, "cells", True, 3, "grid", False)
    assert switches("uvc", "pose", *fields) == (0.5, "cells", True, 5, "grid", False)
    assert switches("siammae", "pose", *fields) == (0.5, "cells", True, 5, "grid", False)


def test_frame_0_is_scored_in_parts_but_not_by_uvc():
    assert [preset(n, "parts").score_first for n in ("stt", "vfs", "crw", "uvc")] == [True, True, True, False]
    assert not any(preset(n, "vos").score_first for n in protocol.names())


@pytest.mark.parametrize(
    ("resize", "size", "expected"),
    [
        ("native", (480, 854), (480, 854)),
        ("native floor 4", (481, 854), (480, 852)),
        ("short 480", (480, 854), (480, 854)),
        ("short 480", (1080, 1920), (480, 853)),  # 853.33
        ("short 480", (480, 910), (480, 910)),
        ("short 480", (1000, 480), (1000, 480)),
        ("short 480 floor 64", (480, 854), (480, 832)),
        ("short 480 floor 64", (854, 480), (832, 480)),
        ("short 480 floor 64", (480, 480), (480, 448)),
        ("short 480 floor 64", (1080, 1920), (480, 832)),
        ("short 480 floor 32", (480, 854), (480, 832)),
        ("short 960 ceil 16", (480, 854), (960, 1712)),
        ("short 480 ceil 14", (480, 854), (490, 854)),
        ("square 560", (720, 1280), (560, 560)),
        ("exact 480x880", (480, 854), (480, 880)),
        ("long 880 floor 64", (720, 1280), (448, 880)),
        ("long 880 floor 64", (1280, 720), (880, 448)),
        ("short 3", (2, 3), (3, 5)),  # 4.5: halves go up
    ],
)
def test_input_sizes(resize, size, expected):
    assert Protocol(resize=resize).input_size(size) == expected


def test_floor_uses_exact_ratios():
    """640 x 480 / 480 is a multiple of 64 exactly; a float quotient may fall just below one."""
    for width in range(64, 2000, 64):
        assert Protocol(resize="short 480 floor 64").input_size((480 * 3, width * 3)) in [
            (480, width), (math.floor(480 * 1440 / (width * 3) / 64) * 64, 480),
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("multiple", "expected"),
    [(1, (480, 854)), (8, (480, 856)), (14, (476, 854)), (16, (480, 848))],
)
def test_a_backbones_own_multiple_rounds_to_the_nearest(multiple, expected):
    assert Protocol().input_size((480, 854), multiple=multiple) == expected
    assert Protocol(resize="square 5").input_size((10, 10), multiple=14) == (14, 14)


def test_sizes_that_vanish_are_refused():
    with pytest.raises(ValueError, match="makes 480x0 of a 480x40 frame: too small"):
        Protocol(resize="long 480 floor 64").input_size((480, 40))
    with pytest.raises(ValueError, match="frame size 0x5"):
        Protocol().input_size((0, 5))


def test_signatures_tell_any_change_of_a_switch():
    """No two protocols that differ in a field share name, version and signature."""
    base = Protocol()
    seen = {(base.name, base.version, base.signature())}
    others = {
        "name": "x", "version": 2, "context": 7, "radius": 12.000001, "strict": True, "first_masked": False,
        "normalise": False, "topk": None, "temperature": 0.0700000001, "minmax": False, "sigma": 4.0000001,
        "background": True, "decode_top": 3, "resize": "native", "score_first": True,
    }  # fmt: skip
    assert set(others) | set(CHOICES) == set(FIELDS)
    for field, value in others.items():
        made = base.replace(**{field: value})
        seen.add((made.name, made.version, made.signature()))
    for field, allowed in CHOICES.items():
        for value in allowed:
            made = base.replace(**{field: value})
            seen.add((made.name, made.version, made.signature()))
    changes = len(others) + sum(len(allowed) - 1 for allowed in CHOICES.values())
    assert len(seen) == 1 + changes
    assert "\n" not in base.signature()


def test_signature_of_stt():
    assert preset("stt").signature() == (
        "size:short 480|ctx:first+20 twice|mask:square<=12|l2:yes|top:10 joint|T:0.07|store:soft|"
        "down:nearest-nearest|up:bilinear|minmax:yes|joints:4px top5@image|frame0:unscored"
    )


def test_a_mask_of_none_has_no_radius_in_its_signature():
    assert "mask:none|" in preset("uvc").signature()


def test_texts_from_a_command_line_are_parsed():
    made = replace(
        Protocol(), topk="none", radius="7", strict="yes", minmax="false", context="3", temperature="0.2"
    )
    assert made == Protocol(topk=None, radius=7.0, strict=True, minmax=False, context=3, temperature=0.2)
    assert Protocol().replace(topk="all").topk is None
    assert Protocol().replace(topk=5.0).topk == 5


BAD = [
    ({"mask": "round"}, "protocol mask='round': expected one of square, circle, none"),
    ({"early": "once"}, "protocol early='once'"),
    ({"topk_scope": "all"}, "protocol topk_scope='all'"),
    ({"stored": "firm"}, "protocol stored='firm'"),
    ({"down": "cubic"}, "protocol down='cubic'"),
    ({"up": "cubic"}, "protocol up='cubic'"),
    ({"sigma_in": "inches"}, "protocol sigma_in='inches'"),
    ({"decode_at": "cell"}, "protocol decode_at='cell'"),
    ({"topk": 0}, "protocol topk=0: expected at least 1"),
    ({"topk": "few"}, "protocol topk='few': expected a whole number or none"),
    ({"topk": 2.5}, "protocol topk=2.5: expected a whole number or none"),
    ({"topk": True}, "protocol topk=True"),
    ({"context": -1}, "protocol context=-1: expected at least 0"),
    ({"context": None}, "protocol context=None: expected a whole number"),
    ({"radius": -0.5}, "protocol radius=-0.5: expected at least 0"),
    ({"radius": math.nan}, "protocol radius=nan: expected a finite number"),
    ({"radius": 0, "strict": True}, "leaves no key"),
    ({"temperature": 0}, "protocol temperature=0.0: expected a number above 0"),
    ({"temperature": math.inf}, "protocol temperature=inf: expected a finite number"),
    ({"sigma": -1}, "protocol sigma=-1.0: expected a number above 0"),
    ({"decode_top": 0}, "protocol decode_top=0"),
    ({"minmax": "maybe"}, "protocol minmax='maybe': expected true or false"),
    ({"strict": 1}, "protocol strict=1: expected true or false"),
    ({"resize": "480"}, "protocol resize='480': expected native"),
    ({"resize": "short 0"}, "protocol resize='short 0'"),
    ({"resize": "short 480 floor 0"}, "protocol resize='short 480 floor 0'"),
    ({"resize": 480}, "protocol resize=480: expected text"),
    ({"version": 0}, "protocol version=0"),
    ({"name": "a/b"}, "protocol name='a/b'"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=lambda value: str(value)[:40])
def test_bad_values_are_refused_with_field_value_and_remedy(changes, message):
    with pytest.raises(ValueError) as refused:
        replace(Protocol(), **changes)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_unknown_names_get_the_nearest_known_ones():
    with pytest.raises(ValueError, match=r"no protocol 'sst'.*Did you mean 'stt'"):
        preset("sst")
    with pytest.raises(ValueError, match="no kind of task 'masks'; known: vos, pose, parts"):
        preset("stt", "masks")
    with pytest.raises(ValueError, match=r"no field 'top_k'.*Did you mean 'topk'"):
        replace(Protocol(), top_k=3)


def test_a_protocol_is_a_value():
    assert hash(preset("stt")) == hash(preset("stt"))
    assert len({preset(name, kind) for name, kind in itertools.product(protocol.names(), ["vos"])}) == len(
        protocol.names()
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        preset("stt").topk = 3  # type: ignore[misc]

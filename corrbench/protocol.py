"""Protocol: the seven switches of label propagation, and presets by name (values: presets.py). Imports no torch.

Every released evaluation of video correspondence is one formulation: for a query cell q of frame t and the keys k of
its context frames that pass a mask, `weights = normalise(similarity(q, k) / temperature)` over the best `topk` keys,
and `label(q) = sum weights * label(k)`. What differs between papers, and moves the score by more than most methods do,
are the seven switches below. Radii are in cells of the feature map: a method of another stride sees another window in
pixels under the same protocol, so the signature states cells and the record states the stride.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass

from corrbench.presets import PRESETS
from corrbench.words import did_you_mean

KINDS = ("vos", "pose", "parts")
CHOICES: dict[str, tuple[str, ...]] = {
    "early": ("twice", "copies", "unique"),
    "mask": ("square", "circle", "none"),
    "topk_scope": ("joint", "frame"),
    "stored": ("soft", "hard", "minmax"),
    "down": ("nearest", "nearest-nearest", "nearest-exact", "bilinear", "bilinear-corners"),
    "up": ("bilinear", "bilinear-nearest", "bilinear-corners", "nearest"),
    "sigma_in": ("pixels", "cells"),
    "decode_at": ("image", "grid"),
}
_SIZE = re.compile(
    r"(?:(?P<native>native)|(?P<named>short|long|square) (?P<n>\d+)|exact (?P<h>\d+)x(?P<w>\d+))"
    r"(?: (?P<round>floor|ceil) (?P<multiple>\d+))?"
)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How labels are propagated, decoded and counted; immutable, compared by value.

    A ValueError names the field, the value and what is allowed. `name` and `version` are part of the record's digest:
    a preset whose settings change raises its `version`.
    """

    name: str = "custom"
    version: int = 1
    # 1 context: preceding frames besides frame 0, and what stands in for those before the clip (see types.Context)
    context: int = 20
    early: str = "twice"
    # 2 mask: which cells of a context frame a query sees; radius is a half-width in cells; strict: distance < radius
    mask: str = "square"
    radius: float = 12.0
    strict: bool = False
    first_masked: bool = True
    # 3 features
    normalise: bool = True
    # 4 top-k: None takes every key; "frame" takes them in each context frame after its softmax, not renormalised
    topk: int | None = 10
    topk_scope: str = "joint"
    # 5 weights are softmax(similarity / temperature)
    temperature: float = 0.07
    # 6 what is stored back as a context label
    stored: str = "soft"
    # 7 labels: codecs of labels.py; min-max of every map before the arg-max; joint heat maps and their read-out
    down: str = "nearest-nearest"
    up: str = "bilinear"
    minmax: bool = True
    sigma: float = 4.0
    sigma_in: str = "pixels"
    background: bool = False
    decode_top: int = 5
    decode_at: str = "image"
    # size of the network's input, see input_size()
    resize: str = "short 480"
    # whether frame 0 counts in the score, as that code has it
    score_first: bool = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _typed(field.name, getattr(self, field.name)))
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"protocol {name}={getattr(self, name)!r}: expected one of {', '.join(allowed)}"
                )
        if not self.name or not re.fullmatch(r"[\w.+-]+", self.name):
            raise ValueError(f"protocol name={self.name!r}: expected letters, digits and . + - _ only")
        _at_least("version", self.version, 1)
        _at_least("context", self.context, 0)
        _at_least("radius", self.radius, 0)
        if self.mask != "none" and self.strict and self.radius == 0:
            raise ValueError(
                "protocol radius=0 with strict=True leaves no key (distance < 0): raise the radius"
            )
        if self.topk is not None:
            _at_least("topk", self.topk, 1)
        _at_least("decode_top", self.decode_top, 1)
        for name in ("temperature", "sigma"):
            if not getattr(self, name) > 0:
                raise ValueError(f"protocol {name}={getattr(self, name)!r}: expected a number above 0")
        _parse_size(self.resize)

    def input_size(self, size: tuple[int, int], multiple: int = 1) -> tuple[int, int]:
        """Size (H, W) of the network's input for frames of size (h, w).

        `resize` is `native` | `short N` | `long N` (that side becomes N, the ratio is kept, halves round up) | `square N` |
        `exact HxW`, optionally with ` floor M` or ` ceil M`. `ceil M` raises both sides to a multiple of M. `floor M`
        lowers both, except that a side named by `short` or `long` stays as it is given and the other one is floored
        before rounding, as DINO's evaluation does (480x854 under `short 480 floor 64` is 480x832).
        `multiple` is what the backbone needs besides (a ViT's patch): each side goes to the nearest multiple, halves up.
        """
        match = _parse_size(self.resize)
        h, w = size
        if h < 1 or w < 1:
            raise ValueError(f"frame size {h}x{w}: expected at least 1x1")
        if match["native"]:
            sides, kept = [(h, 1), (w, 1)], None
        elif match["h"]:
            sides, kept = [(int(match["h"]), 1), (int(match["w"]), 1)], None
        elif match["named"] == "square":
            sides, kept = [(int(match["n"]), 1)] * 2, None
        else:
            kept = int((h > w) == (match["named"] == "short"))  # 0 the height, 1 the width
            base = (h, w)[kept]
            sides = [(h * int(match["n"]), base), (w * int(match["n"]), base)]
        floor_free = [kept == side and match["round"] == "floor" for side in (0, 1)]
        result = [
            _round(top, base, None if free else match["round"], int(match["multiple"] or 1))
            for (top, base), free in zip(sides, floor_free, strict=True)
        ]
        result = [
            max(1, (2 * side + multiple) // (2 * multiple)) * multiple if side else 0 for side in result
        ]
        if min(result) < 1:
            raise ValueError(
                f"resize={self.resize!r} makes {result[0]}x{result[1]} of a {h}x{w} frame: too small"
            )
        return result[0], result[1]

    def settings(self) -> dict[str, object]:
        """Every field by name, as plain values for a record."""
        return dataclasses.asdict(self)

    def replace(self, **changes: object) -> Protocol:
        """This protocol with some fields changed, see the function `replace`."""
        return replace(self, **changes)

    def signature(self) -> str:
        """Every switch on one line, without name and version; protocols that could differ in a number never share it."""
        mask = (
            "none"
            if self.mask == "none"
            else f"{self.mask}{'<' if self.strict else '<='}{_plain(self.radius)}"
        )
        exempt = "" if self.first_masked else " first-free"
        parts = (
            f"size:{self.resize}",
            f"ctx:first+{self.context} {self.early}",
            f"mask:{mask}{exempt}",
            f"l2:{'yes' if self.normalise else 'no'}",
            f"top:{'all' if self.topk is None else self.topk} {self.topk_scope}",
            f"T:{_plain(self.temperature)}",
            f"store:{self.stored}",
            f"down:{self.down}",
            f"up:{self.up}",
            f"minmax:{'yes' if self.minmax else 'no'}",
            f"joints:{_plain(self.sigma)}{'px' if self.sigma_in == 'pixels' else 'cell'}"
            f"{'+bg' if self.background else ''} top{self.decode_top}@{self.decode_at}",
            f"frame0:{'scored' if self.score_first else 'unscored'}",
        )
        return "|".join(parts)


FIELDS = tuple(field.name for field in dataclasses.fields(Protocol))
_INTS, _FLOATS = ("version", "context", "topk", "decode_top"), ("radius", "temperature", "sigma")
_BOOLS = ("strict", "first_masked", "normalise", "minmax", "background", "score_first")


def names() -> tuple[str, ...]:
    """Names of the presets."""
    return tuple(PRESETS)


def preset(name: str, kind: str = "vos") -> Protocol:
    """The protocol that a paper's released code used for a kind of task.

    Where a source has no value for poses or parts, its VOS value stands, with STT's joint codec.

    * `stt`, `stt-s4`: Spa-then-Temp (CVPR 2023) at stride 8 and 4.
    * `vfs`: its VOS test; no pose or part configuration was released, input sizes are STT's (same data code).
    * `crw`: Contrastive Random Walk; radius and temperature of poses and parts are its README's.
    * `dino`, `dinov3`: the VOS script and the tracking notebook; no poses or parts.
    * `uvc`: UVC master, poses its `jhmdb` branch. Its parts used the previous frame alone; here frame 0 is always context.
    * `timecycle`: TimeCycle's VOS script; no poses or parts here.
    * `mast-like`: MAST's switches with the last three frames as context. MAST's own spread (frames 0 and 5 and t-1, t-3,
      t-5, with a search for far ones) cannot be expressed; no poses or parts.
    * `siammae`: the 480x880 line of evaluations (SiamMAE, CropMAE, T-CoRe). Those score against ground truth that was
      itself resized to 480x880; scores here are at the original size.
    """
    if name not in PRESETS:
        raise ValueError(f"no protocol {name!r}.{did_you_mean(str(name), list(PRESETS))}")
    if kind not in KINDS:
        raise ValueError(f"no kind of task {kind!r}; known: {', '.join(KINDS)}")
    values = PRESETS[name]
    return Protocol(name=name, **(values["vos"] | values.get(kind, {})))  # type: ignore[arg-type]


def replace(protocol: Protocol, **changes: object) -> Protocol:
    """The protocol with some fields changed; text is parsed (`topk="none"`), an unknown field is a ValueError."""
    for key in changes:
        if key not in FIELDS:
            raise ValueError(f"a protocol has no field {key!r}.{did_you_mean(key, list(FIELDS))}")
    return dataclasses.replace(protocol, **changes)  # type: ignore[arg-type]


def _plain(number: float) -> str:
    """A float as its shortest exact text, whole ones without the point."""
    return repr(number).removesuffix(".0")


def _at_least(name: str, value: float, low: float) -> None:
    if value < low:
        raise ValueError(f"protocol {name}={value!r}: expected at least {low}")


def _typed(name: str, value: object) -> object:
    """The value as its field's type: numbers and yes/no may come as text from a command line."""
    if name in _BOOLS:
        if isinstance(value, str) and value.lower() in ("true", "false", "yes", "no"):
            return value.lower() in ("true", "yes")
        if isinstance(value, bool):
            return value
        raise ValueError(f"protocol {name}={value!r}: expected true or false")
    if name == "topk" and (value is None or (isinstance(value, str) and value.lower() in ("none", "all"))):
        return None
    if value is None and "none" in CHOICES.get(name, ()):  # how `mask=none` arrives from a command line
        return "none"
    if name in _INTS or name in _FLOATS:
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            number = math.nan
        if isinstance(value, bool) or not math.isfinite(number) or (name in _INTS and number != int(number)):
            kind = "a whole number" if name in _INTS else "a finite number"
            raise ValueError(
                f"protocol {name}={value!r}: expected {kind}{' or none' if name == 'topk' else ''}"
            )
        return int(number) if name in _INTS else number
    if not isinstance(value, str):
        raise ValueError(f"protocol {name}={value!r}: expected text")
    return value


def _parse_size(text: str) -> re.Match[str]:
    match = _SIZE.fullmatch(text)
    numbers = [int(match[g]) for g in ("n", "h", "w", "multiple") if match[g]] if match else [0]
    if match is None or any(n < 1 for n in numbers):
        raise ValueError(
            f"protocol resize={text!r}: expected native, 'short 480', 'long 880', 'square 560' or "
            "'exact 480x880', optionally followed by ' floor 64' or ' ceil 14'"
        )
    return match


def _round(top: int, base: int, rule: str | None, multiple: int) -> int:
    """A side of exactly top/base as whole pixels; in integers, because a float quotient can fall off by a multiple."""
    if rule == "floor":
        return top // (base * multiple) * multiple
    nearest = (2 * top + base) // (2 * base)
    return -(-nearest // multiple) * multiple if rule == "ceil" else nearest

"""A jointed figure with JHMDB's fifteen joints, and limbs that are VIP's part classes.

Lengths are in units of the figure's height, angles in radians. The figure's plane has its origin at the
pelvis, y down, and looks to +x in side view; a limb's plane has its origin at the nearer joint and runs along
+y.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from corrbench.datasets.jhmdb import JOINTS
from corrbench.datasets.rendering import Layer, Motion
from corrbench.datasets.rendering_photos import Surface
from corrbench.datasets.rendering_shapes import Capsule, Shape, closed_curve, ellipse, from_points
from corrbench.datasets.rendering_warp import Warp, turned
from corrbench.datasets.vip import CLASSES

NECK, BELLY, FACE, SHOULDER, HIP = -0.29, -0.09, -0.385, -0.265, 0.015
UPPER_ARM, LOWER_ARM, UPPER_LEG, LOWER_LEG = 0.15, 0.145, 0.235, 0.225
SIDES = ("right", "left")


@dataclass(frozen=True)
class Pose:
    """Joint angles, (right, left); a limb at 0 hangs down, positive ones swing forward (+x) or, in front view, outward."""

    shoulders: tuple[float, float] = (0.0, 0.0)
    elbows: tuple[float, float] = (0.1, 0.1)
    hips: tuple[float, float] = (0.0, 0.0)
    knees: tuple[float, float] = (0.1, 0.1)
    lean: float = 0.0
    nod: float = 0.0
    rise: float = 0.0


Gait = Callable[[float], Pose]


@dataclass(frozen=True)
class Cycle:
    """A periodic gait: each angle is `rest + swing * sin(2 pi (t / period + phase))`, left half a period later."""

    period: float = 14.0
    shoulder: tuple[float, float, float] = (0.0, 0.0, 0.0)  # rest, swing, phase
    elbow: tuple[float, float, float] = (0.3, 0.0, 0.0)
    hip: tuple[float, float, float] = (0.0, 0.0, 0.0)
    knee: tuple[float, float, float] = (0.1, 0.0, 0.0)
    lean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rise: tuple[float, float, float] = (0.0, 0.0, 0.0)
    together: bool = False
    still_right_arm: bool = False

    def __call__(self, time: float) -> Pose:
        def swung(angle: tuple[float, float, float], late: float) -> float:
            return angle[0] + angle[1] * math.sin(2 * math.pi * (time / self.period + angle[2] + late))

        late = 0.0 if self.together else 0.5
        shoulders = (swung(self.shoulder, 0.0), swung(self.shoulder, late))
        elbows = (swung(self.elbow, 0.0), swung(self.elbow, late))
        if self.still_right_arm:
            shoulders, elbows = (0.12, shoulders[1]), (0.2, elbows[1])
        return Pose(
            shoulders,
            elbows,
            (swung(self.hip, 0.0), swung(self.hip, late)),
            (swung(self.knee, 0.0), swung(self.knee, late)),
            lean=swung(self.lean, 0.0),
            rise=swung(self.rise, 0.0),
        )


@dataclass(frozen=True, eq=False)
class Wardrobe:
    """What the figure is covered with; `bare_legs` shows the lower legs, `skirt` a skirt over the hips."""

    head: Surface
    top: Surface
    bottom: Surface
    skin: Surface
    shoes: Surface
    bare_legs: bool = False
    long_sleeves: bool = False
    skirt: Surface | None = None


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure of `height` pixels on its `path` (a motion of the pelvis), seen from the side (view 0) or front (1).

    A figure that looks left in side view has a path with mirror=-1; its near side is then the left one.
    """

    height: float
    path: Motion
    gait: Gait
    wardrobe: Wardrobe
    view: float = 0.3
    label: int = 1
    build: float = 1.0
    parts: bool = True
    _cache: dict[float, dict[str, Warp]] = field(default_factory=dict, repr=False)

    def joints(self, time: float) -> np.ndarray:
        """Image coordinates of the joints: float64 `(15, 2)` xy, in the order of `JOINTS`."""
        frames = self.bones(time)
        ends = {
            "neck": ("torso", 0.0, NECK),
            "belly": ("torso", 0.0, BELLY),
            "face": ("head", 0.012, FACE - NECK),
        }
        for side in SIDES:
            ends[f"{side} shoulder"] = (f"{side} upper arm", 0.0, 0.0)
            ends[f"{side} elbow"] = (f"{side} lower arm", 0.0, 0.0)
            ends[f"{side} wrist"] = (f"{side} lower arm", 0.0, LOWER_ARM)
            ends[f"{side} hip"] = (f"{side} upper leg", 0.0, 0.0)
            ends[f"{side} knee"] = (f"{side} lower leg", 0.0, 0.0)
            ends[f"{side} ankle"] = (f"{side} lower leg", 0.0, LOWER_LEG)
        out = np.empty((len(JOINTS), 2))
        for place, joint in enumerate(JOINTS):
            bone, x, y = ends[joint]
            at = frames[bone].to_image(np.asarray(x * self.height), np.asarray(y * self.height))
            out[place] = float(at[0]), float(at[1])
        return out

    def bones(self, time: float) -> dict[str, Warp]:
        """Where each limb's plane lies in the image (pixels of the figure's height)."""
        if time not in self._cache:
            self._cache[time] = self._bones(time)
        return self._cache[time]

    def _bones(self, time: float) -> dict[str, Warp]:
        pose, h = self.gait(time), self.height
        body = self.path(time).after(turned(0.0, 1.0, (0.0, -pose.rise * h)))
        torso = body.after(turned(pose.lean))
        bones = {"torso": torso, "head": torso.after(turned(pose.nod, 1.0, (0.0, NECK * h)))}
        for place, side in enumerate(SIDES):
            out = -1.0 if side == "right" else 1.0  # seen from the front, the right side is on the left
            front = self.view >= 0.5
            outward = out if front else 1.0  # in side view both limbs swing in one plane
            arm = torso.after(
                turned(
                    -outward * pose.shoulders[place],
                    1.0,
                    (out * 0.10 * self.view * self.build * h, SHOULDER * h),
                )
            )
            leg = body.after(
                turned(-outward * pose.hips[place], 1.0, (out * 0.06 * self.view * self.build * h, HIP * h))
            )
            bend = -outward * pose.elbows[place]
            fold = (outward * pose.knees[place]) if not front else (outward * 0.35 * pose.knees[place])
            bones[f"{side} upper arm"] = arm
            bones[f"{side} lower arm"] = arm.after(turned(bend, 1.0, (0.0, UPPER_ARM * h)))
            bones[f"{side} upper leg"] = leg
            shin = leg.after(turned(fold, 1.0, (0.0, UPPER_LEG * h)))
            bones[f"{side} lower leg"] = shin
            toe = -math.pi / 2 + 0.25 if not front else -outward * 0.55
            bones[f"{side} foot"] = shin.after(turned(toe, 1.0, (0.0, LOWER_LEG * h)))
        return bones

    def layers(self) -> tuple[Layer, ...]:
        """The limbs, back to front: far arm and leg, near leg, torso, head, near arm."""
        order = ["left", "right"]
        far, near = order
        front = self.view >= 0.5
        limbs = [f"{far} arm", f"{far} leg", f"{near} leg", "torso", "head", f"{near} arm"]
        if front:
            limbs = [f"{far} leg", f"{near} leg", "torso", "head", f"{far} arm", f"{near} arm"]
        out: list[Layer] = []
        for limb in limbs:
            out += self._limb(limb)
        return tuple(out)

    def _limb(self, limb: str) -> list[Layer]:
        h, b, w = self.height, self.build, self.wardrobe
        if limb == "torso":
            wide = (0.062 + 0.045 * self.view) * b
            hips = (0.055 + 0.025 * self.view) * b
            curve = [
                (-wide * 0.45, NECK),
                (wide * 0.45, NECK),
                (wide, SHOULDER),
                (wide * 1.02, -0.17),
                (hips, -0.05),
                (hips * 1.1, 0.035),
                (-hips * 1.1, 0.035),
                (-hips, -0.05),
                (-wide * 1.02, -0.17),
                (-wide, SHOULDER),
            ]
            shape = from_points(closed_curve([(x * h, y * h) for x, y in curve]))
            layers = [self._layer("torso", shape, w.top, "upper-clothes")]
            if w.skirt is not None:
                flare = [(-hips, -0.03), (hips, -0.03), (hips * 1.9, 0.16), (0.0, 0.175), (-hips * 1.9, 0.16)]
                skirt = from_points(closed_curve([(x * h, y * h) for x, y in flare]))
                layers.append(self._layer("torso", skirt, w.skirt, "skirt"))
            return layers
        if limb == "head":
            middle = FACE - NECK
            look = 0.018 * (1.0 - self.view)  # in side view the face sits forward on the skull
            face = Capsule(0.046 * h, 0.036 * h, 0.03 * h)
            skull = ellipse(0.056 * h, 0.072 * h)
            neck = Capsule(0.06 * h, 0.026 * h, 0.03 * h)
            return [
                self._layer("head", neck, w.skin, "face", _shifted(0.0, -0.05 * h)),
                self._layer(
                    "head",
                    skull,
                    _moved(w.head, -look * h, -0.014 * h),
                    "hair",
                    _shifted(0.0, (middle - 0.014) * h),
                ),
                self._layer(
                    "head",
                    face,
                    _moved(w.head, 0.0, -0.018 * h),
                    "face",
                    _shifted(look * h, (middle - 0.018) * h),
                ),
            ]
        side, kind = limb.split()
        if kind == "arm":
            sleeve = w.top if w.long_sleeves else w.skin
            upper = Capsule(UPPER_ARM * h, 0.031 * b * h, 0.025 * b * h)
            lower = Capsule((LOWER_ARM + 0.035) * h, 0.025 * b * h, 0.02 * b * h)
            return [
                self._layer(
                    f"{side} upper arm", upper, w.top, "upper-clothes", shift=7.0 if side == "left" else 19.0
                ),
                self._layer(
                    f"{side} lower arm", lower, sleeve, f"{side}-arm", shift=3.0 if side == "left" else 11.0
                ),
            ]
        thigh = Capsule(UPPER_LEG * h, 0.043 * b * h, 0.034 * b * h)
        shin = Capsule(LOWER_LEG * h, 0.034 * b * h, 0.024 * b * h)
        foot = Capsule(0.07 * h, 0.025 * h, 0.019 * h)
        cloth = "pants" if not w.bare_legs else f"{side}-leg"
        shift = 5.0 if side == "left" else 23.0
        upper_cloth = "pants" if w.skirt is None else f"{side}-leg"
        return [
            self._layer(f"{side} foot", foot, w.shoes, f"{side}-shoe", shift=shift),
            self._layer(f"{side} lower leg", shin, w.skin if w.bare_legs else w.bottom, cloth, shift=shift),
            self._layer(
                f"{side} upper leg", thigh, w.bottom if w.skirt is None else w.skin, upper_cloth, shift=shift
            ),
        ]

    def _layer(
        self,
        bone: str,
        shape: Shape,
        surface: Surface,
        part: str,
        inner: Warp | None = None,
        shift: float = 0.0,
    ) -> Layer:
        def motion(time: float) -> Warp:
            warp = self.bones(time)[bone]
            return warp if inner is None else warp.after(inner)

        return Layer(
            _moved(surface, shift, 2 * shift),
            motion,
            shape,
            self.label,
            CLASSES.index(part) if self.parts else 0,
            shade=0.022 * self.height,
        )


def as_one(figure: Figure, label: int) -> Figure:
    """The same figure as object `label` of a scene."""
    return replace(figure, label=label, _cache={})


def _shifted(x: float, y: float) -> Warp:
    return turned(0.0, 1.0, (x, y))


def _moved(surface: Surface, x: float, y: float) -> Surface:
    return Surface(surface.channels, (surface.centre[0] + x, surface.centre[1] + y))

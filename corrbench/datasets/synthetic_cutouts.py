"""Objects cut out of the bundled photographs, by outlines drawn on them in photograph pixels."""

from __future__ import annotations

import numpy as np

from corrbench.datasets.rendering import uniform
from corrbench.datasets.rendering_photos import Colour, Surface, photo, surface
from corrbench.datasets.rendering_shapes import Outline, blob, closed_curve, ellipse, from_grid, from_points

# fmt: off
OUTLINES: dict[str, tuple[str, tuple[tuple[float, float], ...]]] = {
    "cat": ("chelsea", (
        (95, 30), (150, 8), (240, 4), (330, 12), (368, 60), (365, 130), (330, 205), (270, 262), (205, 250),
        (130, 200), (86, 120),
    )),
    "cup": ("coffee", (
        (176, 70), (215, 30), (285, 18), (355, 30), (402, 75), (440, 110), (470, 160), (478, 220), (458, 290),
        (410, 350), (340, 381), (280, 386), (200, 376), (132, 335), (92, 270), (80, 205), (97, 140), (130, 105),
    )),
    "motorcycle": ("motorcycle_left", (
        (97, 205), (142, 152), (165, 162), (230, 168), (300, 182), (350, 192), (388, 140), (430, 118), (480, 104),
        (505, 84), (540, 120), (578, 132), (563, 180), (572, 230), (590, 264), (638, 287), (670, 330), (680, 400),
        (658, 444), (612, 438), (560, 398), (512, 345), (470, 352), (440, 378), (345, 382), (332, 430), (318, 382),
        (260, 390), (190, 398), (142, 373), (124, 320), (132, 272), (160, 242), (112, 240),
    )),
    "astronaut": ("astronaut", (
        (157, 62), (185, 24), (230, 17), (278, 37), (300, 80), (293, 120), (270, 158), (290, 200), (302, 238),
        (338, 266), (352, 300), (358, 345), (325, 385), (288, 430), (278, 505), (120, 508), (28, 500), (28, 430),
        (32, 330), (52, 272), (110, 232), (114, 184), (132, 156), (182, 150), (162, 110),
    )),
    "helmet": ("astronaut", (
        (286, 440), (302, 390), (345, 354), (400, 346), (453, 364), (488, 410), (500, 470), (492, 508), (292, 508),
    )),
    "shuttle": ("astronaut", (
        (382, 60), (393, 25), (402, 2), (438, 2), (446, 40), (450, 90), (451, 180), (468, 225), (459, 242),
        (453, 278), (372, 278), (367, 242), (354, 225), (376, 150), (381, 90),
    )),
    "cameraman": ("camera", (
        (164, 112), (190, 77), (220, 67), (253, 86), (270, 132), (326, 142), (322, 162), (330, 186), (306, 240),
        (250, 308), (202, 340), (152, 392), (150, 505), (28, 505), (22, 440), (18, 300), (28, 232), (62, 162),
        (110, 132), (150, 120),
    )),
}
COINS = ((335, 43, 29), (347, 185, 31), (46, 260, 27), (171, 260, 26), (213, 192, 23), (270, 118, 24))
# fmt: on

Cutout = tuple[Surface, Outline]


def cutout(name: str, height: float, gain: Colour = (1.0, 1.0, 1.0)) -> Cutout:
    """An object of `OUTLINES`, `height` pixels high, its middle at the plane's origin."""
    source, points = OUTLINES[name]
    p = np.asarray(points, np.float64)
    low, high = p.min(0), p.max(0)
    scale, middle = height / (high[1] - low[1]), (low + high) / 2
    skin = surface(source, scale, (float(middle[0]), float(middle[1])), gain=gain)
    return skin, from_points(closed_curve((p - middle) * scale))


def coin(number: int, radius: float, tint: tuple[Colour, Colour]) -> Cutout:
    """One of six ancient coins."""
    x, y, r = COINS[number]
    return surface("coins", radius / r, (x, y), tint, contrast=0.9), ellipse(radius, radius)


def horse(height: float, coat: Surface) -> Cutout:
    """The horse silhouette that scikit-image ships, under a coat."""
    inside = photo("horse").mean(-1) < 128
    return coat, from_grid(inside, height / inside.shape[0])


def patch(radius: float, seed: int, skin: Surface, roughness: float = 0.5, stretch: float = 1.0) -> Cutout:
    """A random smooth shape under any surface."""
    return skin, blob(radius, uniform(seed, 10), roughness, stretch)

"""The eight scenes of the synthetic video object segmentation benchmark.

Each has one difficulty or two that real video has: several objects, look-alikes that no label names,
camouflage, occlusion, leaving the frame, elastic and articulated motion, scale change, rotation, lighting,
motion blur.
"""

from __future__ import annotations

from collections.abc import Callable

from corrbench.datasets.rendering import Layer, Light, Motion, Scene
from corrbench.datasets.rendering_photos import Surface, surface
from corrbench.datasets.rendering_shapes import bar
from corrbench.datasets.rendering_warp import Drift, Warp, Wave, turned
from corrbench.datasets.synthetic_cutouts import coin, cutout, horse, patch
from corrbench.datasets.synthetic_figure import Cycle, Figure, Wardrobe

SIZE = (240, 426)
FRAMES = 16
MIDDLE = (213.0, 120.0)

GRASS = ((22, 48, 12), (168, 190, 96))
BRICK = ((92, 40, 30), (214, 176, 156))
STONE = ((44, 46, 52), (206, 202, 196))
DENIM = ((22, 30, 62), (110, 128, 172))
SKIN = ((150, 95, 72), (236, 188, 158))
HAY = ((58, 34, 20), (206, 164, 124))
SLATE = ((38, 42, 50), (190, 192, 194))
BRONZE = ((40, 26, 14), (222, 188, 132))

WALK = Cycle(
    14,
    shoulder=(0.0, 0.6, 0.5),
    elbow=(0.45, 0.2, 0.5),
    hip=(0.05, 0.5, 0.0),
    knee=(0.45, 0.4, -0.3),
    lean=(0.06, 0.02, 0.0),
    rise=(0.0, 0.01, 0.0),
)
RUN = Cycle(
    10,
    shoulder=(0.0, 0.9, 0.5),
    elbow=(1.2, 0.3, 0.5),
    hip=(0.15, 0.75, 0.0),
    knee=(0.85, 0.6, -0.3),
    lean=(0.2, 0.03, 0.0),
    rise=(0.01, 0.025, 0.0),
)


def wardrobe(
    height: float, top: Surface, bottom: Surface, shoes: Surface | None = None, **more: object
) -> Wardrobe:
    """Clothes for a figure of this height; the head is the astronaut's."""
    skin = surface("gravel", 0.25, tint=SKIN, contrast=0.35)
    head = surface("astronaut", 0.28 * height / 190, (226, 112))
    dark = surface("camera", 0.3, (150, 300))
    return Wardrobe(head, top, bottom, skin, shoes or dark, **more)  # type: ignore[arg-type]


def fixed_to(ground: Motion, x: float, y: float, angle: float = 0.0) -> Motion:
    """The motion of something that stands on the background, at this point of its plane."""

    def motion(time: float) -> Warp:
        return ground(time).after(turned(angle, 1.0, (x, y)))

    return motion


def cat() -> Scene:
    """One cat, elastic, on dry grass of its own colours; the camera pans past a patch of the same fur."""
    ground = Drift(MIDDLE, velocity=(-2.6, 0.5), rock=0.02, period=20)
    head, shape = cutout("cat", 112)
    purr = (Wave((3.2, 1.2), (0.05, 0.07), 0.3, 0.55), Wave((0.8, 2.4), (0.09, -0.05), 1.1, -0.4))
    fur = patch(30, 5, surface("chelsea", 0.5, (230, 60)))
    return Scene(
        "cat",
        SIZE,
        FRAMES,
        (
            Layer(surface("grass", 1.0, tint=HAY), ground),
            Layer(fur[0], fixed_to(ground, 120, 40), fur[1], shade=6),
            Layer(
                head,
                Drift((170, 128), velocity=(2.2, -0.8), sway=(10, 6), rock=0.16, period=11, waves=purr),
                shape,
                label=1,
                shade=10,
            ),
        ),
        light=Light(fade=0.015, band=0.25, band_width=110, band_speed=7),
        seed=1,
    )


def cups() -> Scene:
    """Two equal cups that cross, one over the other, and a third that stands there; under a swinging light."""
    ground = Drift(MIDDLE, velocity=(0.8, -0.4), spin=0.004)
    plate, round_ = cutout("cup", 92)
    return Scene(
        "cups",
        SIZE,
        FRAMES,
        (
            Layer(surface("brick", 0.8, tint=((70, 40, 24), (190, 140, 96))), ground),
            Layer(plate, fixed_to(ground, 10, 82, 0.4), round_, shade=4),
            Layer(plate, Drift((92, 92), velocity=(14.0, 1.6), spin=0.05), round_, label=1, shade=4),
            Layer(
                plate,
                Drift((330, 118), velocity=(-13.0, 0.4), angle=0.5, spin=-0.07),
                round_,
                label=2,
                shade=4,
            ),
        ),
        light=Light(swing=0.22, period=13, warmth=0.06),
        seed=2,
    )


def herd() -> Scene:
    """Two horses labelled and one not, of one coat, galloping past posts; the camera follows."""
    ground = Drift(MIDDLE, velocity=(-5.5, 0.0), sway=(0, 3), period=7)
    coat = surface("chelsea", 0.7, (210, 90))
    skin, shape = horse(118, coat)

    def gallop(phase: float) -> tuple[Wave, ...]:
        return (Wave((5.5, 0.0), (0.012, 0.062), phase, 1.15), Wave((0.0, 2.6), (0.07, 0.0), phase, 0.9))

    post = bar(9, 150)
    wood = surface("coffee", 0.5, (540, 330))
    return Scene(
        "herd",
        SIZE,
        FRAMES,
        (
            Layer(surface("grass", 0.7, tint=((52, 60, 22), (196, 186, 120))), ground),
            Layer(
                skin,
                Drift((330, 84), velocity=(-1.0, 0.3), scale=0.72, sway=(0, 4), waves=gallop(2.0)),
                shape,
            ),
            Layer(
                skin,
                Drift((118, 108), velocity=(4.4, 0.4), sway=(0, 5), period=7, waves=gallop(0.0)),
                shape,
                label=1,
                shade=5,
            ),
            Layer(wood, fixed_to(ground, 92, 0), post, shade=4),
            Layer(
                skin,
                Drift((246, 148), velocity=(-0.6, 0.0), sway=(0, 5), period=7, phase=1.5, waves=gallop(1.2)),
                shape,
                label=2,
                shade=5,
            ),
            Layer(wood, fixed_to(ground, 236, 0), post, shade=4),
        ),
        seed=3,
    )


def street() -> Scene:
    """Three figures, two labelled: a walker and a runner cross behind a pillar, the third wears the walker's clothes."""
    ground = Drift(MIDDLE, velocity=(-1.2, 0.0))
    orange = surface("astronaut", 0.45, (200, 330))
    flag = surface("astronaut", 0.4, (40, 200))
    jeans = surface("brick", 0.4, tint=DENIM)
    dark = surface("camera", 0.35, (110, 300))
    walker = Figure(
        168,
        Drift((96, 128), velocity=(8.5, 0)),
        WALK,
        wardrobe(168, orange, jeans),
        view=0.25,
        label=1,
        parts=False,
    )
    runner = Figure(
        158,
        Drift((340, 126), velocity=(-11.0, 0), mirror=-1),
        RUN,
        wardrobe(158, flag, dark, bare_legs=True),
        view=0.2,
        label=2,
        parts=False,
    )
    other = Figure(
        120,
        Drift((290, 104), velocity=(-3.0, 0), mirror=-1),
        WALK,
        wardrobe(120, orange, jeans),
        label=0,
        parts=False,
    )
    return Scene(
        "street",
        SIZE,
        FRAMES,
        (
            Layer(surface("motorcycle_left", 0.62, (330, 230)), ground),
            *other.layers(),
            *runner.layers(),
            *walker.layers(),
            Layer(surface("brick", 0.5, tint=STONE), fixed_to(ground, 22, 0), bar(17, 150), shade=6),
        ),
        seed=4,
    )


def camouflage() -> Scene:
    """Four grey patches, of gravel, brick, grass and moon, turn and swell on gravel; some hide others."""
    ground = Drift(MIDDLE, velocity=(1.5, 1.0), spin=-0.006)
    stone = surface("gravel", 0.8, tint=STONE)
    pieces = (
        (
            patch(44, 11, surface("gravel", 0.8, (150, 380), tint=STONE)),
            Drift((92, 76), (5.2, 2.2), spin=0.05),
        ),
        (
            patch(40, 12, surface("brick", 0.6, tint=SLATE)),
            Drift((330, 72), (-4.6, 3.2), spin=-0.06, zoom=0.016),
        ),
        (
            patch(42, 13, surface("grass", 0.7, tint=SLATE)),
            Drift((110, 176), (7.2, -1.6), squash=0.14, period=9),
        ),
        (
            patch(42, 14, surface("moon", 0.8, (150, 130), tint=SLATE, contrast=2.0)),
            Drift((318, 176), (-6.4, -1.2), spin=0.04, zoom=-0.018),
        ),
    )
    layers = [Layer(s, m, shape, label=i + 1, shade=3) for i, ((s, shape), m) in enumerate(pieces)]
    return Scene(
        "camouflage", SIZE, FRAMES, (Layer(stone, ground), *layers), Light(swing=0.15, period=12), seed=5
    )


def coins() -> Scene:
    """Three coins that spin and roll over a tray of other coins, all bronze."""
    ground = Drift((213, 120), velocity=(1.6, -0.8), zoom=0.008)
    layers = [Layer(surface("coins", 1.15, tint=BRONZE, contrast=0.9), ground)]
    moves = (
        (0, 36, Drift((84, 92), (10.4, 1.4), spin=0.16)),
        (1, 32, Drift((340, 160), (-9.0, -2.0), spin=-0.14, zoom=0.014)),
        (2, 30, Drift((214, 204), (2.0, -6.4), sway=(24, 0), period=12, rock=0.6)),
    )
    for label, (number, radius, motion) in enumerate(moves, 1):
        skin, shape = coin(number, radius, BRONZE)
        layers.append(Layer(skin, motion, shape, label=label, shade=3))
    return Scene("coins", SIZE, FRAMES, tuple(layers), light=Light(swing=0.12, period=16), seed=6)


def ride() -> Scene:
    """A motorcycle and a cameraman: fast, motion-blurred, nearer every frame; both leave the frame in part."""
    ground = Drift((213, 132), velocity=(-7.0, 0.6), zoom=0.006)
    bike, outline = cutout("motorcycle", 86)
    man, figure = cutout("cameraman", 120, gain=(1.0, 0.95, 0.85))
    return Scene(
        "ride",
        SIZE,
        FRAMES,
        (
            Layer(surface("camera", 0.9, (410, 260), tint=((40, 48, 40), (222, 226, 214))), ground),
            Layer(
                man,
                Drift((356, 150), velocity=(-11.5, 1.2), zoom=0.01, rock=0.03, period=6),
                figure,
                label=2,
                shade=4,
            ),
            Layer(
                bike,
                Drift((78, 150), velocity=(13.0, 1.4), zoom=0.028, angle=0.02, rock=0.06, period=5),
                outline,
                label=1,
                shade=3,
            ),
        ),
        light=Light(fade=0.012),
        shutter=0.6,
        seed=7,
    )


def launch() -> Scene:
    """An astronaut, a shuttle that leaves and comes back, a helmet that rolls behind a board; shadows sweep and it dims."""
    ground = Drift(MIDDLE, velocity=(0.6, 2.4), zoom=-0.004)
    suit, bust = cutout("astronaut", 142)
    ship, hull = cutout("shuttle", 92)
    ball, globe = cutout("helmet", 58)
    wobble = (Wave((2.2, 0.6), (0.02, 0.05), 0.0, 0.5),)
    return Scene(
        "launch",
        SIZE,
        FRAMES,
        (
            Layer(surface("moon", 1.0, (300, 300), tint=((30, 34, 56), (190, 186, 200))), ground),
            Layer(
                ship,
                Drift((300, 92), velocity=(3.0, 0.0), sway=(8, -118), period=30, angle=0.1),
                hull,
                label=2,
                shade=3,
            ),
            Layer(
                suit,
                Drift((112, 158), velocity=(1.4, -1.0), rock=0.07, period=12, zoom=0.01, waves=wobble),
                bust,
                label=1,
                shade=5,
            ),
            Layer(ball, Drift((392, 190), velocity=(-11.0, 0.4), spin=-0.12), globe, label=3, shade=3),
            Layer(surface("coffee", 0.6, (520, 300)), fixed_to(ground, 52, 76, 0.1), bar(34, 40), shade=4),
        ),
        light=Light(swing=0.1, fade=0.02, warmth=0.05, band=0.4, band_width=70, band_speed=9),
        seed=8,
    )


SCENES: dict[str, Callable[[], Scene]] = {
    made.__name__: made for made in (camouflage, cat, coins, cups, herd, launch, ride, street)
}

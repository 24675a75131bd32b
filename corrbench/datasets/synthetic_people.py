"""The synthetic clips of the pose and part benchmarks: figures in JHMDB's frame size, and in VIP's manner.

A pose clip has one labelled figure, sometimes a second in the same clothes that no label names; a part video
has one or two figures, all of whose parts are labelled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from corrbench.datasets.rendering import Layer, Light, Scene
from corrbench.datasets.rendering_photos import surface
from corrbench.datasets.rendering_shapes import bar
from corrbench.datasets.rendering_warp import Drift
from corrbench.datasets.synthetic_figure import Cycle, Figure
from corrbench.datasets.synthetic_scenes import BRICK, DENIM, GRASS, RUN, STONE, WALK, fixed_to, wardrobe

POSE_SIZE, POSE_FRAMES = (240, 320), 20
PART_SIZE, PART_FRAMES = (240, 426), 12

JACKS = Cycle(
    13, shoulder=(1.25, 1.05, -0.25), elbow=(0.2, 0.2, 0.0), hip=(0.2, 0.18, -0.25), together=True,
    rise=(0.02, 0.04, 0.0),
)  # fmt: skip
WAVING = Cycle(
    9, shoulder=(2.2, 0.25, 0.0), elbow=(0.5, 0.6, 0.3), hip=(0.06, 0.02, 0.0), lean=(0.0, 0.05, 0.0),
    together=True, still_right_arm=True,
)  # fmt: skip
SQUATS = Cycle(
    15, shoulder=(0.9, 0.6, -0.25), elbow=(0.2, 0.1, 0.0), hip=(0.6, 0.6, -0.25), knee=(1.1, 1.0, -0.25),
    lean=(0.3, 0.28, -0.25), rise=(-0.09, 0.1, 0.25), together=True,
)  # fmt: skip
DANCING = Cycle(
    12, shoulder=(0.8, 0.6, 0.0), elbow=(0.8, 0.7, 0.2), hip=(0.15, 0.2, 0.3), knee=(0.3, 0.3, 0.1),
    lean=(0.0, 0.16, 0.0), rise=(0.0, 0.015, 0.0),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Clip:
    """A scene and the figure whose joints are its labels."""

    scene: Scene
    figure: Figure


def walking() -> Clip:
    """A walk through a garage; another figure in the same clothes walks the other way behind."""
    ground = Drift((160, 120), velocity=(-1.5, 0))
    dress = wardrobe(176, surface("astronaut", 0.45, (200, 330)), surface("brick", 0.4, tint=DENIM))
    small = wardrobe(132, surface("astronaut", 0.36, (200, 330)), surface("brick", 0.32, tint=DENIM))
    figure = Figure(176, Drift((66, 126), velocity=(8.4, 0)), WALK, dress, view=0.25)
    other = Figure(132, Drift((290, 110), velocity=(-6.5, 0), mirror=-1), WALK, small, label=0)
    scene = Scene(
        "walking",
        POSE_SIZE,
        POSE_FRAMES,
        (Layer(surface("motorcycle_left", 0.6, (300, 210)), ground), *other.layers(), *figure.layers()),
        seed=21,
    )
    return Clip(scene, figure)


def running() -> Clip:
    """A run to the left across a lawn, past a post, with motion blur; the camera follows."""
    ground = Drift((160, 120), velocity=(6.5, 0), rock=0.01, period=9)
    dress = wardrobe(
        170, surface("brick", 0.45, tint=BRICK), surface("gravel", 0.35, tint=DENIM), bare_legs=True
    )
    figure = Figure(170, Drift((226, 124), velocity=(-5.2, 0.2), zoom=0.004, mirror=-1), RUN, dress, view=0.2)
    layers = (
        Layer(surface("grass", 0.8, tint=GRASS), ground),
        *figure.layers(),
        Layer(surface("coffee", 0.5, (540, 330)), fixed_to(ground, -70, 0), bar(8, 150), shade=4),
    )
    return Clip(Scene("running", POSE_SIZE, POSE_FRAMES, layers, shutter=0.5, seed=22), figure)


def jumping() -> Clip:
    """Jumping jacks in front view on a brick floor, while the light swings."""
    ground = Drift((160, 120), velocity=(0.5, 0.6))
    dress = wardrobe(
        172, surface("ihc", 0.4, (180, 120)), surface("camera", 0.35, (110, 300)), long_sleeves=True
    )
    figure = Figure(172, Drift((160, 134), sway=(4, 0), period=26), JACKS, dress, view=1.0)
    layers = (Layer(surface("brick", 0.7, tint=STONE), ground), *figure.layers())
    return Clip(
        Scene("jumping", POSE_SIZE, POSE_FRAMES, layers, Light(swing=0.2, period=14, warmth=0.05), seed=23),
        figure,
    )


def waving() -> Clip:
    """One arm waves; the rest sways, before a wall of the figure's own pattern."""
    ground = Drift((160, 120), velocity=(0.8, -0.3))
    dress = wardrobe(210, surface("astronaut", 0.5, (60, 150)), surface("grass", 0.4, tint=DENIM))
    figure = Figure(
        210,
        Drift((150, 148), velocity=(0.8, 0), sway=(8, 2), period=17, rock=0.03, zoom=0.006),
        WAVING,
        dress,
        view=1.0,
    )
    layers = (Layer(surface("astronaut", 0.9, (80, 220)), ground), *figure.layers())
    return Clip(Scene("waving", POSE_SIZE, POSE_FRAMES, layers, seed=24), figure)


def squatting() -> Clip:
    """Squats in side view on gravel under a sweeping shadow; both arms and both legs move as one."""
    ground = Drift((160, 120), velocity=(-0.6, 0.2), zoom=0.004)
    dress = wardrobe(
        176, surface("motorcycle_left", 0.4, (400, 200)), surface("moon", 0.5, tint=DENIM), bare_legs=True
    )
    figure = Figure(176, Drift((150, 126), sway=(6, 0), period=15), SQUATS, dress, view=0.35)
    layers = (Layer(surface("gravel", 0.7, tint=STONE), ground), *figure.layers())
    light = Light(fade=0.01, band=0.45, band_width=60, band_speed=8)
    return Clip(Scene("squatting", POSE_SIZE, POSE_FRAMES, layers, light, seed=25), figure)


def dancing() -> Clip:
    """A dance in front view with a skirt, turning and coming nearer; a cup passes in front of the legs."""
    from corrbench.datasets.synthetic_cutouts import cutout

    ground = Drift((160, 120), velocity=(1.2, 0), spin=0.004)
    dress = wardrobe(
        168, surface("coffee", 0.4, (130, 300)), surface("brick", 0.4, tint=DENIM), bare_legs=True,
        skirt=surface("ihc", 0.45, (430, 250)),
    )  # fmt: skip
    figure = Figure(
        168,
        Drift((120, 122), velocity=(3.0, 0), sway=(10, 3), period=13, rock=0.05, zoom=0.01),
        DANCING,
        dress,
        view=0.8,
    )
    plate, round_ = cutout("cup", 56)
    layers = (
        Layer(surface("coffee", 0.8, (480, 260)), ground),
        *figure.layers(),
        Layer(plate, Drift((330, 196), velocity=(-13.5, 0.4), spin=-0.08), round_, shade=3),
    )
    return Clip(Scene("dancing", POSE_SIZE, POSE_FRAMES, layers, seed=26), figure)


def park() -> Scene:
    """Two people with bare legs and pants who cross on a lawn."""
    ground = Drift((213, 120), velocity=(-2.0, 0))
    one = Figure(
        196,
        Drift((120, 124), velocity=(11.0, 0)),
        WALK,
        wardrobe(196, surface("astronaut", 0.5, (200, 330)), surface("brick", 0.45, tint=DENIM)),
        view=0.3,
    )
    two = Figure(
        186,
        Drift((320, 120), velocity=(-9.0, 0), mirror=-1),
        RUN,
        wardrobe(186, surface("ihc", 0.4, (180, 120)), surface("gravel", 0.4, tint=BRICK), bare_legs=True),
        view=0.25,
    )
    layers = (Layer(surface("grass", 0.9, tint=GRASS), ground), *two.layers(), *one.layers())
    return Scene("park", PART_SIZE, PART_FRAMES, layers, seed=31)


def stage() -> Scene:
    """A dancer with a skirt, near and in front view, under a light that changes colour."""
    dress = wardrobe(
        230, surface("coffee", 0.5, (130, 300)), surface("brick", 0.4, tint=DENIM), bare_legs=True,
        skirt=surface("astronaut", 0.5, (40, 200)),
    )  # fmt: skip
    dancer = Figure(
        230,
        Drift((190, 128), velocity=(4.0, 0), sway=(16, 4), period=11, rock=0.05),
        DANCING,
        dress,
        view=0.9,
    )
    layers = (
        Layer(surface("coffee", 0.8, (480, 250)), Drift((213, 120), velocity=(1.5, 0.3), spin=0.004)),
        *dancer.layers(),
    )
    return Scene("stage", PART_SIZE, PART_FRAMES, layers, Light(swing=0.2, period=9, warmth=0.12), seed=32)


def workshop() -> Scene:
    """A worker who squats and one who waves, before the motorcycle, half hidden by a beam."""
    ground = Drift((213, 120), velocity=(1.0, 0.4))
    one = Figure(
        190,
        Drift((120, 126), sway=(14, 0), period=15),
        SQUATS,
        wardrobe(
            190, surface("camera", 0.4, (110, 300)), surface("brick", 0.45, tint=DENIM), long_sleeves=True
        ),
        view=0.35,
    )
    two = Figure(
        204,
        Drift((310, 140), velocity=(-3.2, 0), rock=0.03, period=10),
        WAVING,
        wardrobe(204, surface("astronaut", 0.5, (60, 150)), surface("gravel", 0.4, tint=DENIM)),
        view=1.0,
    )
    layers = (
        Layer(surface("motorcycle_left", 0.62, (330, 230)), ground),
        *one.layers(),
        *two.layers(),
        Layer(surface("brick", 0.5, tint=STONE), fixed_to(ground, 10, 0), bar(12, 150), shade=5),
    )
    return Scene("workshop", PART_SIZE, PART_FRAMES, layers, seed=33)


def yard() -> Scene:
    """Jumping jacks on brick, nearer every frame, with motion blur."""
    dress = wardrobe(178, surface("motorcycle_left", 0.45, (400, 200)), surface("moon", 0.5, tint=DENIM))
    figure = Figure(178, Drift((200, 132), velocity=(2.5, 0), zoom=0.014), JACKS, dress, view=1.0)
    ground = Drift((213, 120), velocity=(-1.5, 0.8), zoom=0.01)
    layers = (Layer(surface("brick", 0.8, tint=BRICK), ground), *figure.layers())
    return Scene("yard", PART_SIZE, PART_FRAMES, layers, shutter=0.5, seed=34)


CLIPS: dict[str, Callable[[], Clip]] = {
    made.__name__: made for made in (dancing, jumping, running, squatting, walking, waving)
}
PART_SCENES: dict[str, Callable[[], Scene]] = {made.__name__: made for made in (park, stage, workshop, yard)}

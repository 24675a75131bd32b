"""BADJA on DAVIS sequences: pose propagation from the first annotated frame's animal joints, PCK@0.2 of the mask's size.

Biggs, Roddick, Fitzgibbon, Cipolla, Creatures great and SMAL: Recovering the shape and motion of animals from video, ACCV
2018. Annotations MIT, frames (DAVIS) CC BY-NC 4.0. Papers on point tracking print a percentage a video over all of its
joints, and count joints that the first frame does not show; here it is a percentage a joint over all videos, of joints
given in the first frame. Do not put the two side by side.
"""

task = dict(
    type="PosePropagation",
    version=1,
    unit="area",  # distances in the square root of the mask's area: PCK@0.2 is BADJA's threshold
    zero_counts=False,
    # The frames are DAVIS's, so is the network's input. A joint's map keeps each protocol's own sigma: 4 px is half a
    # cell at stride 8 here as it is on JHMDB (320 px wide on 40 cells).
    protocol=dict(resize="short 480"),
    dataset=dict(type="BADJA", resolution="480p"),
)

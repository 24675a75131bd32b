"""MobileNetV2, ImageNet-supervised, whitened on unlabelled frames, with means over 5 and 11 cells: what that step is worth.

Not a method of the literature: a baseline for reading the shipped STT's numbers (docs/stt.md, "Whitening"), which has wider
means.
"""

_base_ = "./mobilenetv2.py"

training = [
    dict(
        type="Whitening",
        backbone=dict(type="MobileNetV2", layer=14, stride=8, dilate=True),
        weights="mobilenetv2-imagenet",
        dataset=dict(type="Videos", folders=["DAVIS-train-256"]),
        colour="rgb",
        updates=27,
        means=(5, 11),
    ),
]

schedules = {"small": {}}

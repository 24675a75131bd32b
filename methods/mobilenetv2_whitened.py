"""MobileNetV2, ImageNet-supervised, whitened on unlabelled frames as the shipped STT is: what that step alone is worth.

Not a method of the literature: a baseline for reading the shipped STT's numbers (docs/stt.md, "Whitening").
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
        means=(3, 7, 15, 31),
    ),
]

schedules = {"small": {}}

"""MobileNetV2, ImageNet-supervised, with what the shipped STT has behind its network: what those steps alone are worth.

Not a method of the literature: a baseline for reading the shipped STT's numbers (docs/stt.md, "Whitening"). Schedule `small`
whitens it on unlabelled frames as STT is; `centred` only takes away the mean of the evaluated video.
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

schedules = {
    "small": {},
    "centred": {  # a rotation, which leaves cosines as they are, and the mean
        "training.0.means": (),
        "training.0.power": 0.0,
        "training.0.centred": True,
    },
}

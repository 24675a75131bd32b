"""MobileNetV2, ImageNet-supervised, its features less the mean of their video: what centring alone is worth.

Not a method of the literature: a baseline for reading the shipped STT's numbers (docs/stt.md, "Centring on the video").
"""

_base_ = "./mobilenetv2.py"

method = dict(
    backbone=dict(
        _delete_=True,
        type="Centred",
        backbone=dict(type="MobileNetV2", layer=14, stride=8, dilate=True),
    ),
)

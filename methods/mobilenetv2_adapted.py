"""MobileNetV2, ImageNet-supervised, adapted to each video and centred on it: what these two are worth without STT.

Not a method of the literature: a baseline for reading the shipped STT's numbers (docs/stt.md, "Adapted to the video").
"""

_base_ = "./mobilenetv2.py"

method = dict(
    backbone=dict(
        _delete_=True,
        type="Centred",
        backbone=dict(
            type="Adapted",
            share=0.4,
            backbone=dict(type="MobileNetV2", layer=14, stride=8, dilate=True),
        ),
    ),
)

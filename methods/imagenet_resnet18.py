"""ImageNet classification: ResNet-18, supervised (torchvision), third stage at stride 8.

He et al., Deep Residual Learning for Image Recognition, CVPR 2016. The third stage keeps its resolution (no
dilation), as CRW and VFS evaluate networks that were trained for classification.
"""

method = dict(
    type="LabelPropagation",
    backbone=dict(type="ResNet", depth=18, stem_pool="max", strides=(1, 2, 1, 1), layer=3),  # stride 8
    colour="rgb",
    checkpoint="imagenet-r18",
    protocol="stt",
)

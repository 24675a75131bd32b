"""STT (Li & Liu, CVPR 2023): ResNet-50 at stride 8."""

method = dict(
    type="LabelPropagation",
    backbone=dict(type="ResNet", depth=50, stem_pool=None, strides=(1, 2, 2, 1), layer=3),  # stride 8
    colour="lab",
    checkpoint="stt-r50",
    protocol="stt",
)

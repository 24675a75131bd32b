"""STT (Li & Liu, CVPR 2023): spatial features first, then temporal ones; ResNet-18 at stride 8.

Spatial-then-Temporal Self-Supervised Learning for Video Correspondence, pages 2279-2288, arXiv 2209.07778.
The network that propagates labels is the student of the second step: Lab input, no pooling after the first
convolution, third stage.
"""

method = dict(
    type="LabelPropagation",
    backbone=dict(type="ResNet", depth=18, stem_pool=None, strides=(1, 2, 2, 1), layer=3),  # stride 8
    colour="lab",
    checkpoint="stt-r18",
    protocol="stt",
)

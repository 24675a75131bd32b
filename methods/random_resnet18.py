"""Random weights: ResNet-18 at stride 8, never trained; what the architecture and the protocol give by themselves.

He-normal convolutions (fan out), batch normalisation at 1 and 0; the geometry and the input of
methods/stt.py.
"""

method = dict(
    type="LabelPropagation",
    backbone=dict(type="ResNet", depth=18, stem_pool=None, strides=(1, 2, 2, 1), layer=3, seed=0),  # stride 8
    colour="lab",
    checkpoint=None,
    protocol="stt",
)

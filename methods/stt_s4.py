"""STT (Li & Liu, CVPR 2023): ResNet-18 at stride 4, a mean instead of strides.

The authors' stride-4 configuration: every stage keeps its resolution, and a 3x3 mean with stride 2 follows
the first convolution. Its search window is wider too (140 instead of 96 pixels on DAVIS): see the protocol
`stt-s4`.
"""

_base_ = "./stt.py"  # its training and schedules: the weights have no stride of their own

method = dict(
    type="LabelPropagation",
    backbone=dict(type="ResNet", depth=18, stem_pool="mean", strides=(1, 1, 1, 1), layer=3),  # stride 4
    colour="lab",
    checkpoint="stt-r18-s4",
    protocol="stt-s4",
)

schedules = {  # whitened as it is evaluated
    "small": {
        "training.2.backbone.stem_pool": "mean",
        "training.2.backbone.strides": (1, 1, 1, 1),
        "training.3.backbone.backbone.stem_pool": "mean",
        "training.3.backbone.backbone.strides": (1, 1, 1, 1),
        "training.4.backbone.backbone.stem_pool": "mean",
        "training.4.backbone.backbone.strides": (1, 1, 1, 1),
    },
}

ablations = {"_delete_": True}  # those of stt.py change its geometry

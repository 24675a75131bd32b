"""DINO (Caron et al., ICCV 2021): ViT-S/16, patch tokens of the last block.

Emerging Properties in Self-Supervised Vision Transformers. Last block after the final normalisation, class
token dropped, as the authors' video segmentation code takes them.
"""

method = dict(
    type="LabelPropagation",
    backbone=dict(
        type="ViT", size="small", patch=16, grid=14, offset=0.1, layer=None, normed=True, facet="token"
    ),
    colour="rgb",
    checkpoint="dino-vits16",
    protocol="dino",
)

"""DAVIS-2017 val: video object segmentation from the first frame's masks, J&F.

Pont-Tuset et al., The 2017 DAVIS Challenge on Video Object Segmentation, arXiv 1704.00675. Licence CC BY-NC 4.0.
"""

task = dict(
    type="VideoObjectSegmentation",
    version=1,
    dataset=dict(type="DAVIS", year=2017, split="val", resolution="480p"),
)

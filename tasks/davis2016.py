"""DAVIS-2016 val: one foreground object a video, J&F.

Perazzi et al., A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation, CVPR 2016. CC BY-NC 4.0.
"""

task = dict(
    type="VideoObjectSegmentation",
    version=1,
    dataset=dict(type="DAVIS", year=2016, split="val", resolution="480p"),
)

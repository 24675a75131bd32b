"""The synthetic benchmark, video object segmentation: rendered on this machine from scikit-image's photographs."""

task = dict(
    type="VideoObjectSegmentation",
    version=1,
    dataset=dict(type="Synthetic", kind="vos"),
)

"""HOG (Dalal & Triggs, CVPR 2005): 3x3 cells of 8x8 pixels round each cell; no learning.

Histograms of Oriented Gradients for Human Detection: nine unsigned orientations, blocks normalised (L2, cut
at 0.2, L2).
"""

method = dict(
    type="LabelPropagation",
    backbone=dict(type="HOG", cell=8, orientations=9, block=3),
    colour="raw",
    checkpoint=None,
    protocol="stt",
)

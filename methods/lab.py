"""Lab colours: the means of the four quarters of each 8x8 cell; no learning.

Twelve numbers a cell: (L, a, b) minus (50, 0, 0) over (50, 127, 127), averaged over each 4x4 quarter.
"""

method = dict(
    type="LabelPropagation",
    backbone=dict(type="Lab", cell=8, samples=2),
    colour="lab",
    checkpoint=None,
    protocol="stt",
)

"""JHMDB split-1 test: pose propagation from the first frame's 15 joints, PCK.

Jhuang, Gall, Zuffi, Schmid, Black, Towards understanding action recognition, ICCV 2013. No licence stated; research use.
"""

task = dict(
    type="PosePropagation",
    version=1,
    unit="box",  # distances in 0.6 x the diagonal of the box of the counted joints
    zero_counts=False,  # a joint predicted at x = 0 is left out, as in STT's code; CRW's counts it
    dataset=dict(type="JHMDB", frames="auto"),
)

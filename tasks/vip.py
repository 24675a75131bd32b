"""VIP_Fine val: part propagation from the first frame's masks, mIoU over 20 classes.

Zhou, Liang, Gong, Lin, Adaptive Temporal Encoding Network for Video Instance-level Human Parsing, ACM MM 2018. No licence
stated; non-commercial research use.
"""

task = dict(
    type="PartPropagation",
    version=1,
    dataset=dict(type="VIP"),
)

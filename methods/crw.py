"""CRW (Jabri, Owens & Efros, NeurIPS 2020): contrastive random walk; ResNet-18, third stage at stride 8.

Space-Time Correspondence as a Contrastive Random Walk. The released network mirrors its borders instead of
padding zeros.
"""

method = dict(
    type="LabelPropagation",
    backbone=dict(
        type="ResNet", depth=18, stem_pool="max", strides=(1, 2, 1, 1), layer=3, padding_mode="reflect"
    ),  # stride 8
    colour="rgb",
    checkpoint="crw-r18",
    protocol="crw",
)

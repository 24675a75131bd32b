"""STT's first step alone (MoCo v2's spatial features); ResNet-18, third stage at stride 8.

The single-stage variant of Li & Liu, CVPR 2023. Evaluated as it is trained: pooling after the first convolution and
ImageNet-normalised RGB; the third stage keeps its resolution. The weights are those that corrbench trained and ships.
"""

method = dict(
    type="LabelPropagation",
    backbone=dict(type="ResNet", depth=18, stem_pool="max", strides=(1, 2, 1, 1), layer=3),  # stride 8
    colour="rgb",
    checkpoint="stt-r18-small-spatial",  # corrbench's own training, in the package
    protocol="stt",
)

# As the first stage of stt.py.
training = [
    dict(
        type="Spatial",
        backbone=dict(type="ResNet", depth=18, stem_pool="max", strides=(1, 2, 2, 2), layer=4),
        dataset=dict(type="Photos", folders=["ImageNet/train"], side=256),
        colour="rgb",
        updates=1_000_800,
        batch=256,
        optimiser="sgd",
        lr=0.03,
        weight_decay=1e-4,
        head="mlp",
        dim=128,
        queue=65536,
        key_momentum=0.999,
        temperature=0.2,
        bn_groups=8,
        crop=224,
        area=(0.2, 1.0),
        jitter=(0.4, 0.4, 0.4, 0.1),
        jitter_share=0.8,
        grey_share=0.2,
        blur_share=0.5,
    ),
]

# What is trained how long, as changes of the settings above. `small` and `medium` read the folders images-1k-192
# (photographs) and DAVIS-train-256 (videos) below $CORRBENCH_DATA or --data; any folders will do, for instance
# -o 'training.0.dataset.folders=["mine"]'.
schedules = {
    "paper": {},
    # As in stt.py: one CPU core, minutes.
    "small": {
        "training.0.dataset.folders": ["images-1k-192", "DAVIS-train-256"],
        "training.0.updates": 400,
        "training.0.batch": 64,
        "training.0.lr": 0.06,
        "training.0.warmup": 20,
        "training.0.queue": 1024,
        "training.0.key_momentum": 0.99,
        "training.0.bn_groups": 1,
        "training.0.crop": 64,
    },
    # One GPU, minutes a stage: the paper's crops and windows on the same data.
    "medium": {
        "training.0.dataset.folders": ["images-1k-192", "DAVIS-train-256"],
        "training.0.updates": 10_000,
        "training.0.batch": 256,
        "training.0.queue": 2048,
        "training.0.key_momentum": 0.99,
        "training.0.crop": 160,
        "training.0.autocast": "bfloat16",
    },
    # Seconds: to see that everything works. Without data it trains on videos rendered on the spot.
    "smoke": {
        "training.0.dataset.folders": ["images-1k-192"],
        "training.0.updates": 20,
        "training.0.batch": 16,
        "training.0.queue": 128,
        "training.0.key_momentum": 0.9,
        "training.0.crop": 64,
        "training.0.autocast": "bfloat16",
    },
}

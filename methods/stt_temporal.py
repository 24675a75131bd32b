"""STT's second step alone (reconstruction from random weights, no teacher); ResNet-18 at stride 8.

The single-stage variant of Li & Liu, CVPR 2023: without the first step there is no teacher, and so no global
distillation.
"""

method = dict(
    type="LabelPropagation",
    backbone=dict(type="ResNet", depth=18, stem_pool=None, strides=(1, 2, 2, 1), layer=3),  # stride 8
    colour="lab",
    checkpoint="stt-r18-temporal",
    protocol="stt",
)

# As the second stage of stt.py, without its teacher.
training = [
    dict(
        type="Temporal",
        backbone=dict(type="ResNet", depth=18, stem_pool=None, strides=(1, 2, 2, 4), layer=4),
        dataset=dict(type="Videos", folders=["YouTube-VOS/train/JPEGImages"]),
        colour="lab",
        channels=(1, 2),
        dropout=True,
        updates=43_388,
        batch=64,
        optimiser="adam",
        lr=5e-5,
        warmup=1085,
        lr_end=0.001,
        crop=256,
        area=(0.6, 1.0),
        aspect=(1.5, 2.0),
        levels=(2, 3),
        radii=(12, 6),
        reconstruction_weights=(1.0, 1.0),
        scale=20.0,
        local_weight=1000.0,
        quantile=0.7,
        target="mean",
        volume="products",
        score="log",
        threshold="columns",
        global_weight=0.0,
    ),
]

# What is trained how long, as changes of the settings above. `small` and `medium` read the folders images-1k-192
# (photographs) and DAVIS-train-256 (videos) below $CORRBENCH_DATA or --data; any folders will do, for instance
# -o 'training.0.dataset.folders=["mine"]'.
schedules = {
    "paper": {},
    # As in stt.py: one CPU core, about an hour in all.
    "small": {
        "training.0.dataset.folders": ["DAVIS-train-256"],
        "training.0.updates": 3200,
        "training.0.batch": 8,
        "training.0.lr": 3e-3,
        "training.0.warmup": 20,
        "training.0.gap": 8,
        "training.0.crop": 96,
        "training.0.area": (0.1, 0.6),
        "training.0.aspect": (0.8, 1.6),
        "training.0.radii": (6, 4),
        "training.0.local_weight": 70.0,
    },
    # One GPU, minutes a stage: the paper's crops and windows on the same data.
    "medium": {
        "training.0.dataset.folders": ["DAVIS-train-256"],
        "training.0.updates": 5000,
        "training.0.batch": 32,
        "training.0.warmup": 200,
        "training.0.autocast": "bfloat16",
    },
    # Seconds: to see that everything works. Without data it trains on videos rendered on the spot.
    "smoke": {
        "training.0.dataset.folders": ["DAVIS-train-256"],
        "training.0.updates": 12,
        "training.0.batch": 4,
        "training.0.lr": 1e-4,
        "training.0.warmup": 2,
        "training.0.crop": 64,
        "training.0.radii": (3, 2),
        "training.0.autocast": "bfloat16",
    },
}

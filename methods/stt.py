"""STT (Li & Liu, CVPR 2023): spatial features first, then temporal ones; ResNet-18 at stride 8.

Spatial-then-Temporal Self-Supervised Learning for Video Correspondence, pages 2279-2288, arXiv 2209.07778.
The network that propagates labels is the student of the second step: Lab input, no pooling after the first
convolution, third stage. The weights are those that corrbench trained and ships (records call the method
stt-adapted); their batch normalisation and the mean of their features follow the video. -o method.checkpoint=stt-r18-chain
takes such without that, stt-r18-small those of schedule `small`, stt-r18 the authors'.
"""

method = dict(
    type="LabelPropagation",
    backbone=dict(type="ResNet", depth=18, stem_pool=None, strides=(1, 2, 2, 1), layer=3),  # stride 8
    colour="lab",
    checkpoint="stt-r18-adapted",  # corrbench's own training, in the package; the authors' weights: stt-r18
    protocol="stt",
)

# Step 1: momentum contrast (MoCo v2) on photographs. Step 2: reconstruction of video frames, taught by step 1.
# As written here (schedule `paper`): 200 epochs of ImageNet, then 800 passes over YouTube-VOS 2018 train's 3,471 videos.
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
    dict(
        type="Temporal",
        backbone=dict(type="ResNet", depth=18, stem_pool=None, strides=(1, 2, 2, 4), layer=4),
        teacher=dict(type="ResNet", depth=18, stem_pool="max", strides=(1, 2, 2, 2), layer=4),
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
        global_weight=50.0,
        temperature=0.07,
    ),
    # Ours, not the paper's (docs/stt.md), and left out unless a schedule gives it updates: what both reconstructing levels
    # of step 2 give at a cell and around it, whitened.
    dict(
        type="Whitening",
        backbone=dict(type="ResNet", depth=18, stem_pool=None, strides=(1, 2, 2, 1), layer=3),
        dataset=dict(type="Videos", folders=["YouTube-VOS/train/JPEGImages"]),
        colour="lab",
        updates=0,
        layers=(2, 3),
        means=(3, 7, 15, 31),
        directions=512,
    ),
    # Ours too, and left out likewise: the affinities of trainings with this seed and the next ones, taught to one network.
    dict(
        type="EnsembleDistillation",
        backbone=dict(
            type="Whitened",
            backbone=dict(type="ResNet", depth=18, stem_pool=None, strides=(1, 2, 2, 1), layer=3),
            layers=(2, 3),
            means=(3, 7, 15, 31),
            directions=512,
        ),
        dataset=dict(type="Videos", folders=["YouTube-VOS/train/JPEGImages"]),
        colour="lab",
        updates=0,
        others=2,
    ),
    # And the last of ours: labels carried step by step through clips, taught to the match from end to end.
    dict(
        type="ChainDistillation",
        backbone=dict(
            type="Whitened",
            backbone=dict(type="ResNet", depth=18, stem_pool=None, strides=(1, 2, 2, 1), layer=3),
            layers=(2, 3),
            means=(3, 7, 15, 31),
            directions=512,
        ),
        dataset=dict(type="Videos", folders=["YouTube-VOS/train/JPEGImages"]),
        colour="lab",
        updates=0,
    ),
]

# What is trained how long, as changes of the settings above. `small` and `medium` read the folders images-1k-192
# (photographs) and DAVIS-train-256 (videos) below $CORRBENCH_DATA or --data; any folders will do, for instance
# -o 'training.1.dataset.folders=["mine"]'.
schedules = {
    "paper": {},
    # One CPU core, an hour and a quarter in all: the weights that corrbench ships. Small crops at about the scale of
    # the frames that are evaluated, frames eight apart, and the distillations' weights scaled so that they weigh against the
    # reconstruction what they do at the paper's crop (a mean over squared affinities falls with keys times window).
    # At the end, unlike in the paper, whitening.
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
        "training.1.dataset.folders": ["DAVIS-train-256"],
        "training.1.updates": 3200,
        "training.1.batch": 8,
        "training.1.lr": 3e-3,
        "training.1.warmup": 20,
        "training.1.gap": 8,
        "training.1.crop": 96,
        "training.1.area": (0.1, 0.6),
        "training.1.aspect": (0.8, 1.6),
        "training.1.radii": (6, 4),
        "training.1.global_weight": 3.0,
        "training.1.local_weight": 70.0,
        "training.2.dataset.folders": ["DAVIS-train-256"],
        "training.2.updates": 27,
        "training.3.dataset.folders": ["DAVIS-train-256"],
        "training.4.dataset.folders": ["DAVIS-train-256"],
    },
    # `small` with, beside its second step, contrast between the cells of photographs that are moved by a known motion. Ours,
    # not the paper's (docs/stt.md). Two CPU cores, an hour and ten minutes.
    "contrast": {
        "_base_": "small",
        "training.1.updates": 6000,
        "training.1.batch": 2,
        "training.1.lr": 2e-3,
        "training.1.warmup": 100,
        "training.1.contrast_weight": 1.0,
        "training.1.contrast": dict(
            type="Dense",
            backbone=dict(type="ResNet", depth=18, stem_pool=None, strides=(1, 2, 2, 1), layer=3),
            dataset=dict(type="Photos", folders=["images-1k-192", "DAVIS-train-256"]),
            updates=0,
            batch=8,
            side=(0.5, 1.0),
        ),
        "training.2.updates": 0,
    },
    # The shipped weights of `small`, their map taught with chains (docs/stt.md). Two CPU cores, a quarter of an hour.
    "chain": {
        "_base_": "small",
        "training.4.weights": "stt-r18-small",
        "training.4.updates": 240,
        "training.4.warmup": 15,
    },
    # The network of `stt-r18-small` as its second step was trained, without a or without b: both passes joined, whitened
    # anew, and taught with chains (docs/stt.md). Two CPU cores, half an hour.
    "two-pass": {
        "_base_": "small",
        "training.2.weights": "stt-r18-small",
        "training.2.dropped": (1, 2),
        "training.3.backbone.dropped": (1, 2),
        "training.4.backbone.dropped": (1, 2),
        "training.4.updates": 240,
        "training.4.warmup": 15,
        "training.4.autocast": "bfloat16",
    },
    # The network of `stt-r18-small`, whitened by half and centred on each video (docs/stt.md). Two CPU cores, two minutes.
    "centred": {
        "_base_": "small",
        "training.2.weights": "stt-r18-small",
        "training.2.power": 0.5,
        "training.2.centred": True,
        "training.3.backbone.centred": True,
        "training.4.backbone.centred": True,
    },
    # The same taught with chains. Two CPU cores, half an hour.
    "centred-chain": {
        "_base_": "centred",
        "training.4.updates": 240,
        "training.4.warmup": 15,
        "training.4.lr": 2.5e-4,
        "training.4.autocast": "bfloat16",
    },
    # `centred`, with batch normalisation that is adapted to each video (docs/stt.md). Two CPU cores, two minutes.
    "adapted": {
        "_base_": "centred",
        "training.2.adapted": 0.4,
        "training.3.backbone.adapted": 0.4,
        "training.4.backbone.adapted": 0.4,
    },
    # `small` with 80 updates of the second step, for tables of many variants; evaluated at half the size and radius.
    "brief": {
        "_base_": "small",
        "method.protocol": dict(name="stt", resize="short 240", radius=6),
        "training.1.updates": 80,
        "training.2.updates": 0,
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
        "training.1.dataset.folders": ["DAVIS-train-256"],
        "training.1.updates": 5000,
        "training.1.batch": 32,
        "training.1.warmup": 200,
        "training.1.autocast": "bfloat16",
    },
    # Seconds: to see that everything works. Without data it trains on videos rendered on the spot.
    # Minutes on a laptop, to see that everything runs; frames at their own size, so its scores have their own signature.
    "smoke": {
        "method.protocol": dict(name="stt", resize="native"),
        "training.0.dataset.folders": ["images-1k-192"],
        "training.0.updates": 20,
        "training.0.batch": 16,
        "training.0.queue": 128,
        "training.0.key_momentum": 0.9,
        "training.0.crop": 64,
        "training.0.autocast": "bfloat16",
        "training.1.dataset.folders": ["DAVIS-train-256"],
        "training.1.updates": 12,
        "training.1.batch": 4,
        "training.1.lr": 1e-4,
        "training.1.warmup": 2,
        "training.1.crop": 64,
        "training.1.radii": (3, 2),
        "training.1.autocast": "bfloat16",
    },
}

# What each of them removes, and why it is set up so: docs/stt.md.
ablations = {
    "no global distillation": {"training.1.global_weight": 0.0},
    "no local distillation": {"training.1.local_weight": 0.0},
    "no distillation": {"training.1.global_weight": 0.0, "training.1.local_weight": 0.0},
    "spatial step only": {  # evaluated in the geometry and colour it was trained in
        "training.1.updates": 0,
        "method.backbone.stem_pool": "max",
        "method.backbone.strides": (1, 2, 1, 1),
        "method.colour": "rgb",
        "training.2.backbone.stem_pool": "max",
        "training.2.backbone.strides": (1, 2, 1, 1),
        "training.2.colour": "rgb",
        "training.3.backbone.backbone.stem_pool": "max",
        "training.3.backbone.backbone.strides": (1, 2, 1, 1),
        "training.3.colour": "rgb",
        "training.4.backbone.backbone.stem_pool": "max",
        "training.4.backbone.backbone.strides": (1, 2, 1, 1),
        "training.4.colour": "rgb",
    },
    # No teacher without step 1.
    "temporal step only": {"training.0.updates": 0, "training.1.global_weight": 0.0},
    "joint training": {
        "training.0.updates": 0,
        "training.1.contrast_weight": 1.0,
        "training.1.contrast": None,  # step 1's
        "training.1.global_weight": 0.0,
    },
    "entropy as uncertainty": {"training.1.score": "entropy"},
    "threshold per map": {"training.1.threshold": "map"},
    "paper's reading of the local loss": {
        "training.1.target": "distribution",
        "training.1.volume": "correlation",
        "training.1.score": "entropy",
        "training.1.threshold": "map",
    },
    "one level": {"training.1.reconstruction_weights": (0.0, 1.0), "training.1.local_weight": 0.0},
    "supervised teacher": {"training.1.teacher_weights": "imagenet-r18"},
    "RGB instead of Lab": {  # 20 over ImageNet's mean deviation, so that the loss sees the same range
        "training.1.colour": "rgb",
        "training.1.channels": (0, 1, 2),
        "training.1.scale": 4.5,
        "training.2.colour": "rgb",
        "training.3.colour": "rgb",
        "training.4.colour": "rgb",
        "method.colour": "rgb",
    },
    "no colour dropout": {"training.1.dropout": False},
}

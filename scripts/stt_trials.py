"""What was tried before STT's schedules were settled: 100 updates of each step, on the synthetic benchmark.

    CORRBENCH_DATA=/data corrbench ablate scripts/stt_trials.py tasks/synthetic.py --schedule trial --report reports/trials

One seed each, in the order in which they were tried; no evaluation video was looked at. The results: docs/stt_tuning.md.
"""

_base_ = "../methods/stt.py"

schedules = {
    "_delete_": True,
    "trial": {
        "method.protocol": {"name": "stt", "resize": "short 240", "radius": 6},
        "training.0.dataset.folders": ["images-1k-192", "DAVIS-train-256"],
        "training.0.updates": 100,
        "training.0.batch": 64,
        "training.0.lr": 0.06,
        "training.0.warmup": 20,
        "training.0.queue": 1024,
        "training.0.key_momentum": 0.99,
        "training.0.bn_groups": 1,
        "training.0.crop": 64,
        "training.1.dataset.folders": ["DAVIS-train-256"],
        "training.1.updates": 100,
        "training.1.batch": 8,
        "training.1.lr": 1e-3,
        "training.1.warmup": 20,
        "training.1.crop": 96,
        "training.1.radii": (5, 3),
    },
}

ablations = {
    "_delete_": True,
    "smaller steps": {
        "training.1.lr": 0.0003,
    },
    "gap 4": {
        "training.1.gap": 4,
    },
    "no distillation": {
        "training.1.global_weight": 0.0,
        "training.1.local_weight": 0.0,
    },
    "balanced": {
        "training.1.global_weight": 3.0,
        "training.1.local_weight": 70.0,
    },
    "balanced, gap 4": {
        "training.1.global_weight": 3.0,
        "training.1.local_weight": 70.0,
        "training.1.gap": 4,
    },
    "balanced, gap 8, larger steps": {
        "training.1.global_weight": 3.0,
        "training.1.local_weight": 70.0,
        "training.1.gap": 8,
        "training.1.lr": 0.003,
    },
    "balanced, gap 4, nearer crops": {
        "training.1.global_weight": 3.0,
        "training.1.local_weight": 70.0,
        "training.1.area": (0.1, 0.6),
        "training.1.aspect": (0.8, 1.6),
        "training.1.gap": 4,
    },
    "balanced, gap 8, larger steps, nearer crops, radii 6 and 4": {
        "training.1.global_weight": 3.0,
        "training.1.local_weight": 70.0,
        "training.1.area": (0.1, 0.6),
        "training.1.aspect": (0.8, 1.6),
        "training.1.gap": 8,
        "training.1.lr": 0.003,
        "training.1.radii": (6, 4),
    },
    "balanced, gap 8, larger steps, nearer crops, radii 8 and 5": {
        "training.1.global_weight": 3.0,
        "training.1.local_weight": 70.0,
        "training.1.area": (0.1, 0.6),
        "training.1.aspect": (0.8, 1.6),
        "training.1.gap": 8,
        "training.1.lr": 0.003,
        "training.1.radii": (8, 5),
    },
    "balanced, gap 8, larger steps, nearest crops, radii 8 and 5": {
        "training.1.global_weight": 3.0,
        "training.1.local_weight": 70.0,
        "training.1.area": (0.05, 0.3),
        "training.1.aspect": (0.8, 1.6),
        "training.1.gap": 8,
        "training.1.lr": 0.003,
        "training.1.radii": (8, 5),
    },
}

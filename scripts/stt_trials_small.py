"""What was tried around schedule `small` of STT: 200 updates of the second step, on the synthetic benchmark.

    export CORRBENCH_DATA=/data
    corrbench ablate scripts/stt_trials_small.py tasks/synthetic.py --schedule small --report reports/trials

One seed each, at short side 480; no evaluation video was looked at. The results: docs/stt_tuning.md.
"""

_base_ = "../methods/stt.py"

schedules = {"small": {"training.1.updates": 200}}  # the rest of it is stt.py's

ablations = {
    "_delete_": True,
    "reflected borders": {  # in training only
        "training.1.backbone.padding_mode": "reflect",
    },
    "nearer crops": {
        "training.1.area": (0.04, 0.4),
    },
    "crop 64, 450 updates": {
        "training.1.crop": 64,
        "training.1.updates": 450,
        "training.1.area": (0.05, 0.3),
    },
    "crop 128, batch 4, 220 updates, gap 12": {
        "training.1.crop": 128,
        "training.1.batch": 4,
        "training.1.updates": 220,
        "training.1.gap": 12,
        "training.1.area": (0.1, 0.8),
        "training.1.radii": (8, 5),
        "training.1.local_weight": 130.0,
        "training.1.global_weight": 7.0,
    },
    "crop 192, batch 2": {
        "training.1.crop": 192,
        "training.1.batch": 2,
        "training.1.lr": 2e-3,
        "training.1.area": (0.3, 1.0),
        "training.1.radii": (12, 6),
        "training.1.local_weight": 300.0,
        "training.1.global_weight": 15.0,
    },
}

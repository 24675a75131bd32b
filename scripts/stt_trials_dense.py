"""What was tried with the contrast between cells beside the second step of STT: 200 updates, on the synthetic benchmark.

    export CORRBENCH_DATA=/data
    corrbench ablate scripts/stt_trials_dense.py tasks/synthetic.py --schedule contrast --report reports/trials

One seed each, at short side 480; no evaluation video was looked at. The results: docs/stt_tuning.md.
"""

_base_ = "../methods/stt.py"

schedules = {
    "contrast": {  # the rest of it is stt.py's
        "training.1.updates": 200,
        "training.1.lr": 3e-3,
        "training.1.warmup": 20,
        "training.1.contrast.side": (0.35, 1.0),
    }
}

ablations = {
    "_delete_": True,
    "a fifth of the reconstruction, no distillation": {
        "training.1.reconstruction_weights": (0.2, 0.2),
        "training.1.local_weight": 0.0,
        "training.1.global_weight": 0.0,
    },
    "contrast alone": {
        "training.1.reconstruction_weights": (0.0, 0.0),
        "training.1.local_weight": 0.0,
        "training.1.global_weight": 0.0,
    },
}

"""What was tried with an ensemble: the shipped STT and two trainings with other seeds, taught to the shipped one.

    export CORRBENCH_DATA=/data
    python scripts/tuning_frames.py scripts/stt_trials_ensemble.py --schedule small [--own-size]
    corrbench ablate scripts/stt_trials_ensemble.py tasks/synthetic.py --schedule small --report reports/trials

bf16 autocast in every step of these; half of the last one's pairs from moving photographs. About two hours of a core with
bf16 matrix units. No evaluation video was looked at. The results: docs/stt.md.
"""

_base_ = "../methods/stt.py"

ablations = {
    "_delete_": True,
    "ensemble of three seeds": {
        "training.1.autocast": "bfloat16",
        "training.3.weights": "stt-r18-small",
        "training.3.updates": 2500,
        "training.3.lr": 5e-5,
        "training.3.area": (0.12, 0.56),  # up to a whole frame's height, so pixels as they are too
        "training.3.warmup": 30,
        "training.3.autocast": "bfloat16",
        "training.3.dataset": {
            "type": "MixedVideos",
            "parts": [
                {"type": "Videos", "folders": ["DAVIS-train-256"]},
                {"type": "MovingPhotos", "folders": ["images-1k-192"]},
            ],
            "times": [37, 1],  # 27 videos 37 times beside 1,000 photographs
        },
    },
}

"""What was tried with an ensemble: the shipped STT and two trainings with other seeds, taught to the shipped one.

    export CORRBENCH_DATA=/data
    python scripts/tuning_frames.py scripts/stt_trials_ensemble.py --schedule ensemble [--own-size]
    corrbench run scripts/stt_trials_ensemble.py tasks/synthetic.py --schedule ensemble

and the same with the schedule `joint`. bf16 autocast in every step of these; half of the last one's pairs from moving
photographs. An hour and a half of two cores with bf16 matrix units. No evaluation video was looked at. The results:
docs/stt_tuning.md.
"""

_base_ = "../methods/stt.py"

schedules = {
    "ensemble": {
        "_base_": "small",
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
    # The ensemble's features joined and whitened together instead of the mean of their cosines.
    "joint": {
        "_base_": "ensemble",
        "training.3.joint": 60,
        "training.3.updates": 960,
        "training.3.warmup": 90,
    },
}

ablations = {"_delete_": True}

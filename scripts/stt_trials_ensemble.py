"""What may be tried next with STT: three trainings of schedule `small` that differ by their seed, taught to one network.

    export CORRBENCH_DATA=/data
    python scripts/tuning_frames.py scripts/stt_trials_ensemble.py --schedule small [--own-size]
    corrbench ablate scripts/stt_trials_ensemble.py tasks/synthetic.py --schedule small --report reports/trials

bf16 autocast in every step that learns; half of the last one's pairs from moving photographs. About three hours of a core
with bf16 matrix units. No evaluation video is looked at. docs/stt.md says what became of it.
"""

_base_ = "../methods/stt.py"

ablations = {
    "_delete_": True,
    "ensemble of three seeds": {
        "training.1.autocast": "bfloat16",
        "training.3.updates": 1500,
        "training.3.lr": 5e-5,
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

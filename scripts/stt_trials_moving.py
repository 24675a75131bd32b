"""What was tried with more pictures for the second step of STT: half of its pairs from photographs that move.

    export CORRBENCH_DATA=/data
    python scripts/tuning_frames.py scripts/stt_trials_moving.py --schedule small [--own-size]
    corrbench ablate scripts/stt_trials_moving.py tasks/synthetic.py --schedule small --report reports/trials

The paper's losses as they are, 4,000 updates in half an hour to an hour of two cores with bf16 matrix units. No evaluation
video was looked at. The results: docs/stt_tuning.md.
"""

_base_ = "../methods/stt.py"

ablations = {
    "_delete_": True,
    "half of the pairs from moving photographs": {
        "training.1.dataset": {
            "type": "MixedVideos",
            "parts": [
                {"type": "Videos", "folders": ["DAVIS-train-256"]},
                {"type": "MovingPhotos", "folders": ["images-1k-192"]},
            ],
            "times": [37, 1],  # 27 videos 37 times beside 1,000 photographs
        },
        "training.1.updates": 4000,
        "training.1.autocast": "bfloat16",
    },
    "statistics of frames at their own size": {"training.2.resize": "native"},
}

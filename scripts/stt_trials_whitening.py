"""What was tried for the whitening after the second step of STT: its power, and what is whitened.

    export CORRBENCH_DATA=/data
    python scripts/tuning_frames.py scripts/stt_trials_whitening.py --schedule small --save tuning.json
    corrbench ablate scripts/stt_trials_whitening.py tasks/synthetic.py --schedule small --report reports/trials

No evaluation video was looked at. The results: docs/stt_tuning.md.
"""

_base_ = "../methods/stt.py"

ablations = {
    "_delete_": True,
    "not whitened": {"training.2.updates": 0},
    "stage 3, power 0.5": {
        "training.2.layers": None,
        "training.2.means": (),
        "training.2.directions": None,
        "training.2.power": 0.5,
    },
    "stage 3, power 0.75": {
        "training.2.layers": None,
        "training.2.means": (),
        "training.2.directions": None,
    },
    "stage 3, power 1": {
        "training.2.layers": None,
        "training.2.means": (),
        "training.2.directions": None,
        "training.2.power": 1.0,
    },
    "stages 2 and 3": {"training.2.means": (), "training.2.directions": None},
    "means 5; 256": {"training.2.means": (5,), "training.2.directions": 256},
    "means 5, 11; 256": {"training.2.means": (5, 11), "training.2.directions": 256},
    "means 5, 11; 384": {"training.2.means": (5, 11), "training.2.directions": 384},
    "means 5, 11, 21; 256": {"training.2.means": (5, 11, 21), "training.2.directions": 256},
    "means 5, 11, 21; 384": {"training.2.means": (5, 11, 21), "training.2.directions": 384},
    "means 5, 11, 21, 41; 384": {"training.2.means": (5, 11, 21, 41), "training.2.directions": 384},
    "means 3, 7, 15, 31; 256": {"training.2.directions": 256},
    "means 3, 7, 15, 31; 384": {"training.2.directions": 384},
    "means 3, 7, 15, 31, 63; 384": {"training.2.means": (3, 7, 15, 31, 63), "training.2.directions": 384},
}

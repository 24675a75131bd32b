"""What was tried for the whitening after the second step of STT: its power, and how the other trained weights take to it.

    export CORRBENCH_DATA=/data
    python scripts/tuning_frames.py scripts/stt_trials_whitening.py --schedule small --save tuning.json
    corrbench ablate scripts/stt_trials_whitening.py tasks/synthetic.py --schedule small --report reports/trials

No evaluation video was looked at. The results: docs/stt.md.
"""

_base_ = "../methods/stt.py"

ablations = {
    "_delete_": True,
    "no whitening": {"training.2.updates": 0},
    "power 0, centred only": {"training.2.power": 0.0},
    "power 0.5": {"training.2.power": 0.5},
    "power 1": {"training.2.power": 1.0},
}

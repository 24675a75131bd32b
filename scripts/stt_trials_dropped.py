"""What was tried with passes without a and without b joined, as STT's second step was trained (schedule `dropped`).

    export CORRBENCH_DATA=/data
    python scripts/tuning_frames.py scripts/stt_trials_dropped.py --schedule dropped --held-out [--own-size]
    corrbench ablate scripts/stt_trials_dropped.py tasks/synthetic.py --schedule dropped --report reports/trials

The halves are those of stt_trials_chain.py: each judges the map that chains taught on the other. The network itself is that
of the shipped weights and is trained no further. No evaluation video was looked at. The results: docs/stt.md.
"""

_base_ = "stt_trials_chain.py"

ablations = {"whitened alone": {"training.4.updates": 0}}

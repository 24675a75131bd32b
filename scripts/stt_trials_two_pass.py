"""What was tried with passes without a and without b joined, as STT's second step was trained (schedule `two-pass`).

    export CORRBENCH_DATA=/data
    python scripts/tuning_frames.py scripts/stt_trials_two_pass.py --schedule two-pass --held-out [--own-size]
    corrbench ablate scripts/stt_trials_two_pass.py tasks/synthetic.py --schedule two-pass --report reports/trials

The halves are those of stt_trials_chain.py: each judges the map that chains taught on the other. The network itself is that
of the shipped weights and is trained no further. No evaluation video was looked at. The results: docs/stt.md.
"""

_base_ = "stt_trials_chain.py"

ablations = {"whitened alone": {"training.4.updates": 0}}

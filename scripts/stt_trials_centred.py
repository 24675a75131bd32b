"""What was tried with features centred on each video, and whitened by half (schedule `centred-chain`).

    export CORRBENCH_DATA=/data
    python scripts/tuning_frames.py scripts/stt_trials_centred.py --schedule centred-chain --held-out [--own-size]
    corrbench ablate scripts/stt_trials_centred.py tasks/synthetic.py --schedule centred-chain --report reports/trials

The halves are those of stt_trials_chain.py: each judges the map that chains taught on the other. The network itself is that
of the shipped weights and is trained no further. No evaluation video was looked at. The results: docs/stt.md.
"""

_base_ = "stt_trials_chain.py"

ablations = {"whitened alone": {"training.4.updates": 0}}

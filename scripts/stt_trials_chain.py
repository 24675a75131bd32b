"""What was tried with chains: labels carried step by step through clips, taught to STT's match from end to end.

    export CORRBENCH_DATA=/data
    python scripts/tuning_frames.py scripts/stt_trials_chain.py --schedule NAME --held-out [--own-size]
    corrbench ablate scripts/stt_trials_chain.py tasks/synthetic.py --schedule NAME --report reports/trials

NAME is `chain` (the shipped map), `two-pass` (passes without a and without b joined, as STT's second step was trained) or
`centred-chain` (features centred on each video, and whitened by half). The network is that of the shipped weights and is
trained no further. What is taught are matches within training videos, so frames of these no longer judge it. Each half of
them therefore judges what was taught on the other half: `--held-out` leaves out the sequences that a variant's last stage
saw; `--only "first half"` evaluates one. A quarter of an hour of two cores a variant. No evaluation video was looked at. The
results: docs/stt_tuning.md.
"""

_base_ = "../methods/stt.py"

ablations = {
    "_delete_": True,
    "first half": {
        "training.4.dataset.folders": [
            "DAVIS-train-256/boat",
            "DAVIS-train-256/bus",
            "DAVIS-train-256/dance-jump",
            "DAVIS-train-256/elephant",
            "DAVIS-train-256/hike",
            "DAVIS-train-256/kite-walk",
            "DAVIS-train-256/mallard-fly",
            "DAVIS-train-256/motocross-bumps",
            "DAVIS-train-256/paragliding",
            "DAVIS-train-256/rollerblade",
            "DAVIS-train-256/soccerball",
            "DAVIS-train-256/surf",
            "DAVIS-train-256/tennis",
        ]
    },
    "second half": {
        "training.4.dataset.folders": [
            "DAVIS-train-256/bmx-bumps",
            "DAVIS-train-256/breakdance-flare",
            "DAVIS-train-256/car-turn",
            "DAVIS-train-256/drift-turn",
            "DAVIS-train-256/flamingo",
            "DAVIS-train-256/hockey",
            "DAVIS-train-256/lucia",
            "DAVIS-train-256/mallard-water",
            "DAVIS-train-256/motorbike",
            "DAVIS-train-256/rhino",
            "DAVIS-train-256/scooter-gray",
            "DAVIS-train-256/stroller",
            "DAVIS-train-256/swing",
            "DAVIS-train-256/train",
        ]
    },
}

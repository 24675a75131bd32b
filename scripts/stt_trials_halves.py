"""What was tried of STT's second step on halves of the videos, each half judging what was trained on the other.

    export CORRBENCH_DATA=/data
    python scripts/tuning_frames.py scripts/stt_trials_halves.py --schedule small --seed 1 --held-out [--own-size]

Videos that the second step was trained on are no judge of how it does on others. So it, and the whitening after it, see one
half of the 27 videos, and frames of the others are scored. Half of the updates of `small`, 20 minutes of a core with bf16
matrix units a variant. No evaluation video was looked at. The results: docs/stt_tuning.md.
"""

_base_ = "../methods/stt.py"

# fmt: off
ablations = {
    "_delete_": True,
    "first half": {
        "training.1.dataset.folders": [
            "DAVIS-train-256/boat", "DAVIS-train-256/bus", "DAVIS-train-256/dance-jump",
            "DAVIS-train-256/elephant", "DAVIS-train-256/hike", "DAVIS-train-256/kite-walk",
            "DAVIS-train-256/mallard-fly", "DAVIS-train-256/motocross-bumps", "DAVIS-train-256/paragliding",
            "DAVIS-train-256/rollerblade", "DAVIS-train-256/soccerball", "DAVIS-train-256/surf",
            "DAVIS-train-256/tennis",
        ],
        "training.2.dataset.folders": [
            "DAVIS-train-256/boat", "DAVIS-train-256/bus", "DAVIS-train-256/dance-jump",
            "DAVIS-train-256/elephant", "DAVIS-train-256/hike", "DAVIS-train-256/kite-walk",
            "DAVIS-train-256/mallard-fly", "DAVIS-train-256/motocross-bumps", "DAVIS-train-256/paragliding",
            "DAVIS-train-256/rollerblade", "DAVIS-train-256/soccerball", "DAVIS-train-256/surf",
            "DAVIS-train-256/tennis",
        ],
        "training.1.updates": 1600,
        "training.1.autocast": "bfloat16",
    },
    "first half, half of the pairs from moving photographs": {
        "training.1.dataset": {
            "type": "MixedVideos",
            "parts": [
                {
                    "type": "Videos",
                    "folders": [
                        "DAVIS-train-256/boat", "DAVIS-train-256/bus",
                        "DAVIS-train-256/dance-jump", "DAVIS-train-256/elephant",
                        "DAVIS-train-256/hike", "DAVIS-train-256/kite-walk",
                        "DAVIS-train-256/mallard-fly", "DAVIS-train-256/motocross-bumps",
                        "DAVIS-train-256/paragliding", "DAVIS-train-256/rollerblade",
                        "DAVIS-train-256/soccerball", "DAVIS-train-256/surf",
                        "DAVIS-train-256/tennis",
                    ],
                },
                {"type": "MovingPhotos", "folders": ["images-1k-192"]},
            ],
            "times": [74, 1],  # 13 or 14 videos 74 times beside 1,000 photographs
        },
        "training.2.dataset.folders": [
            "DAVIS-train-256/boat", "DAVIS-train-256/bus", "DAVIS-train-256/dance-jump",
            "DAVIS-train-256/elephant", "DAVIS-train-256/hike", "DAVIS-train-256/kite-walk",
            "DAVIS-train-256/mallard-fly", "DAVIS-train-256/motocross-bumps", "DAVIS-train-256/paragliding",
            "DAVIS-train-256/rollerblade", "DAVIS-train-256/soccerball", "DAVIS-train-256/surf",
            "DAVIS-train-256/tennis",
        ],
        "training.1.updates": 1600,
        "training.1.autocast": "bfloat16",
    },
    "second half": {
        "training.1.dataset.folders": [
            "DAVIS-train-256/bmx-bumps", "DAVIS-train-256/breakdance-flare", "DAVIS-train-256/car-turn",
            "DAVIS-train-256/drift-turn", "DAVIS-train-256/flamingo", "DAVIS-train-256/hockey",
            "DAVIS-train-256/lucia", "DAVIS-train-256/mallard-water", "DAVIS-train-256/motorbike",
            "DAVIS-train-256/rhino", "DAVIS-train-256/scooter-gray", "DAVIS-train-256/stroller",
            "DAVIS-train-256/swing", "DAVIS-train-256/train",
        ],
        "training.2.dataset.folders": [
            "DAVIS-train-256/bmx-bumps", "DAVIS-train-256/breakdance-flare", "DAVIS-train-256/car-turn",
            "DAVIS-train-256/drift-turn", "DAVIS-train-256/flamingo", "DAVIS-train-256/hockey",
            "DAVIS-train-256/lucia", "DAVIS-train-256/mallard-water", "DAVIS-train-256/motorbike",
            "DAVIS-train-256/rhino", "DAVIS-train-256/scooter-gray", "DAVIS-train-256/stroller",
            "DAVIS-train-256/swing", "DAVIS-train-256/train",
        ],
        "training.1.updates": 1600,
        "training.1.autocast": "bfloat16",
    },
    "second half, half of the pairs from moving photographs": {
        "training.1.dataset": {
            "type": "MixedVideos",
            "parts": [
                {
                    "type": "Videos",
                    "folders": [
                        "DAVIS-train-256/bmx-bumps", "DAVIS-train-256/breakdance-flare",
                        "DAVIS-train-256/car-turn", "DAVIS-train-256/drift-turn",
                        "DAVIS-train-256/flamingo", "DAVIS-train-256/hockey",
                        "DAVIS-train-256/lucia", "DAVIS-train-256/mallard-water",
                        "DAVIS-train-256/motorbike", "DAVIS-train-256/rhino",
                        "DAVIS-train-256/scooter-gray", "DAVIS-train-256/stroller",
                        "DAVIS-train-256/swing", "DAVIS-train-256/train",
                    ],
                },
                {"type": "MovingPhotos", "folders": ["images-1k-192"]},
            ],
            "times": [74, 1],  # 13 or 14 videos 74 times beside 1,000 photographs
        },
        "training.2.dataset.folders": [
            "DAVIS-train-256/bmx-bumps", "DAVIS-train-256/breakdance-flare", "DAVIS-train-256/car-turn",
            "DAVIS-train-256/drift-turn", "DAVIS-train-256/flamingo", "DAVIS-train-256/hockey",
            "DAVIS-train-256/lucia", "DAVIS-train-256/mallard-water", "DAVIS-train-256/motorbike",
            "DAVIS-train-256/rhino", "DAVIS-train-256/scooter-gray", "DAVIS-train-256/stroller",
            "DAVIS-train-256/swing", "DAVIS-train-256/train",
        ],
        "training.1.updates": 1600,
        "training.1.autocast": "bfloat16",
    },
    "all videos, crops of 0.04 to 0.25 of a frame": {
        "training.1.area": (0.04, 0.25),
        "training.1.updates": 1600,
        "training.1.autocast": "bfloat16",
    },
}
# fmt: on

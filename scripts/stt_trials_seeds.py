"""What was tried with other seeds of STT: schedule `small` with bf16 autocast in the second step.

    export CORRBENCH_DATA=/data
    python scripts/tuning_frames.py scripts/stt_trials_seeds.py --schedule small --seed 1 [--own-size]
    corrbench ablate scripts/stt_trials_seeds.py tasks/synthetic.py --schedule small --report reports/trials

Half an hour of a core with bf16 matrix units for each seed. No evaluation video was looked at. The results:
docs/stt_tuning.md.
"""

_base_ = "../methods/stt.py"

ablations = {"_delete_": True, "bf16 autocast": {"training.1.autocast": "bfloat16"}}

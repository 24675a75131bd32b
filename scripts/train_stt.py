"""Train and evaluate everything behind STT's ablation report, in runs as short as you like: it goes on where it stopped.

    CORRBENCH_DATA=/data python scripts/train_stt.py --schedule small              CPU, hours a stage
    CORRBENCH_DATA=/data python scripts/train_stt.py --schedule medium --minutes 9  GPU, stops by itself after nine minutes

Exit code 0 when everything is done, 3 when there is more to do. Three seeds for the full method, either step alone and
each distillation left out; one for the rest.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from corrbench import ablation
from corrbench.ablation_check import check_seed

ROOT = Path(__file__).parents[1]
THREE = (
    ablation.FULL,
    "spatial step only",
    "temporal step only",
    "no global distillation",
    "no local distillation",
)


def main() -> int:
    words = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    words.add_argument("--schedule", default="small")
    words.add_argument("--task", action="append", help="evaluate on these (default: davis, badja, synthetic)")
    words.add_argument("-o", "--override", action="append", default=[], help="as of corrbench ablate")
    words.add_argument("--seeds", type=int, default=3, help="of the five main variants")
    words.add_argument("--data", type=Path)
    words.add_argument("--device")
    words.add_argument("--out", type=Path, default=Path("runs"))
    words.add_argument("--report", type=Path, default=Path("reports/ablation"))
    words.add_argument("--minutes", type=float, help="stop after so many minutes, everything saved")
    words.add_argument("--dry-run", action="store_true")
    words.add_argument(
        "--check-seed", type=int, help="train this seed of the full method again and compare its score"
    )
    given = words.parse_args()
    method = str(ROOT / "methods" / "stt.py")
    seeds = dict.fromkeys(THREE, given.seeds)
    tasks = given.task or [str(ROOT / "tasks" / f"{name}.py") for name in ("davis", "badja", "synthetic")]
    if given.dry_run:
        from corrbench.provenance import choose_device

        planned = ablation.variants(
            method, seeds=seeds, schedule=given.schedule, data=given.data, fetch=False, sample=False,
            device=choose_device(given.device),
        )  # fmt: skip
        print("\n".join(ablation.describe(planned)))
        return 0
    if given.minutes:
        # The same as a Ctrl-C: the loop saves a checkpoint first, an evaluation keeps its finished sequences.
        timer = threading.Timer(60 * given.minutes, os.kill, (os.getpid(), signal.SIGINT))
        timer.daemon = True
        timer.start()
    try:
        if given.check_seed is not None:
            found = check_seed(
                method, tasks[0], schedule=given.schedule, report=given.report, seed=given.check_seed, data=given.data,
                device=given.device, out=given.out / "check-seed", overrides=given.override, sample=False,
            )  # fmt: skip
            print(found.line())
            return 0 if found.holds else 1
        for task in tasks:
            result = ablation.ablate(
                method, task, seeds=seeds, schedule=given.schedule, data=given.data, device=given.device,
                out=given.out, report=given.report, overrides=given.override, sample=False,
            )  # fmt: skip
            print(result.files[0].read_text(encoding="utf-8"))
    except KeyboardInterrupt:
        print("stopped; run the same command again, it goes on from here", file=sys.stderr)
        return 3
    except ValueError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m corrbench.training METHOD`: train a method's missing stages and nothing else; also under torchrun.

torchrun --nproc_per_node=4 -m corrbench.training methods/stt.py --schedule paper --data /data
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from corrbench import config, plugins


def main() -> int:
    """Exit code 0 when all stages are there, 130 when stopped by a signal, 1 with one sentence otherwise."""
    words = argparse.ArgumentParser(
        prog="python -m corrbench.training", description=(__doc__ or "").splitlines()[0]
    )
    words.add_argument("method", help="a method file, or the name of one in methods/")
    words.add_argument("--schedule", help="one of the method's schedules (default: the settings as written)")
    words.add_argument("--ablation", help="one of the method's ablations")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--data", type=Path, help="folder of training data (else $CORRBENCH_DATA)")
    words.add_argument("--device", help="cpu, cuda (default: a GPU where there is one)")
    words.add_argument("--tensorboard", action="store_true", help="write event files beside log.csv")
    words.add_argument("--dry-run", action="store_true", help="say what would be trained, and for how long")
    given = words.parse_args()
    try:
        return _run(given)
    except ValueError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print(stop or "stopped", file=sys.stderr)
        return 130


def _run(given: argparse.Namespace) -> int:
    from corrbench.ablation import changes_of
    from corrbench.provenance import choose_device
    from corrbench.training import cache, distributed

    data = config.load(plugins.find("methods", given.method), "method").data
    settings = {
        "schedule": given.schedule,
        "changes": changes_of(data, given.ablation),
        "seed": given.seed,
        "root": given.data,
        "device": choose_device(given.device),
    }
    if given.dry_run:
        for stage in cache.plan(data, **settings):
            print(stage.line())
        return 0
    try:
        trained = cache.train_missing(data, tensorboard=given.tensorboard, **settings)
        if distributed.rank() == 0:
            print(trained.path)
    finally:
        distributed.leave()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The loop: resume after kill -9 to the bit, signals, divergence, memory, accumulation, two processes as one."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from corrbench.registry import STAGES, build
from corrbench.training import checkpoint, loop
from corrbench.training.journal import Journal
from corrbench.training.stage import Stage, StageNetwork

RUN = """
import json, os, signal, sys
import torch
from pathlib import Path
from corrbench.registry import STAGES, build
from corrbench.training import distributed, loop
torch.set_num_threads(1)
distributed.join("cpu")
for job in json.loads(sys.argv[1]):
    parent = torch.load(job["parent"], weights_only=True) if job.get("parent") else None
    def after(done):
        if done == job.get("kill_at"):
            os.kill(os.getpid(), signal.SIGKILL)
    loop.train(build(STAGES, job["stage"]), Path(job["folder"]), parent=parent,
               save_updates=job.get("save_updates"), after=after)
distributed.leave()
"""


def run(jobs: list[dict[str, Any]], script: Path, processes: int = 1) -> subprocess.CompletedProcess[str]:
    program = [sys.executable]
    script.write_text(RUN)
    if processes > 1:
        program += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    return subprocess.run(
        [*program, str(script), json.dumps(jobs)],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )


def same(a: Path, b: Path) -> bool:
    left, right = (checkpoint.load_weights(p / "weights.safetensors") for p in (a, b))
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_killed_at_a_random_update_and_resumed_gives_the_same_bits(
    temporal: dict[str, Any], tmp_path: Path
) -> None:
    stage = temporal | {"updates": 7, "warmup": 2, "accumulate": 2, "global_weight": 0.0}
    loop.train(build(STAGES, stage), tmp_path / "whole")
    kill_at = 2 + int(time.time()) % 4  # any update will do: 2 to 5
    job = {"stage": stage, "folder": str(tmp_path / "killed"), "save_updates": 2, "kill_at": kill_at}
    died = run([job], tmp_path / "run.py")
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert (tmp_path / "killed" / "checkpoint.pt").is_file()
    assert not (tmp_path / "killed" / "weights.safetensors").exists()
    outcome = loop.train(build(STAGES, stage), tmp_path / "killed")
    assert outcome.resumed_at == kill_at // 2 * 2
    assert same(tmp_path / "whole", tmp_path / "killed")
    assert not (tmp_path / "killed" / "checkpoint.pt").exists()


def test_contrast_resumes_with_its_queue_and_key_encoder(spatial: dict[str, Any], tmp_path: Path) -> None:
    stage = build(STAGES, spatial | {"updates": 7, "accumulate": 2, "autocast": "bfloat16"})
    loop.train(stage, tmp_path / "whole")

    def crash(done: int) -> None:
        if done == 5:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        loop.train(stage, tmp_path / "cut", save_updates=3, after=crash)
    torch.rand(3)  # the process's own random numbers must not matter
    assert loop.train(stage, tmp_path / "cut").resumed_at == 3
    assert same(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize("word", ["SIGINT", "SIGTERM"])
def test_a_signal_saves_and_stops(word: str, temporal: dict[str, Any], tmp_path: Path) -> None:
    stage = build(STAGES, temporal | {"updates": 6, "global_weight": 0.0})

    def after(done: int) -> None:
        if done == 3:
            os.kill(os.getpid(), getattr(signal, word))

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(loop.Interrupted, match="after update 4 of 6"):
        loop.train(stage, tmp_path / "cut", after=after)
    assert signal.getsignal(signal.SIGTERM) is before
    assert loop.train(stage, tmp_path / "cut").resumed_at == 4
    loop.train(stage, tmp_path / "whole")
    assert same(tmp_path / "whole", tmp_path / "cut")


def test_seeds_differ_and_a_seed_repeats(spatial: dict[str, Any], tmp_path: Path) -> None:
    stage = build(STAGES, spatial | {"updates": 2})
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        loop.train(stage, tmp_path / name, seed=seed)
    assert same(tmp_path / "a", tmp_path / "b")
    assert not same(tmp_path / "a", tmp_path / "c")


class Breaking(Stage):
    """A stage of one number, whose loss does what a test asks for."""

    def __init__(self, what: str) -> None:
        super().__init__(backbone={}, dataset={}, updates=30, batch=2)
        object.__setattr__(self, "what", what)

    def network(self, parent: Any, seed: int) -> StageNetwork:
        what = self.what  # type: ignore[attr-defined]

        class Network(StageNetwork):
            def __init__(self) -> None:
                super().__init__()
                self.backbone = torch.nn.Linear(1, 1)
                self.calls = 0

            def begin(self) -> None:
                self.calls += 1

            def forward(self, batch: Any) -> dict[str, torch.Tensor]:
                out = self.backbone(torch.ones(1, 1)).sum()
                if what == "memory" and self.calls == 3:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore")
                return {"good": out, "bad": out * (float("nan") if what == "nan" and self.calls == 8 else 1)}

        return Network()

    def feed(self, seed: int, dataset: Any = None) -> Any:
        class Feed:
            def fetch(self, part: Any) -> dict[str, Any]:
                if what == "data":
                    raise ValueError("cat.jpg: is damaged")
                return {}

            def prepare(self, batch: Any, device: Any) -> Any:
                return batch

        what = self.what  # type: ignore[attr-defined]
        return Feed()


def test_a_nan_stops_with_the_update_and_the_loss(tmp_path: Path) -> None:
    with pytest.raises(loop.Diverged, match=r"at update 7: bad = nan; lower lr"):
        loop.train(Breaking("nan"), tmp_path)
    assert not (tmp_path / "weights.safetensors").exists()


def test_running_out_of_memory_names_the_settings_to_lower(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"out of memory on cpu .*2.00 GiB\); raise accumulate \(now 1.*lower batch \(now 2\)",
    ):
        loop.train(Breaking("memory"), tmp_path)


def test_an_error_in_the_data_reaches_the_user(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cat\.jpg"):
        loop.train(Breaking("data"), tmp_path)


def test_damaged_and_foreign_checkpoints_are_refused(spatial: dict[str, Any], tmp_path: Path) -> None:
    stage = build(STAGES, spatial | {"updates": 2})
    (tmp_path / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"checkpoint.pt: is no readable checkpoint"):
        loop.train(stage, tmp_path)
    network = stage.network(None, 0)
    checkpoint.save(tmp_path / "checkpoint.pt", 1, network, stage.optimiser_of(network), "another")
    with pytest.raises(ValueError, match="is of another stage"):
        loop.train(stage, tmp_path, digest="this")


def test_checkpoints_are_plain_and_appear_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def broken(part: Path) -> None:
        part.write_text("half")
        raise OSError("disk full")

    path.write_text("before")
    with pytest.raises(OSError, match="disk full"):
        checkpoint.atomically(path, broken)
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_log_continues_where_the_checkpoint_was(tmp_path: Path) -> None:
    first = Journal(tmp_path, tensorboard=True)
    first.begin(0, 30)
    for done in (10, 20, 30):
        first.write(done, {"a": float(done)}, 0.1)
    first.close()
    assert list((tmp_path / "tensorboard").iterdir())
    second = Journal(tmp_path)
    second.begin(20, 30)
    second.write(30, {"a": -1.0}, 0.1)
    with open(tmp_path / "log.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["update"], row["a"]) for row in rows] == [("10", "10"), ("20", "20"), ("30", "-1")]


def test_accumulation_gives_the_gradient_of_the_whole_batch(temporal: dict[str, Any], tmp_path: Path) -> None:
    """With running statistics (so that no normalisation looks across samples) micro-batches must not matter."""
    grads = {}
    for accumulate in (1, 2):
        stage = build(
            STAGES,
            temporal | {"global_weight": 0.0, "local_weight": 0.0, "accumulate": accumulate, "updates": 1},
        )
        network = stage.network(None, 0).eval()
        sgd = torch.optim.SGD(network.parameters(), 0.0)
        with loop._Reader(stage, 0, None, 0) as reader:
            loop.step(stage, network, sgd, reader, 0, 0.0, torch.device("cpu"))
        grads[accumulate] = network.backbone.conv1.weight.grad
    torch.testing.assert_close(grads[1], grads[2], rtol=1e-4, atol=1e-5)


def test_two_processes_give_the_weights_of_one_with_the_whole_batch(
    spatial: dict[str, Any], temporal: dict[str, Any], tmp_path: Path
) -> None:
    """Contrast with shuffled keys, and all temporal losses, batch normalisation over both processes.

    Small steps: the released mask is a threshold, across which rounding may push a position after large ones.
    """
    same_way = {"updates": 3, "optimiser": "sgd", "lr": 1e-5, "batch": 8}
    first = build(STAGES, temporal | {"global_weight": 0.0}).network(None, 1).backbone.state_dict()
    torch.save(first, tmp_path / "parent.pt")
    starts = {"spatial": None, "temporal": first}
    stages = {"spatial": spatial | same_way | {"crop": 64}, "temporal": temporal | same_way}
    jobs = [
        {
            "stage": stages[k],
            "folder": str(tmp_path / f"{k}2"),
            "parent": starts[k] and str(tmp_path / "parent.pt"),
        }
        for k in stages
    ]
    done = run(jobs, tmp_path / "run.py", processes=2)
    assert done.returncode == 0, done.stderr[-2000:]
    for kind, stage in stages.items():
        loop.train(build(STAGES, stage), tmp_path / f"{kind}1", parent=starts[kind])
        one, two = (checkpoint.load_weights(tmp_path / f"{kind}{n}" / "weights.safetensors") for n in (1, 2))
        start = build(STAGES, stage).network(starts[kind], 0).backbone.state_dict()
        for name in (
            "conv1.weight",
            "layer2.0.conv1.weight",
            "layer4.1.bn2.bias",
            "bn1.running_mean",
            "layer3.0.bn1.running_var",
        ):
            moved, apart = (one[name] - start[name]).abs().max(), (one[name] - two[name]).abs().max()
            assert apart < 0.01 * moved, f"{kind} {name}: {apart:g} of {moved:g}"

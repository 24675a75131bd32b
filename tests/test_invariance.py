"""What may not change a number: the batch of the backbone, threads, the order of sequences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from corrbench import api, methods, runner
from corrbench.provenance import Numerics

ROOT = Path(__file__).parent.parent
SMALL = ("protocol.resize=short 96", "protocol.radius=3", "protocol.context=3")


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def plan(davis: Path, out: Path, method: str = "random_resnet18"):  # type: ignore[no-untyped-def]
    return api.plan(
        ROOT / "methods" / f"{method}.py",
        ROOT / "tasks" / "davis.py",
        overrides=SMALL,
        data=davis,
        out=out,
        device="cpu",
    )


def test_a_frames_features_do_not_depend_on_its_batch(
    tiny_davis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan(tiny_davis, tmp_path)
    sequence = made.dataset.load("blackswan")
    method = made.method
    method.prepare(Numerics(), None)
    maps = []
    for batch in (1, 3, 4):
        monkeypatch.setitem(methods.BATCH, "cpu", batch)
        maps.append(method.features(sequence, (96, 128)))
    for other in maps[1:]:
        assert torch.allclose(maps[0], other, rtol=1e-4, atol=1e-5 * float(maps[0].abs().max()))


@pytest.mark.parametrize("method", ["lab", "random_resnet18"])
def test_scores_do_not_depend_on_threads(tiny_davis: Path, tmp_path: Path, method: str) -> None:
    tables = []
    for count in (1, 2):
        torch.set_num_threads(count)
        tables.append(runner.execute(plan(tiny_davis, tmp_path / str(count), method)).data["files"])
    assert tables[0] == tables[1]


def test_scores_do_not_depend_on_the_order_of_sequences(tiny_davis: Path, tmp_path: Path) -> None:
    forward, backward = plan(tiny_davis, tmp_path / "a"), plan(tiny_davis, tmp_path / "b")
    runner.predict(backward, names=list(reversed(backward.dataset.names())))
    assert runner.execute(forward).data["files"] == runner.execute(backward).data["files"]

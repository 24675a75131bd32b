"""A run is planned, goes on where it stopped, gives the same numbers every time, and says what it was."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from corrbench import api, predictions, runner
from corrbench.record import Record

ROOT = Path(__file__).parent.parent
LAB = str(ROOT / "methods" / "lab.py")
TASK = str(ROOT / "tasks" / "davis.py")
# Small frames: the protocol's 480 pixels would only make the tests slow.
SMALL = ("protocol.resize=short 96", "protocol.radius=3", "protocol.context=3")


def run(data: Path, out: Path, method: str = LAB, **settings: object) -> Record:
    given: dict[str, object] = {"overrides": SMALL, "data": data, "out": out, "device": "cpu"} | settings
    return api.run(method, TASK, **given)  # type: ignore[arg-type]


def test_a_run_gives_a_record_with_numbers_and_everything_that_made_them(
    tiny_davis: Path, tmp_path: Path
) -> None:
    record = run(tiny_davis, tmp_path / "runs")
    assert record.summary["J&F-Mean"] > 50  # squares of another colour, moving two pixels a frame
    assert record.dataset["sequences"] == 2
    assert record.dataset["official"] == 30
    assert record.data["numerics"]["device"] == "cpu"
    assert record.data["versions"]["torch"]
    assert set(record.cost["stages"]) >= {"features", "neighbours", "propagate", "decode", "score"}
    assert record.cost["frames"] == 8
    for word in (
        "DAVIS-2017 val, 2 of 30 sequences",
        "lab@",
        "stt.v1",
        "size:short 96",
        "cpu.float32",
        "weights:none",
    ):
        assert word in record.signature
    rows = record.scores()
    assert list(rows["sequence"]) == ["bike-packing", "bike-packing", "blackswan"]
    assert np.isclose(record.summary["J-Mean"], 100 * rows["J-Mean"].mean()) or np.isclose(
        record.summary["J-Mean"], rows["J-Mean"].mean()
    )
    frames = record.frames()
    assert frames is not None
    assert len(frames["J"]) == 3 * 2  # first and last frame are left out


def test_two_runs_with_one_key_are_equal_to_the_last_bit(tiny_davis: Path, tmp_path: Path) -> None:
    one, two = (run(tiny_davis, tmp_path / name) for name in ("one", "two"))
    assert one.key == two.key
    assert one.data["files"] == two.data["files"]  # sha256 of the tables


def test_a_finished_run_is_taken_as_it_is_and_always_starts_afresh(tiny_davis: Path, tmp_path: Path) -> None:
    first = run(tiny_davis, tmp_path)
    stamp = (first.folder / "record.json").stat().st_mtime_ns
    run(tiny_davis, tmp_path)
    assert (first.folder / "record.json").stat().st_mtime_ns == stamp
    run(tiny_davis, tmp_path, when="always")
    assert (first.folder / "record.json").stat().st_mtime_ns > stamp


def test_never_computes_nothing(tiny_davis: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no finished record of this run, and --when never"):
        run(tiny_davis, tmp_path / "empty", when="never")
    assert not list((tmp_path / "empty").rglob("*.png"))


def test_key_is_of_settings_and_content_not_of_place(tiny_davis: Path, tmp_path: Path) -> None:
    def key(**settings: object) -> str:
        given: dict[str, object] = {"overrides": SMALL, "data": tiny_davis, "device": "cpu"} | settings
        return api.plan(
            settings.pop("method", LAB), TASK, **{k: v for k, v in given.items() if k != "method"}
        ).key  # type: ignore[arg-type]

    here = key()
    moved = tmp_path / "elsewhere" / "DAVIS"
    moved.parent.mkdir()
    os.rename(tiny_davis, moved)
    assert key(data=moved, out=tmp_path / "other") == here
    assert key(data=moved, overrides=(*SMALL, "protocol.topk=5")) != here
    assert key(data=moved, overrides=tuple(reversed(SMALL))) == here
    assert key(data=moved, protocol="crw") != here
    assert key(data=moved, autocast="bfloat16") != here
    assert key(data=moved, compile=True) != here
    assert key(data=moved, method=str(ROOT / "methods" / "hog.py")) != here
    mask = moved / "Annotations" / "480p" / "blackswan" / "00000.png"
    mask.write_bytes((moved / "Annotations" / "480p" / "blackswan" / "00001.png").read_bytes())
    assert key(data=moved) != here


def test_interrupted_runs_go_on_with_the_next_sequence(
    tiny_davis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tiny_davis, tmp_path / "whole")
    plan = api.plan(LAB, TASK, overrides=SMALL, data=tiny_davis, out=tmp_path / "cut", device="cpu")
    predict = plan.method.predict

    def stop_at_the_second(sequence, *rest):  # type: ignore[no-untyped-def]
        if sequence.name == "blackswan":
            raise KeyboardInterrupt
        return predict(sequence, *rest)

    monkeypatch.setattr(plan.method, "predict", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        runner.execute(plan)
    assert runner.state(plan) == {"bike-packing": True, "blackswan": False}
    seen: list[tuple[str, bool]] = []
    again = api.plan(LAB, TASK, overrides=SMALL, data=tiny_davis, out=tmp_path / "cut", device="cpu")
    record = runner.execute(again, progress=lambda name, frames, there: seen.append((name, there)))
    assert seen == [("bike-packing", True), ("blackswan", False)]
    assert record.data["files"] == whole.data["files"]


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_killed_in_the_middle_of_writing_leaves_nothing_that_is_taken_for_whole(
    tiny_davis: Path, tmp_path: Path, stop: signal.Signals
) -> None:
    """Stopped once the first mask is there; the same command then gives the same tables as an undisturbed run."""
    whole = run(tiny_davis, tmp_path / "whole")
    code = (
        "from corrbench import api\n"
        f"api.run({LAB!r}, {TASK!r}, overrides={SMALL!r}, data={str(tiny_davis)!r}, "
        f"out={str(tmp_path / 'killed')!r}, device='cpu')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.DEVNULL)
    deadline = time.time() + 60
    while time.time() < deadline and process.poll() is None:
        if any(name.endswith(".png") for _, _, names in os.walk(tmp_path / "killed") for name in names):
            break
        time.sleep(0.002)
    process.send_signal(stop)
    process.wait(60)
    record = run(tiny_davis, tmp_path / "killed")
    assert record.data["files"] == whole.data["files"]


def test_two_processes_share_the_sequences(tiny_davis: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom corrbench import api\n"
        f"r = api.run({LAB!r}, {TASK!r}, overrides={SMALL!r}, data={str(tiny_davis)!r}, "
        f"out={str(tmp_path / 'both')!r}, device='cpu')\n"
        "print(r.summary['J&F-Mean'])\n"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = [p.communicate(timeout=120)[0].strip() for p in both]
    assert said[0] == said[1] != ""
    assert [p.returncode for p in both] == [0, 0]


def test_a_full_disk_is_said_and_what_is_finished_stays(
    tiny_davis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = api.plan(LAB, TASK, overrides=SMALL, data=tiny_davis, out=tmp_path, device="cpu")
    save = plan.task.save

    def full(folder: Path, sequence, prediction):  # type: ignore[no-untyped-def]
        if sequence.name == "blackswan":
            raise OSError(errno.ENOSPC, "No space left on device")
        save(folder, sequence, prediction)

    monkeypatch.setattr(plan.task, "save", full)
    with pytest.raises(
        ValueError, match="no space is left on the disk; free some and run the same command again"
    ):
        runner.execute(plan)
    assert runner.state(plan)["bike-packing"]


def test_a_sequence_is_written_while_the_next_is_computed(
    tiny_davis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing the first waits for the second to be computed, so in turn this would never end. The files are the same."""
    plan = api.plan(LAB, TASK, overrides=SMALL, data=tiny_davis, out=tmp_path / "runs", device="cpu")
    names = plan.dataset.names()
    predict, save = plan.method.predict, plan.task.save
    computed = {name: threading.Event() for name in names}
    seen: list[tuple[str, int]] = []

    def predict_and_tell(sequence, *rest):  # type: ignore[no-untyped-def]
        made = predict(sequence, *rest)
        save(tmp_path / "plain" / sequence.name, sequence, made)
        computed[sequence.name].set()
        return made

    def wait_and_save(folder: Path, sequence, made):  # type: ignore[no-untyped-def]
        assert computed[names[-1]].wait(30)
        save(folder, sequence, made)

    monkeypatch.setattr(plan.method, "predict", predict_and_tell)
    monkeypatch.setattr(plan.task, "save", wait_and_save)
    record = runner.execute(plan, progress=lambda name, frames, there: seen.append((name, frames)))
    assert seen == [(name, 4) for name in names]
    assert record.cost["stages"]["write"] > 0
    for name in names:
        written = {p.name: p.read_bytes() for p in (plan.folder / "predictions" / name).iterdir()}
        assert written == {p.name: p.read_bytes() for p in (tmp_path / "plain" / name).iterdir()}
        assert len(written) == 4


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no space is left on the disk; free some and run"),
        (ValueError("frame 2 cannot be encoded"), "frame 2 cannot be encoded"),
    ],
    ids=["full disk", "other"],
)
def test_an_error_in_the_middle_of_writing_is_said_and_its_sequence_is_done_again(
    tiny_davis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    """At the third of the first sequence's masks; nothing of it stays, and the same plan then goes through."""
    whole = run(tiny_davis, tmp_path / "whole")
    plan = api.plan(LAB, TASK, overrides=SMALL, data=tiny_davis, out=tmp_path / "cut", device="cpu")
    threads = threading.active_count()
    written = 0

    def fail_at_the_third(path: Path, data: bytes, fsync: bool) -> None:
        nonlocal written
        written += 1
        if written == 3:
            raise error
        path.write_bytes(data)

    with monkeypatch.context() as patch:
        patch.setattr(predictions, "_write", fail_at_the_third)
        with pytest.raises(ValueError, match=said):
            runner.execute(plan)
    assert written == 3
    assert not any(runner.state(plan).values())
    assert not list(plan.folder.rglob("*.png"))
    assert threading.active_count() == threads
    assert runner.execute(plan).data["files"] == whole.data["files"]


def test_stopped_while_a_sequence_is_being_written_that_one_is_finished_first(
    tiny_davis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = api.plan(LAB, TASK, overrides=SMALL, data=tiny_davis, out=tmp_path, device="cpu")
    predict, save = plan.method.predict, plan.task.save
    stopped = threading.Event()
    threads = threading.active_count()

    def stop_at_the_second(sequence, *rest):  # type: ignore[no-untyped-def]
        if sequence.name == "blackswan":
            stopped.set()
            raise KeyboardInterrupt
        return predict(sequence, *rest)

    def save_after_the_stop(*given: object) -> None:
        assert stopped.wait(30)
        time.sleep(0.05)
        save(*given)

    monkeypatch.setattr(plan.method, "predict", stop_at_the_second)
    monkeypatch.setattr(plan.task, "save", save_after_the_stop)
    with pytest.raises(KeyboardInterrupt):
        runner.execute(plan)
    assert runner.state(plan) == {"bike-packing": True, "blackswan": False}
    assert threading.active_count() == threads


def test_copy_first_repeats_the_first_mask_at_full_resolution(tiny_davis: Path, tmp_path: Path) -> None:
    record = run(tiny_davis, tmp_path, method=str(ROOT / "methods" / "copy_first.py"))
    masks = predictions.read_masks(
        record.folder / "predictions" / "blackswan", tuple(f"{t:05d}" for t in range(4)), (48, 64), max_id=1
    )
    assert (masks == masks[0]).all()
    assert masks[0].sum() == 16 * 16


def test_numbers_that_a_plan_promises_are_those_of_the_record(tiny_davis: Path, tmp_path: Path) -> None:
    plan = api.plan(LAB, TASK, overrides=SMALL, data=tiny_davis, out=tmp_path, device="cpu")
    record = runner.execute(plan)
    assert (record.key, record.signature, record.folder) == (plan.key, plan.signature, plan.folder)
    json.loads((record.folder / "record.json").read_text())

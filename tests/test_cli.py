"""The commands as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from corrbench import plugins
from corrbench.cli import main

ROOT = Path(__file__).parent.parent
LAB, COPY, TASK = (str(ROOT / p) for p in ("methods/lab.py", "methods/copy_first.py", "tasks/davis.py"))
SMALL = [
    "-o",
    "protocol.resize=short 96",
    "-o",
    "protocol.radius=3",
    "-o",
    "protocol.context=3",
    "--device",
    "cpu",
]


def corrbench(*words: object) -> str:
    done = CliRunner().invoke(main, [str(w) for w in words])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def test_run_shows_a_table_signatures_and_where_the_records_are(tiny_davis: Path, tmp_path: Path) -> None:
    said = corrbench("run", LAB, COPY, TASK, "--data", tiny_davis, "--out", tmp_path, *SMALL)
    assert "DAVIS-2017 val, 2 of 30 sequences" in said
    assert said.count("weights:none") == 2
    assert len(list(tmp_path.rglob("record.json"))) == 2


def test_run_as_json(tiny_davis: Path, tmp_path: Path) -> None:
    rows = json.loads(
        corrbench("run", COPY, TASK, "--json", "--data", tiny_davis, "--out", tmp_path, *SMALL[-2:])
    )
    assert rows[0]["method"] == "copy_first"
    assert 0 < rows[0]["summary"]["J&F-Mean"] < 100


def test_dry_run_computes_nothing_and_says_what_it_would(tiny_davis: Path, tmp_path: Path) -> None:
    said = corrbench("run", LAB, TASK, "--dry-run", "--data", tiny_davis, "--out", tmp_path / "runs", *SMALL)
    for word in ("signature", "key", "0 of 2 sequences", "bike-packing, blackswan"):
        assert word in said
    assert not (tmp_path / "runs").exists()


def test_dry_run_of_an_untrained_method_says_what_would_be_trained(
    tiny_davis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CORRBENCH_OFFLINE", "1")
    method = tmp_path / "tiny.py"
    method.write_text(
        f'"""Tiny."""\n_base_ = {str(ROOT / "methods" / "stt.py")!r}\n'
        'schedules = dict(_delete_=True, tiny={"training.0.updates": 0, "training.1.updates": 3})\n'
    )
    done = CliRunner().invoke(
        main,
        [
            "run",
            str(method),
            TASK,
            "--schedule",
            "tiny",
            "--dry-run",
            "--data",
            str(tiny_davis),
            "--no-sample",
            *SMALL,
        ],
    )
    # The photographs and videos to train on are not here either: that is what it says, before anything starts.
    assert done.exit_code == 2
    assert "is not on this machine" in done.stderr or "folders" in done.stderr


def test_a_method_without_its_weights_says_which_and_how_to_get_them(
    tiny_davis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CORRBENCH_OFFLINE", "1")
    done = CliRunner().invoke(
        main, ["run", str(ROOT / "methods" / "stt_r50.py"), TASK, "--data", str(tiny_davis), *SMALL]
    )
    assert done.exit_code == 2
    message = done.stderr.strip()
    assert message.count("\n") == 0
    for word in ("'stt-r50'", "is not on this machine", "put it at", "--schedule"):
        assert word in message


def test_score_of_the_ground_truth_is_100(tiny_davis: Path, tmp_path: Path) -> None:
    said = corrbench(
        "score", tiny_davis / "Annotations" / "480p", TASK, "--data", tiny_davis, "--json", "--out", tmp_path
    )
    assert json.loads(said)["summary"]["J&F-Mean"] == 100
    assert len(list(tmp_path.rglob("record.json"))) == 1


@pytest.mark.parametrize("what", ["methods", "tasks", "protocols", "datasets", "checkpoints"])
def test_list(what: str) -> None:
    rows = json.loads(corrbench("list", what, "--json"))
    assert rows
    assert all(set(row) == set(rows[0]) for row in rows)
    assert corrbench("list", what).strip()


@pytest.mark.parametrize(
    "path", [p for kind in ("methods", "tasks") for p in plugins.files(kind)], ids=lambda p: p.stem
)
def test_every_plugin_file_of_ours_is_sound(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORRBENCH_OFFLINE", "1")
    said = corrbench("check", path)
    assert "data only" in said


def test_completion_script() -> None:
    assert "_CORRBENCH_COMPLETE" in corrbench("completion", "bash")

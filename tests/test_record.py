"""Records: what is written reads back to the last bit, and what is damaged says so in one sentence."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from corrbench import record

DATA = {
    "key": "ab" * 32,
    "signature": "hog|davis v1",
    "created": "2026-01-01T00:00:00Z",
    "method": {"name": "hog", "title": "HOG", "digest": "1"},
    "task": {"name": "davis", "kind": "vos", "version": 1, "digest": "2"},
    "protocol": {"name": "stt", "version": 1, "digest": "3", "signature": "ctx:20", "settings": {}},
    "dataset": {"name": "d", "sequences": 1, "official": 1, "synthetic": True, "digest": "4", "names": ["a"]},
    "numerics": {"device": "cpu", "dtype": "float32"},
    "summary": {"J&F-Mean": 50.0},
    "cost": {"seconds": 1.0},
}
ROWS = [
    {"sequence": "a", "object": "1", "J-Mean": 1 / 3, "J-Decay": math.nan, "frames": 7},
    {"sequence": "007", "object": "2", "J-Mean": np.float32(0.1), "J-Decay": -0.25, "frames": 5},
]
FRAMES = [{"sequence": "a", "object": "1", "frame": 1, "J": 0.5, "F": None}]


def write(folder):
    return record.write(folder, DATA, {"scores.csv": ROWS, "frames.csv": FRAMES})


def test_what_is_written_reads_back_to_the_last_bit(tmp_path):
    write(tmp_path / "r")
    back = record.read(tmp_path / "r")
    assert {k: v for k, v in back.data.items() if k not in ("schema", "files")} == DATA
    scores = back.scores()
    assert scores["sequence"].tolist() == ["a", "007"]
    assert scores["J-Mean"].tolist() == [1 / 3, float(np.float32(0.1))]
    assert math.isnan(scores["J-Decay"][0])
    assert scores["J-Decay"][1] == -0.25
    assert math.isnan(back.frames()["F"][0])
    assert (back.kind, back.key, back.summary) == ("vos", DATA["key"], DATA["summary"])
    assert not [p for p in (tmp_path / "r").iterdir() if p.name.startswith(".")]


def test_a_number_that_is_not_defined_is_null_in_the_file(tmp_path):
    data = DATA | {"summary": {"J&F-Mean": math.nan, "J-Mean": 1.0}}
    record.write(tmp_path / "r", data, {"scores.csv": ROWS})
    assert json.loads((tmp_path / "r" / "record.json").read_text())["summary"]["J&F-Mean"] is None
    assert math.isnan(record.read(tmp_path / "r").summary["J&F-Mean"])


def test_a_task_without_frames_has_none(tmp_path):
    record.write(tmp_path / "r", DATA, {"scores.csv": ROWS, "frames.csv": FRAMES})
    again = record.write(tmp_path / "r", DATA, {"scores.csv": ROWS, "frames.csv": []})
    assert again.frames() is None
    assert not (tmp_path / "r" / "frames.csv").exists()


def test_a_run_that_stops_while_writing_leaves_no_record(tmp_path, monkeypatch):
    write(tmp_path / "r")

    def stop(path, rows):
        raise KeyboardInterrupt

    monkeypatch.setattr(record, "save_table", stop)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "r")
    with pytest.raises(ValueError, match="not a finished record"):
        record.read(tmp_path / "r")


def test_find_takes_folders_files_and_trees_each_once(tmp_path):
    for name in ("runs/davis/b", "runs/davis/a", "runs/.hidden/c"):
        write(tmp_path / name)
    (tmp_path / "runs/davis/a/predictions/seq").mkdir(parents=True)
    found = record.find(tmp_path / "runs", tmp_path / "runs/davis/a", tmp_path / "runs/davis/b/record.json")
    assert [r.folder.name for r in found] == ["a", "b"]
    assert record.find(tmp_path / "runs/.hidden/c")[0].folder.name == "c"


def spoil_json(folder):
    (folder / "record.json").write_text("{")


def spoil_schema(folder):
    data = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps(data | {"schema": 99}))


def spoil_part(folder):
    data = json.loads((folder / "record.json").read_text())
    del data["dataset"]["official"]
    (folder / "record.json").write_text(json.dumps(data))


def spoil_path(folder):
    data = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps(data | {"files": {"../x": "0"}}))


def spoil_table(folder):
    with (folder / "scores.csv").open("a") as file:
        file.write("b,1,0.9,0.0,3\n")


def lose_table(folder):
    (folder / "frames.csv").unlink()


def lose_record(folder):
    (folder / "record.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_json, "record.json is not JSON"),
        (spoil_schema, "has schema 99, this corrbench reads schema 1"),
        (spoil_part, "'dataset' lacks 'official'"),
        (spoil_path, "tables lie in its own folder"),
        (spoil_table, "scores.csv was changed after the run"),
        (lose_table, "frames.csv is missing"),
        (lose_record, "not a finished record"),
    ],
)
def test_damage_is_named(tmp_path, spoil, words):
    write(tmp_path / "r")
    spoil(tmp_path / "r")
    with pytest.raises(ValueError, match=words) as error:
        record.read(tmp_path / "r")
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sequence,J\na,x\n", "line 2: J should be a number, got 'x'"),
        ("sequence,J\na,1,2\n", "line 2: 3 values under 2 columns"),
        ("sequence,J\n", "holds no rows"),
    ],
)
def test_bad_tables_name_the_line(tmp_path, text, words):
    (tmp_path / "scores.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        record.read_table(tmp_path / "scores.csv")


def test_paths_that_are_no_records(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        record.find(tmp_path / "nowhere")
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(ValueError, match=r"x\.txt is not a record"):
        record.find(tmp_path / "x.txt")


def test_reading_records_imports_neither_torch_nor_pandas():
    code = "import sys, corrbench.record; print([m for m in ('torch', 'pandas') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"

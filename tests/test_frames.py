"""Records and results as pandas frames."""

from __future__ import annotations

import pytest

from corrbench import frames, switches
from corrbench.published import read
from corrbench.reproduction import reproduce
from tests.fake_records import make_records


def test_a_row_a_record(tmp_path):
    records = make_records(tmp_path, methods=("hog", "lab"), protocols=("stt",), switches={"topk": (5,)})
    found = frames.to_frame(records)
    assert found["protocol"].tolist() == ["stt", "stt topk=5"] * 2
    assert found["topk"].tolist() == [10, 5] * 2
    assert found["radius"].tolist() == [12] * 4
    assert found["J&F-Mean"].tolist() == [r.summary["J&F-Mean"] for r in records]
    assert found["key"].is_unique
    assert found["synthetic"].all()
    assert set(records[0].summary) | set(records[0].protocol["settings"]) - {"name", "version"} <= set(
        found.columns
    )
    assert frames.to_frame([]).empty


def test_a_row_an_object(tmp_path):
    records = make_records(tmp_path, methods=("hog", "lab"), sequences=3)
    found = frames.scores_frame(records)
    assert len(found) == sum(len(r.scores()["sequence"]) for r in records)
    lab = found[found["method"] == "lab"]
    assert lab["J-Mean"].tolist() == records[1].scores()["J-Mean"].tolist()
    assert set(found["key"]) == {r.key for r in records}
    assert frames.scores_frame([]).empty


def test_sequences_in_rows_and_records_in_columns(tmp_path):
    records = make_records(tmp_path, kind="parts", methods=("hog", "lab"), sequences=5)
    found = frames.by_sequence(records)
    assert found.shape == (5, 2)
    assert list(found.columns) == [("hog", "stt"), ("lab", "stt")]


def test_results_become_rows(tmp_path):
    records = make_records(tmp_path, methods=("hog",), switches={"topk": (5, 20)})
    effects = frames.of(switches.main_effects(records, count=100))
    assert effects["level"].tolist() == ["topk=5", "topk=20"]
    verdicts = frames.of(reproduce([], read(), "stt"))
    assert verdicts["published.value"].tolist() == pytest.approx([70.7, 40.9, 63.5, 83.1])
    assert frames.of([{"a": 1}])["a"].tolist() == [1]

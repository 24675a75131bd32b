"""Records and results as pandas frames."""

from __future__ import annotations

import pytest

from corrbench import frames, switches
from corrbench.published import read
from corrbench.reproduce import reproduce
from tests.fake_records import make_records


def test_a_row_a_record(tmp_path):
    records = make_records(tmp_path, methods=("hog", "lab"), protocols=("stt",), switches={"topk": (5,)})
    found = frames.of_records(records)
    assert found["protocol"].tolist() == ["stt", "stt topk=5"] * 2
    assert found["J&F-Mean"].tolist() == [r.summary["J&F-Mean"] for r in records]
    assert found["synthetic"].all()


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

"""Records that lack what can be lacking, are few, or are several runs of one method."""

from __future__ import annotations

import json

import pytest

from corrbench import record, reporting
from corrbench.reporting import build
from corrbench.reporting import run as running
from tests.fake_records import make_records


def rewritten(found, folder, change):
    """The record with `change` made to its data, in `folder`."""
    data = json.loads(json.dumps(found.data))
    change(data)
    tables = {}
    for name in found.data["files"]:
        columns = record.read_table(found.folder / name)
        tables[name] = [dict(zip(columns, line, strict=True)) for line in zip(*columns.values(), strict=True)]
    return record.write(folder, data, tables)


def bare(data):
    """What scores of someone else's predictions lack."""
    for name in ("resolved", "machine", "versions", "git", "checkpoint", "given", "seed"):
        data.pop(name, None)
    data["protocol"] = {"name": "unknown", "signature": "unknown"}
    data["cost"] = {}
    data["numerics"] = {}
    data["key"] = "9" * 64
    data["method"] = {"name": "theirs"}


def undefined(data):
    """A run whose headline number is not defined."""
    data["summary"] = {name: float("nan") for name in data["summary"]}
    data["key"] = "8" * 64
    data["method"]["name"] = "nothing"


@pytest.mark.parametrize("kind", ["vos", "pose", "parts"])
def test_records_that_lack_what_can_be_lacking(tmp_path, kind):
    records = make_records(tmp_path, kind=kind, methods=("hog",), sequences=3, frames=5)
    records.append(rewritten(records[0], tmp_path / "theirs", bare))
    records.append(rewritten(records[0], tmp_path / "nothing", undefined))
    found = build.build(records, ["x", "y", "z"], overlays="all", published=False)
    html = reporting.render(found, tmp_path)[1].read_text(encoding="utf-8")
    assert "theirs" in html
    assert "nothing" in html
    assert "No overlay of hog" in html


@pytest.mark.parametrize("sequences", [1, 2])
def test_few_sequences_make_a_report_too(tmp_path, sequences):
    records = make_records(
        tmp_path, methods=("hog", "lab"), protocols=("stt", "crw"), sequences=sequences, frames=5
    )
    found = build.build(records, ["x"] * 4, overlays="none", published=False)
    assert ("compare" in [page.slug for page in found.pages]) == (sequences > 1)


def test_of_several_seeds_the_lowest_is_shown_not_the_best(tmp_path):
    (one,) = make_records(tmp_path / "0", methods=("hog",))
    (other,) = make_records(tmp_path / "1", methods=("hog",), effect={"hog": 20.0})
    assert other.summary["J&F-Mean"] > one.summary["J&F-Mean"] + 5
    first = rewritten(one, tmp_path / "a", lambda data: data.update(seed=0))
    second = rewritten(other, tmp_path / "b", lambda data: data.update(seed=1))
    for pair in ((first, second), (second, first)):
        (shown,) = running.one_a_method(running.make(pair, ["x", "y"]))
        assert shown.record.key == first.key

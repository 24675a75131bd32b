"""Published numbers are read strictly, their contradictions flagged, and verdicts say no more than the
data allow.
"""

from __future__ import annotations

import dataclasses
import json

import pytest

from corrbench import published as pub
from corrbench import reproduction as rep
from corrbench.reproduction import Paper, reproduce
from tests.fake_records import make_records

PAPERS = {"hog": Paper("HOG", "as printed", "HOG", "8", "stt")}


def printed(metric, value, dataset="DAVIS-2017 val"):
    return pub.Published(
        "HOG", "as printed", "HOG", "8", "none", "vos", dataset, metric, value, "%", "a paper", "direct"
    )


def test_the_shipped_table_reads_and_its_known_slips_are_flagged():
    rows = pub.read()
    assert len(rows) == 651
    flagged = {(row.method, row.value) for row in rows if row.flag}
    assert {("TimeCycle", 48.7), ("Colorization", 34.0), ("SimSiam", 67.2)} <= flagged
    assert all(row.metric == "J&F-Mean" for row in rows if row.flag)
    stt = [
        row for row in rows if row.method == "STT" and row.metric == "J&F-Mean" and row.variant == "two-step"
    ]
    assert not any(row.flag for row in stt)


def test_the_mean_of_j_and_f_may_be_off_by_rounding_only():
    rows = [printed("J-Mean", 70.0), printed("F-Mean", 71.0)]
    assert pub._flagged([*rows, printed("J&F-Mean", 70.6)])[-1].flag == ""
    assert "which is 70.5" in pub._flagged([*rows, printed("J&F-Mean", 70.7)])[-1].flag
    assert pub._flagged([printed("J&F-Mean", 70.7)])[0].flag == ""


def test_contradictions_are_of_one_method_backbone_stride_data_and_metric():
    rows = [printed("J-Mean", 70.0), dataclasses.replace(printed("J-Mean", 73.0), source="another")]
    rows.append(dataclasses.replace(printed("J-Mean", 90.0), stride="4"))
    (found,) = pub.contradictions(rows)
    assert (found.spread, len(found.values)) == (3.0, 2)
    assert pub.contradictions(rows, 3.0) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("70.7", "about 70"), "value should be a number, got 'about 70'"),
        (("%", "points"), "expected a value in %"),
        (("direct", "heard"), "seen should be direct or second-hand"),
        (("method,", "name,"), "has the columns name"),
        ((",direct", ""), "11 values, expected 12"),
    ],
)
def test_bad_tables_are_refused_by_line(tmp_path, change, words):
    lines = pub.PATH.read_text(encoding="utf-8").splitlines()
    row = next(line for line in lines if ",70.7," in line)
    path = tmp_path / "published.csv"
    path.write_text("\n".join([lines[0], row]).replace(*change) + "\n")
    with pytest.raises(ValueError, match=words) as error:
        pub.read(path)
    assert str(path) in str(error.value)


def judge(records, value, dataset="DAVIS-2017 val"):
    return reproduce(records, [printed("J&F-Mean", value, dataset)], papers=PAPERS)


def whole(tmp_path, **more):
    return make_records(tmp_path, methods=("hog",), synthetic=False, sequences=30, **more)


def test_verdicts_of_one_run(tmp_path):
    records = whole(tmp_path)
    value = round(records[0].summary["J&F-Mean"], 1)
    assert judge(records, value)[0].verdict == "reproduced"
    near = judge(records, value + 1.0)[0]
    assert (near.verdict, near.runs) == ("cannot tell", 1)
    assert "more seeds" in near.why
    far = judge(records, value + 40.0)[0]
    assert far.verdict == "differs"
    assert far.difference == pytest.approx(records[0].summary["J&F-Mean"] - value - 40.0)


def test_several_seeds_widen_the_tolerance_by_their_spread(tmp_path):
    runs = [whole(tmp_path / str(seed), seed=seed)[0] for seed in range(3)]
    values = [run.summary["J&F-Mean"] for run in runs]
    found = judge(runs, sum(values) / 3 + 1.0)[0]
    assert found.runs == 3
    assert found.tolerance > 1.0
    assert (found.verdict, found.measured) == ("reproduced", pytest.approx(sum(values) / 3))


def test_what_cannot_be_told(tmp_path):
    assert judge([], 70.0) == ()
    assert "not run" in reproduce([], [printed("J-Mean", 1.0)], "hog", PAPERS)[0].why
    part = make_records(tmp_path / "part", methods=("hog",), synthetic=False, sequences=10)
    assert judge(part, 50.0)[0].why == "other data: DAVIS-2017 val, 10 of 30 sequences"
    rendered = make_records(tmp_path / "rendered", methods=("hog",))
    assert judge(rendered, 50.0)[0].why.startswith("other data")
    other = whole(tmp_path / "crw", protocols=("crw",))
    assert "measured under crw, published under stt" in judge(other, 50.0)[0].why
    changed = whole(tmp_path / "topk", switches={"topk": (5,)})
    assert "several settings" in judge(changed, 50.0)[0].why
    for found in (judge(part, 50.0), judge(rendered, 50.0), judge(other, 50.0), judge(changed, 50.0)):
        assert found[0].verdict == "cannot tell"


def test_the_command_knows_its_methods_and_needs_no_records(tmp_path):
    text = rep.command("methods/stt.py", [tmp_path / "nowhere"])
    assert "70.7" in text
    assert "cannot tell" in text
    data = json.loads(rep.command("dino_vits16", [tmp_path / "nowhere"], form="json"))
    assert {row["metric"] for row in data["verdicts"]} == {"J&F-Mean", "J-Mean", "F-Mean"}
    with pytest.raises(ValueError, match=r"no published numbers are known for 'sst'.*Did you mean 'stt'"):
        rep.command("methods/sst.py", [])


def test_every_known_paper_has_rows():
    rows = pub.read()
    for name, paper in rep.PAPERS.items():
        assert rep.rows_of(paper, rows), name

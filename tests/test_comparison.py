"""Comparisons: paired over sequences, refused when conditions differ, and a gate that cannot pass by
comparing nothing.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from corrbench import record
from corrbench import scores as sc
from corrbench.comparison import command, compare
from corrbench.gate import against
from corrbench.summary import summarise
from tests.fake_records import make_records


def changed(found, folder, **parts):
    """A copy of a record in `folder` with some entries of its parts replaced."""
    data = json.loads(json.dumps(found.data))
    for part, entries in parts.items():
        data[part] = data[part] | entries if isinstance(entries, dict) else entries
    rows = found.scores()
    table = [dict(zip(rows, line, strict=True)) for line in zip(*rows.values(), strict=True)]
    return record.write(folder, data, {"scores.csv": table})


def lifted(found, folder, points, method="other"):
    """A copy whose J and F are `points` higher on every object."""
    rows = found.scores()
    for name in ("J-Mean", "F-Mean"):
        rows[name] = rows[name] + points / 100
    table = [dict(zip(rows, line, strict=True)) for line in zip(*rows.values(), strict=True)]
    data = json.loads(json.dumps(found.data)) | {"summary": summarise("vos", rows), "key": "f" * 64}
    data["method"]["name"] = method
    return record.write(folder, data, {"scores.csv": table})


@pytest.mark.parametrize("kind", ["vos", "pose", "parts"])
def test_differences_are_those_of_the_summary_numbers(tmp_path, kind):
    records = make_records(tmp_path, kind=kind, methods=("hog", "lab", "dino"))
    found = compare(records, count=500)
    values = {r.method["name"]: r.summary[found.metric] for r in records}
    assert len(found.pairs) == 3
    for pair in found.pairs:
        assert pair.difference == pytest.approx(values[pair.a] - values[pair.b])
        assert pair.difference >= 0
        assert pair.percentile[0] <= pair.difference <= pair.percentile[1]
        assert pair.p <= pair.p_holm <= 1
        assert pair.by_sequence.shape == (8, 2)
        assert pair.exact
    for label, value, (low, high) in zip(found.labels, found.values, found.intervals, strict=True):
        assert value == pytest.approx(values[label])
        assert low < value < high


def test_the_unit_is_the_sequence_and_objects_keep_their_weight(tmp_path):
    """The bootstrap must equal one written by hand that resamples videos and pools their objects."""
    a, b = make_records(tmp_path, methods=("hog", "lab"))
    found = compare([a, b], "J-Mean", count=400).pairs[0]
    tables = {r.method["name"]: r.scores() for r in (a, b)}
    names = sorted(set(a.scores()["sequence"]))
    rng = np.random.default_rng(0)
    weights = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=400)
    by_hand = []
    for row in weights:
        means = {}
        for method, table in tables.items():
            picked = [
                v
                for name, w in zip(names, row, strict=True)
                for v in table["J-Mean"][table["sequence"] == name].tolist() * w
            ]
            means[method] = 100 * np.mean(picked)
        by_hand.append(means[found.a] - means[found.b])
    assert found.percentile == pytest.approx(np.quantile(by_hand, [0.025, 0.975]))


def test_the_permutation_exchanges_whole_sequences(tmp_path):
    a, b = make_records(tmp_path, kind="parts", methods=("hog", "lab"), sequences=5)
    found = compare([a, b], count=100).pairs[0]
    first, second = (sc.of(r) for r in (a, b))
    extreme = 0
    for code in range(32):
        swap = [(code >> s) & 1 for s in range(5)]
        tables = []
        for side in (0, 1):
            parts = [(second if s ^ side else first).table for s in swap]
            keep = [p["sequence"] == name for p, name in zip(parts, first.names, strict=True)]
            tables.append(
                {k: np.concatenate([p[k][m] for p, m in zip(parts, keep, strict=True)]) for k in first.table}
            )
        one, other = (summarise("parts", t)["mIoU"] for t in tables)
        extreme += abs(one - other) >= abs(found.difference) - 1e-9
    assert found.p == pytest.approx(extreme / 32)


def test_an_equal_lift_is_shown_and_no_difference_is_not(tmp_path):
    (base,) = make_records(tmp_path, methods=("hog",))
    better = lifted(base, tmp_path / "x", 3.0)
    pair = compare([base, better]).pairs[0]
    assert (pair.a, pair.verdict, pair.difference) == ("other", "higher", pytest.approx(3.0))
    assert pair.bca == pytest.approx((3.0, 3.0))
    assert pair.p == 2 / 2**8
    same = compare([base, lifted(base, tmp_path / "y", 0.0, "same")]).pairs[0]
    assert (same.p, same.verdict) == (1.0, "not shown")


def test_a_baseline_is_compared_with_every_other(tmp_path):
    records = make_records(tmp_path, methods=("hog", "lab", "dino", "daisy"))
    found = compare(records, baseline="hog", count=100)
    assert {(p.a, p.b) for p in found.pairs} == {(m, "hog") for m in ("lab", "dino", "daisy")}
    with pytest.raises(ValueError, match="'nothing' names 0 of the records; give one of: "):
        compare(records, baseline="nothing")


@pytest.mark.parametrize(
    ("parts", "words", "allow"),
    [
        ({"dataset": {"digest": "other"}}, r"data\.digest", "data"),
        ({"task": {"version": 2}}, r"task\.version \(1 against 2\)", "task"),
        ({"numerics": {"device": "cuda"}}, r"numerics\.device \(cpu against cuda\)", "numerics"),
        ({"numerics": {"autocast": "bfloat16"}}, r"numerics\.autocast", "numerics.autocast"),
    ],
)
def test_other_conditions_are_refused_unless_allowed(tmp_path, parts, words, allow):
    a, b = make_records(tmp_path, methods=("hog", "lab"))
    other = changed(b, tmp_path / "other", **parts)
    with pytest.raises(ValueError, match=words):
        compare([a, other])
    found = compare([a, other], allow=[allow], count=100)
    assert any("conditions differ" in note for note in found.notes)


def test_another_protocol_is_refused_unless_allowed(tmp_path):
    a, _, _, b = make_records(tmp_path, methods=("hog", "lab"), protocols=("stt", "crw"))
    with pytest.raises(ValueError, match=r"protocol\.temperature \(0\.07 against 0\.05\)"):
        compare([a, b])
    with pytest.raises(ValueError, match=r"protocol\.mask"):
        compare([a, b], allow=["protocol.temperature"])
    assert len(compare([a, b], allow=["protocol"], count=100).pairs) == 1


def test_other_sequences_are_always_refused(tmp_path):
    (a,) = make_records(tmp_path / "a", methods=("hog",), sequences=8)
    (b,) = make_records(tmp_path / "b", methods=("lab",), sequences=7)
    with pytest.raises(ValueError, match="scored on different sequences"):
        compare([a, b], allow=["data"])


def test_what_cannot_be_compared(tmp_path):
    a, b = make_records(tmp_path, methods=("hog", "lab"))
    (pose,) = make_records(tmp_path, kind="pose", methods=("hog",))
    with pytest.raises(ValueError, match="at least 2 records"):
        compare([a])
    with pytest.raises(ValueError, match="different kinds"):
        compare([a, pose])
    with pytest.raises(ValueError, match="no metric 'PCK'"):
        compare([a, b], "PCK")
    with pytest.raises(ValueError, match="same key"):
        compare([a, a])


def test_few_sequences_are_said(tmp_path):
    found = compare(make_records(tmp_path, methods=("hog", "lab"), sequences=4), count=100)
    assert "only 4 sequences" in found.notes[-1]


def test_the_command_in_its_three_forms(tmp_path):
    make_records(tmp_path, methods=("hog", "lab"))
    text, status = command([tmp_path])
    assert status == 0
    assert "A − B" in text
    assert "synthetic" in text
    markdown, _ = command([tmp_path], form="markdown", plot=tmp_path / "d.svg")
    assert "| --- |" in markdown.replace("---:", "---")
    assert (tmp_path / "d.svg").read_text().startswith("<?xml")
    data = json.loads(command([tmp_path], form="json")[0])
    assert {"difference", "low", "high", "p", "p_holm", "smallest"} <= set(data["pairs"][0])
    assert len(data["sequences"]) == 8
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no records under"):
        command([tmp_path / "empty"])


def test_the_gate_fails_below_its_limit_and_not_above(tmp_path):
    (base,) = make_records(tmp_path, methods=("hog",))
    worse = lifted(base, tmp_path / "new", -1.0, "hog")
    assert [line.verdict for line in against([worse], [base]).lines] == ["fell"]
    assert against([worse], [base]).status == 1
    assert against([worse], [base], fail_below=1.5).status == 0
    assert against([base], [base]).status == 0
    assert command([tmp_path / "new"], against=base.folder, fail_below=0.5)[1] == 1
    better = lifted(base, tmp_path / "better", 1.0, "hog")
    assert against([better], [base]).lines[0].verdict == "rose"
    # a rise in the share of lost joints is a fall
    (pose,) = make_records(tmp_path, kind="pose", methods=("hog",))
    lost = changed(pose, tmp_path / "lost", summary={"lost": pose.summary["lost"] + 5}, key="e" * 64)
    assert against([lost], [pose], 1.0, "lost").status == 1


def test_the_gate_does_not_pass_by_comparing_nothing(tmp_path):
    base, other = make_records(tmp_path, methods=("hog", "lab"))
    with pytest.raises(ValueError, match="no record answers the reference"):
        against([other], [base])
    with pytest.raises(ValueError, match="no reference records"):
        against([base], [])
    with pytest.raises(ValueError, match="0 or more"):
        against([base], [base], -1.0)


def test_comparing_starts_without_torch_and_pandas():
    heavy = "('torch', 'pandas', 'matplotlib')"
    code = f"import sys, corrbench.comparison; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_pairs_as_a_frame(tmp_path):
    found = compare(make_records(tmp_path, methods=("hog", "lab")), count=100)
    frame = found.frame()
    assert frame.loc[0, "difference"] == pytest.approx(found.pairs[0].difference)
    assert dataclasses.is_dataclass(found)


def test_other_versions_are_said(tmp_path):
    a, b = make_records(tmp_path, methods=("hog", "lab"))
    other = changed(b, tmp_path / "other", versions={"torch": "1.7.1"})
    notes = compare([a, other], count=100).notes
    assert "made by different versions of torch: 2.5, 1.7.1" in notes
    assert compare([a, b], count=100).notes == ()

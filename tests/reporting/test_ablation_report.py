"""The report of ablations: what it says follows from the numbers, and its folder is all it needs."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from corrbench import ablation_study as study
from corrbench import record
from corrbench.ablation_questions import QUESTIONS, Claim
from corrbench.ablation_study import FULL
from corrbench.ablation_table import Row
from corrbench.reporting import ablation_page, ablation_words
from tests import fake_ablation as fake

THREE = dict.fromkeys(fake.VARIANTS, 3)
CLAIM = QUESTIONS["stt"][0].claims[0]


def written(tmp_path, out="report", settings="a", **how):
    found = fake.result(tmp_path / "work", **({"seeds": THREE} | how))
    stages = tmp_path / "stages"
    shutil.rmtree(stages, ignore_errors=True)
    study.write(found, tmp_path / out, fake.stages(stages, found), settings)
    return tmp_path / out


def row(difference=-2.0, *, p=0.01, margin=0.5, sequences=10, tests=6, seeds=(0, 1, 2)):
    return Row(
        "temporal step only", seeds, (40.0,) * len(seeds), 40.0, 0.1, difference, 0.1, difference - 1, difference + 1, p, p,
        tests, margin, 9, sequences,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "words", "answer"),
    [
        (row(), ("2.0 points of J&F-Mean ahead (42.0 against 40.0, 3", "over videos (p = 0.010", "as expected"), "yes"),
        (row(2.0), ("2.0 points of J&F-Mean behind (38.0 against 40.0", "CONTRADICTS the paper at this scale"), "no"),
        (row(margin=3.0), ("no more than a change of seeds makes (3.0)", "neither supported nor contradicted"), "open"),
        (row(2.0, margin=3.0), ("The sign is against what is expected",), "open"),
        (row(margin=None), ("what a change of seed makes is not known", "as expected"), "yes"),
        (row(p=0.2), ("more than a change of seeds makes (0.5), but not shown to hold on other videos",), "open"),
        (row(p=0.2, margin=3.0), ("not shown over videos (p = 0.200 after Holm), and no more than",), "open"),
        (row(p=0.75, sequences=4), ("4 sequences cannot show it in any case",), "open"),
        (row(0.0), ("the full method is level (40.0 against 40.0",), "open"),
        (dataclasses.replace(row(), p=None, p_holm=None, low=None, sequences=1), ("one sequence says nothing",), "open"),
    ],
)  # fmt: skip
def test_every_branch_of_a_sentence(found, words, answer):
    text = ablation_words.sentence(CLAIM, found, "J&F-Mean")
    assert all(part in text for part in words), text
    assert ablation_words.settled(found) == answer
    if answer != "yes":
        assert "as expected" not in text
    if answer != "no":
        assert "CONTRADICTS" not in text


@pytest.mark.parametrize(
    ("differences", "start"),
    [
        ((-2.0, -2.0), "Yes, on here: the full method is ahead of a and b."),
        (
            (-2.0, 2.0),
            "Partly, on here: the full method is ahead of a; the full method is BEHIND b, against the paper.",
        ),
        ((2.0, 2.0), "No, on here: the full method is BEHIND a and b, against the paper."),
        ((0.1, None), "Not shown on here: no difference to a is shown."),
        ((-2.0, 0.1), "Partly, on here: the full method is ahead of a; no difference to b is shown."),
        ((None, None), "Not asked on here"),
    ],
)
def test_every_branch_of_an_answer(differences, start):
    rows = [None if d is None else row(d) for d in differences]
    claims = [Claim("x", name, "it is so") for name in "ab"]
    text = ablation_words.summary(QUESTIONS["stt"][0], [("here", list(zip(claims, rows, strict=True)))])
    assert text.startswith(f"{QUESTIONS['stt'][0].text} {start}")


def test_rows_of_the_paper_and_the_others_are_corrected_apart(tmp_path):
    others = {f"other {i}": 3.0 for i in range(5)}
    found = fake.result(tmp_path, fake.VARIANTS | others, THREE)
    from corrbench.ablation_questions import asked
    from corrbench.ablation_table import rows_of

    rows = {r.name: r for r in rows_of(found.records, FULL, {}, list(fake.VARIANTS | others), asked("stt"))}
    assert rows["temporal step only"].tests == 3
    assert rows["other 0"].tests == 5
    assert rows["other 0"].p_holm == pytest.approx(5 * rows["other 0"].p)
    assert rows["other 0"].could_show
    assert not dataclasses.replace(rows["other 0"], tests=30).could_show


def test_a_change_of_seeds_is_pooled_and_larger_for_one_seed(tmp_path):
    seeds = {FULL: 3, "temporal step only": 3, "spatial step only": 3}
    rows = {r.name: r for r in fake.result(tmp_path, seeds=seeds, noise=1.0).rows}
    one, three = rows["no global distillation"], rows["temporal step only"]
    assert one.seed_margin == pytest.approx(3**0.5 * three.seed_margin)
    squares = [rows[name].difference_spread ** 2 for name in ("temporal step only", "spatial step only")]
    assert three.seed_margin == pytest.approx(
        2.78 * (sum(squares) / 2) ** 0.5 / 3**0.5
    )  # Student, four degrees of freedom
    alone = {r.name: r for r in fake.result(tmp_path / "alone", noise=1.0).rows}
    assert alone["temporal step only"].seed_margin is None
    assert alone["temporal step only"].over_seeds is None


def test_the_folder_is_all_that_the_report_needs(tmp_path):
    out = written(tmp_path)
    written(tmp_path, synthetic=True, sequences=8, official=8)
    written(tmp_path, kind="pose", sequences=4, official=7, notes=("LOUD",))
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    for gone in ("work", "stages"):
        shutil.rmtree(tmp_path / gone)
    ablation_page.write_report(out)
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    text = (out / "README.md").read_text()
    for words in (
        "DAVIS-2017 val, 10 of 30 sequences, short side 480",
        "Are two steps better than either step alone? Yes, on DAVIS-2017",
        "4 sequences cannot show it", "LOUD",
        "| DAVIS-2017 val | J&F-Mean | 69.2 | 70.7 | +1.5 |", "Published, never measured",
        "3,000 updates of 16 samples on DAVIS-train-256", "say nothing about real",
    ):  # fmt: skip
        assert words in text, words
    page = (out / "index.html").read_text()
    assert page.count("<svg") == 4
    assert "/home/me" not in "".join(
        p.read_text() for p in out.rglob("*") if p.suffix in (".json", ".csv", ".md", ".html")
    )
    assert sum(p.stat().st_size for p in out.rglob("*") if p.is_file()) < 3_000_000
    kept = record.find(out)
    assert {tuple(r.data["left_out"]) for r in kept} == {("frames.csv",)}
    assert all("record.json" in line or "stage.json" in line for line in _links(text))
    assert all((out / link).is_file() for link in _links(text))


def _links(text):
    import re

    return [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith(("index", "plots"))]


def test_a_study_grows_by_variants_and_is_replaced_when_they_are_others(tmp_path):
    part = {name: fake.VARIANTS[name] for name in (FULL, "spatial step only")}
    out = written(tmp_path, effects=part)
    written(tmp_path, effects={FULL: 0.0, "temporal step only": -4.0})
    (found,) = study.studies(out)
    assert [r.name for r in found.rows] == [FULL, "spatial step only", "temporal step only"]
    assert len(list((out / "records").glob("*/*"))) == 9
    stages = {p.name for p in (out / "stages").glob("*")}
    assert len(stages) == 3 + 3 + 3  # spatial, full, temporal only

    written(tmp_path, effects={FULL: 0.5, "temporal step only": -4.0}, settings="b", seeds={})
    (found,) = study.studies(out)
    assert [r.name for r in found.rows] == [FULL, "temporal step only"]
    assert len(list((out / "records").glob("*/*"))) == 2
    assert len(list((out / "stages").glob("*"))) == 3


def test_the_table_names_what_was_changed_of_the_protocol(tmp_path):
    out = written(tmp_path)
    (found,) = study.studies(out)
    first = next(iter(found.records.values()))
    assert study.protocol_words(first) == "stt"
    settings = first.protocol["settings"] | {"radius": 6.0, "resize": "short 240"}
    cheap = record.Record(first.folder, first.data | {"protocol": first.protocol | {"settings": settings}})
    assert study.protocol_words(cheap) == "stt, radius=6.0"
    assert study.size_words(cheap) == "short side 240"


def test_a_variant_that_was_not_run_has_its_reason(tmp_path):
    text = (written(tmp_path, reasons={"joint training": "the loss became NaN"}) / "README.md").read_text()
    assert "joint training: the loss became NaN" in text
    assert "both trained at once" not in text


def test_damage_is_named(tmp_path):
    with pytest.raises(ValueError, match="holds no ablation study"):
        study.studies(tmp_path)
    out = written(tmp_path)
    path = next(out.glob("stt-*.json"))
    data = json.loads(path.read_text())
    data["records"][0]["key"] = "0" * 64
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"names the record 000000000000, but .* run ablate again"):
        study.studies(out)


def test_logs_are_thinned_to_means(tmp_path):
    lines = ["update,lr,updates_per_second,loss", *(f"{10 * i},{i},1,{i % 2}" for i in range(1, 1001))]
    rows = study.thinned("\n".join(lines) + "\n", 100).splitlines()
    assert len(rows) == 101
    assert rows[1] == "100,10,1,0.5"
    assert rows[-1] == "10000,1000,1,0.5"
    short = "\n".join(lines[:50]) + "\n"
    assert study.thinned(short, 100) == short


def test_the_published_pair_is_the_authors_two_models():
    pairs = {(data, metric): (a.value, b.value) for data, metric, a, b in ablation_words.published_pair()}
    assert pairs["DAVIS-2017 val", "J&F-Mean"] == (69.2, 70.7)
    assert len(pairs) == 4

"""Variance shares, rank stability and effects of switches, against formulas and simulation."""

from __future__ import annotations

import numpy as np
import pytest

from corrbench import effects, switches
from corrbench.effects import decompose, explain, grid, stability
from tests.fake_records import make_records


def by_name(sources):
    return {source.name: source for source in sources}


def test_shares_are_complete_and_a_pure_factor_has_them_all():
    cube = np.zeros((3, 4, 5)) + np.array([1.0, 5.0, 2.0])[:, None, None]
    found = by_name(decompose(cube))
    assert found["method"].share == pytest.approx(1.0)
    noisy = cube + np.random.default_rng(0).normal(size=cube.shape)
    assert sum(s.share for s in decompose(noisy)) == pytest.approx(1.0)
    assert sum(s.degrees for s in decompose(noisy)) == noisy.size - 1


def test_sums_of_squares_agree_with_statsmodels():
    pytest.importorskip("statsmodels")
    import pandas as pd
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    cube = np.random.default_rng(4).normal(size=(3, 4, 5))
    where = np.indices(cube.shape).reshape(3, -1)
    data = pd.DataFrame({"y": cube.ravel(), "m": where[0], "p": where[1], "s": where[2]})
    theirs = anova_lm(ols("y ~ C(m)*C(p) + C(m)*C(s) + C(p)*C(s)", data).fit(), typ=1)["sum_sq"]
    ours = by_name(decompose(cube))
    for name, term in {
        "method": "C(m)", "protocol": "C(p)", "sequence": "C(s)", "method x protocol": "C(m):C(p)",
        "method x sequence": "C(m):C(s)", "protocol x sequence": "C(p):C(s)",
        "method x protocol x sequence": "Residual",
    }.items():  # fmt: skip
        assert ours[name].squares == pytest.approx(theirs[term]), name


def test_components_are_found_again_in_simulated_data():
    rng = np.random.default_rng(9)
    sd = {"method": 3.0, "protocol": 2.0, "sequence": 8.0, "method x sequence": 4.0, "rest": 1.0}
    found = []
    for _ in range(60):
        m, p, s = (rng.normal(0, sd[n], size) for n, size in zip(effects.FACTORS, (12, 10, 20), strict=True))
        ms = rng.normal(0, sd["method x sequence"], (12, 20))
        cube = (
            m[:, None, None] + p[None, :, None] + s + ms[:, None, :] + rng.normal(0, sd["rest"], (12, 10, 20))
        )
        found.append({k: v.component for k, v in by_name(decompose(cube)).items()})
    for name in ("method", "protocol", "sequence", "method x sequence"):
        assert np.mean([f[name] for f in found]) == pytest.approx(sd[name] ** 2, rel=0.25), name
    assert np.mean([f["method x protocol"] for f in found]) < 0.05


def test_a_grid_leaves_out_what_is_not_complete_and_says_so(tmp_path):
    records = make_records(tmp_path, methods=("hog", "lab", "dino"), protocols=("stt", "crw", "dino"))
    found = grid(records)
    assert (len(found.methods), len(found.protocols), found.left_out) == (3, 3, ())
    lacking = [r for r in records if (r.method["name"], r.protocol["name"]) != ("lab", "crw")]
    assert grid(lacking).left_out in (("lab",), ("crw",))
    with pytest.raises(ValueError, match="at least 2 x 2"):
        grid([r for r in records if r.method["name"] == "hog"])


def test_explain_and_stability_on_records(tmp_path):
    found = grid(make_records(tmp_path, methods=("hog", "lab", "dino"), protocols=("stt", "crw")))
    single, table = explain(found, count=200)
    assert by_name(single)["sequence"].share > 0.2
    for source in table:
        assert source.interval[0] <= source.interval[1]
    assert sum(s.share for s in table) == pytest.approx(1.0)
    (pair,) = stability(found)
    assert -1 <= pair.tau <= 1
    values = found.values()[0]
    assert values[0, 0] == pytest.approx(found.records[0][0].summary["J&F-Mean"])


def test_an_effect_is_the_mean_paired_difference(tmp_path):
    records = make_records(
        tmp_path, methods=("hog", "lab"), protocols=("stt",), switches={"topk": (5, 20), "radius": (6.0,)}
    )
    found = {(e.switch, e.level): e for e in switches.main_effects(records, count=200)}
    assert set(found) == {("top-k", "topk=5"), ("top-k", "topk=20"), ("mask", "radius=6")}
    base = {r.method["name"]: r for r in records if r.protocol["settings"] == records[0].protocol["settings"]}
    changed = [r for r in records if r.protocol["settings"]["topk"] == 5]
    expected = np.mean([r.summary["J&F-Mean"] - base[r.method["name"]].summary["J&F-Mean"] for r in changed])
    effect = found["top-k", "topk=5"]
    assert (effect.difference, effect.cells, effect.reference) == (pytest.approx(expected), 2, "topk=10")
    assert effect.interval[0] < effect.difference < effect.interval[1]


def test_pairs_of_other_values_are_never_averaged(tmp_path):
    records = make_records(
        tmp_path,
        methods=("hog",),
        protocols=("stt", "crw", "dino"),
        switches={"topk": (20,), "mask": ("none",)},
    )
    found = {(e.level, e.reference): e.cells for e in switches.main_effects(records, count=50)}
    assert found["topk=20", "topk=10"] == 2  # stt and crw start from 10
    assert found["topk=20", "topk=5"] == 1  # dino from 5
    assert found["no mask", "square radius=12"] == 2
    assert found["no mask", "circle radius=12"] == 1
    assert len(found) == 4


def test_a_series_holds_everything_else_fixed(tmp_path):
    records = make_records(
        tmp_path, methods=("hog",), switches={"topk": (5, 20), "radius": (6.0,), "mask": ("none",)}
    )
    found = switches.series(records)
    assert set(found) == {"topk"}  # two radii are no line, and a radius without a mask is none
    by_hand = {r.protocol["settings"]["topk"]: r.summary["J&F-Mean"] for r in records[:3]}
    assert found["topk"]["hog"] == sorted(by_hand.items())


def test_protocol_labels_name_what_was_changed(tmp_path):
    records = make_records(tmp_path, methods=("hog",), protocols=("stt", "crw"), switches={"topk": (5,)})
    assert set(effects.protocol_labels(records)) == {"stt", "crw", "stt topk=5", "crw topk=5"}
    assert {r.protocol["settings"]["topk"] for r in effects.presets_only(records)} == {10}
    one = [r for r in records if r.protocol["name"] == "stt"]
    assert effects.presets_only(one) == one

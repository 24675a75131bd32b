"""Statistics against scipy and statsmodels, and by seeded simulation: do intervals cover, do tests keep
their level?
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from corrbench import statistics as st


def mean_of(values):
    """The weighted mean of `values` (S,) as a score."""
    return lambda weights: weights @ values / weights.sum(axis=1)


def flipped(differences):
    """The mean difference after exchanging the two methods on some sequences."""
    return lambda swapped: (1 - 2 * swapped) @ differences / len(differences)


@pytest.mark.parametrize("size", [12, 30])
def test_intervals_agree_with_scipy(size):
    values = np.random.default_rng(5).gamma(1.5, size=size)
    ours = st.bootstrap(mean_of(values), size, count=40_000, seed=1)
    for name, method in (("percentile", "percentile"), ("bca", "BCa")):
        theirs = scipy.stats.bootstrap(
            (values,), np.mean, method=method, n_resamples=40_000, rng=np.random.default_rng(2)
        )
        interval = theirs.confidence_interval
        width = interval.high - interval.low
        assert getattr(ours, name) == pytest.approx((interval.low, interval.high), abs=0.02 * width)
    assert ours.sd == pytest.approx(theirs.standard_error, rel=0.02)
    assert ours.percentile != ours.bca  # skewed values: the two differ, so the agreement says something


def test_intervals_cover_about_as_often_as_they_say():
    rng = np.random.default_rng(11)
    size, runs = 30, 400
    covered = {"percentile": 0, "bca": 0}
    for run in range(runs):
        result = st.bootstrap(mean_of(rng.normal(1.0, 3.0, size)), size, count=999, seed=run)
        for name in covered:
            low, high = getattr(result, name)
            covered[name] += low <= 1.0 <= high
    # A bootstrap of 30 is a little narrow: its nominal 95 % covers 93 to 94 %; 400 runs have a sd of 1.2
    # points.
    for name, hits in covered.items():
        assert 0.90 <= hits / runs <= 0.97, name


def test_resampling_objects_instead_of_sequences_would_be_too_narrow():
    """Why the unit is the sequence: with objects of one video alike, the naive interval misses far too
    often.
    """
    rng = np.random.default_rng(3)
    size, objects, runs = 20, 4, 200
    hits = {"sequences": 0, "objects": 0}
    for run in range(runs):
        video = rng.normal(0, 1, size)
        values = video[:, None] + rng.normal(0, 0.2, (size, objects))
        for unit, flat in (("sequences", values.mean(axis=1)), ("objects", values.ravel())):
            low, high = st.bootstrap(mean_of(flat), len(flat), count=499, seed=run).percentile
            hits[unit] += low <= 0 <= high
    assert hits["sequences"] / runs > 0.88
    assert hits["objects"] / runs < 0.75


@pytest.mark.parametrize(("size", "exact"), [(10, True), (25, False)])
def test_the_permutation_test_keeps_its_level(size, exact):
    rng = np.random.default_rng(17)
    runs = 600
    p = []
    for run in range(runs):
        test = st.permutation(flipped(rng.normal(0, 1, size)), size, count=499, seed=run)
        assert test.exact is exact
        p.append(test.p)
    for level in (0.05, 0.2):
        sd = math.sqrt(level * (1 - level) / runs)
        assert abs(np.mean(np.array(p) <= level) - level) < 3 * sd + 1 / 2**9


def test_the_permutation_test_finds_a_clear_difference():
    assert st.permutation(flipped(np.linspace(1, 2, 10)), 10).p == 2 / 2**10
    assert st.permutation(flipped(np.linspace(1, 2, 30)), 30).p == pytest.approx(1e-4)


def test_exact_enumeration_agrees_with_brute_force_and_scipy():
    differences = np.random.default_rng(8).normal(0.4, 1, 9)
    ours = st.permutation(flipped(differences), 9)
    signs = np.array(list(itertools.product([1, -1], repeat=9)))
    brute = np.mean(np.abs(signs @ differences / 9) >= abs(differences.mean()) - 1e-12)
    theirs = scipy.stats.permutation_test(
        (differences, np.zeros(9)),
        lambda a, b: np.mean(a - b),
        permutation_type="samples",
        n_resamples=np.inf,
    )
    assert (ours.p, ours.relabellings) == (pytest.approx(brute), 512)
    assert ours.p == pytest.approx(theirs.pvalue)


def test_equal_methods_have_p_one():
    assert st.permutation(flipped(np.zeros(6)), 6).p == 1.0


def test_holm_agrees_with_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 40):
        p = rng.uniform(size=size) ** 3
        assert st.holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1].tolist())


def test_holm_by_hand():
    assert st.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert st.holm([0.5, 0.9]) == [1.0, 1.0]
    assert st.holm([]) == []


def test_smallest_difference_is_found_as_often_as_promised():
    rng = np.random.default_rng(23)
    size, runs, sd = 40, 1000, 5.0
    truth = st.smallest_difference(sd / math.sqrt(size))
    found = [abs(d.mean()) > 1.96 * sd / math.sqrt(size) for d in rng.normal(truth, sd, (runs, size))]
    assert np.mean(found) == pytest.approx(0.8, abs=0.04)


def test_kendall_agrees_with_scipy_ties_included():
    rng = np.random.default_rng(1)
    for _ in range(20):
        x, y = rng.integers(0, 5, (2, 9))
        assert st.kendall_tau(x, y) == pytest.approx(scipy.stats.kendalltau(x, y).statistic, nan_ok=True)
    assert math.isnan(st.kendall_tau([1, 1], [1, 2]))
    assert st.order_changes([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)


def test_undefined_resamples_are_left_out_and_an_undefined_score_is_refused():
    values = np.array([1.0, 2.0, 3.0])

    def score(weights):
        return np.where(weights[:, 0] > 0, weights @ values / weights.sum(axis=1), math.nan)

    result = st.bootstrap(score, 3, count=1000)
    assert 500 < len(result.estimates) < 900
    assert not np.isnan(result.percentile).any()
    with pytest.raises(ValueError, match="no interval"):
        st.bootstrap(lambda weights: np.full(len(weights), math.nan), 3)
    with pytest.raises(ValueError, match="at least 2"):
        st.resamples(1)


def test_no_spread_gives_an_interval_of_no_width():
    result = st.bootstrap(mean_of(np.full(5, 2.0)), 5, count=100)
    assert result.bca == result.percentile == (2.0, 2.0)

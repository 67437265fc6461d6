"""How much a parameter matters: hand computation, simulations of known truth, laws, and what is no level."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evidence.importance import Finding, importances
from evidence.seeds import Configs

SIGMA = 0.004
"""Standard deviation of a config's own noise."""


def configs_of(scores, own=SIGMA, shared=0.003, seeds=1, seed_variance=None, degrees=0):
    """Return configs whose noise from the examples has a part of their own and a shared one."""
    size = len(scores)
    return Configs(
        keys=tuple(range(size)),
        overall_T=np.array(scores, float),
        seeds_T=np.full(size, float(seeds)),
        examples_TT=own**2 * np.eye(size) + shared**2,
        seed_variance=seed_variance,
        degrees=degrees,
        resolution=0.0,
    )


def noise(rng, size):
    """Return scores that are nothing but that noise."""
    return 0.7 + SIGMA * rng.standard_normal(size) + 0.003 * rng.standard_normal()


def grid(*sizes):
    """Return the levels of a crossed list, called a, b, c ..."""
    return dict(zip("abc", zip(*product(*map(range, sizes)), strict=True), strict=False))


def by_name(found):
    """Return the entries by parameter."""
    return {entry.parameter: entry for entry in found}


def is_one_in_twenty(called, of):
    """Return whether so many of 0.05 are within the 99 % binomial interval."""
    low, high = stats.binom.interval(0.99, of, 0.05)
    return low <= called <= high


def test_the_effect_is_the_spread_of_the_levels_means():
    """Levels at -0.01, 0 and 0.01 have a standard deviation of 0.00816; noise's share of it is taken out."""
    found = importances({"a": [0, 0, 1, 1, 2, 2]}, configs_of([0.69, 0.69, 0.70, 0.70, 0.71, 0.71]))[0]

    assert (found.levels, found.finding) == (3, Finding.MATTERS)
    assert found.effect**2 == pytest.approx(0.0002 / 3 - 2 * SIGMA**2 / 6)  # 2 of 6 dimensions are the levels'
    assert found.floor**2 == pytest.approx((stats.chi2.ppf(0.95, 2) - 2) * SIGMA**2 / 6, rel=0.1)
    assert found.p == found.p_apart == pytest.approx(stats.chi2.sf(0.0004 / SIGMA**2, 2), abs=1e-3)


def test_noise_alone_matters_one_time_in_twenty():
    """400 crossed sweeps without any effect: p-values are uniform, of each parameter and beyond the other."""
    rng, p, apart = np.random.default_rng(3), [], []
    for _ in range(400):
        entry = by_name(importances(grid(3, 4), configs_of(noise(rng, 12)), draws=400))["a"]
        p.append(entry.p)
        apart.append(entry.p_apart)

    for values in (p, apart):
        assert is_one_in_twenty(np.sum(np.array(values) < 0.05), 400)
        assert stats.kstest(values, "uniform").pvalue > 0.01


def test_an_estimated_seed_variance_is_no_known_one():
    """With six degrees of freedom its own error is in the p-values: still one in twenty."""
    rng, called = np.random.default_rng(5), 0
    for _ in range(400):
        estimate = SIGMA**2 * rng.chisquare(6) / 6
        found = configs_of(0.7 + SIGMA / 3**0.5 * rng.standard_normal(8), 0, 0, 3, estimate, 6)
        called += importances({"a": [0, 1] * 4}, found, draws=400)[0].p < 0.05

    assert is_one_in_twenty(called, 400)


def test_a_strong_parameter_does_not_lend_its_effect_to_others():
    """In random points another parameter's levels differ beyond noise by chance; it is not said to matter."""
    rng, large, mattered = np.random.default_rng(7), 0, 0
    for _ in range(200):
        strong, weak = rng.integers(0, 3, 24), rng.random(24)
        found = by_name(
            importances({"strong": strong, "weak": weak}, configs_of(noise(rng, 24) + 0.03 * strong), draws=400)
        )
        assert found["strong"].finding is Finding.MATTERS
        large += found["weak"].p < 0.05
        mattered += found["weak"].finding is Finding.MATTERS

    assert large > 100
    assert mattered <= stats.binom.ppf(0.995, 200, 0.05)


def test_a_planted_effect_is_found_and_stands_first():
    """A parameter that moves the score by 0.02, in a grid with one that does not."""
    levels = grid(4, 3)
    scores = noise(np.random.default_rng(1), 12) + 0.02 * np.array(levels["a"])

    first, second = importances(levels, configs_of(scores))

    assert (first.parameter, first.finding, second.finding) == ("a", Finding.MATTERS, Finding.NOISE)
    assert first.effect == pytest.approx(0.02 * 1.25**0.5, rel=0.25)
    assert second.effect < second.floor < 0.004 < first.effect


def test_parameters_that_vary_together_are_not_told_apart():
    """Each explains all of it, and neither anything beyond the other."""
    found = importances({"rate": [1, 2, 3], "dropout": [0.1, 0.2, 0.3]}, configs_of([0.6, 0.7, 0.8]))

    assert [entry.finding for entry in found] == [Finding.NOT_APART] * 2
    assert [entry.p_apart for entry in found] == [None, None]
    assert found[0].effect == found[1].effect > 0.08


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(8)), st.permutations(["a", "b", "c"]), st.integers(0, 9))
def test_the_order_does_not_matter(configs, parameters, seed):
    """Of configs nor of parameters."""
    scores, levels = noise(np.random.default_rng(seed), 8), grid(2, 2, 2)

    before = importances(levels, configs_of(scores), draws=200)
    after = importances(
        {name: [levels[name][c] for c in configs] for name in parameters}, configs_of(scores[list(configs)]), draws=200
    )

    assert [entry.parameter for entry in after] == [entry.parameter for entry in before]
    for one, other in zip(before, after, strict=True):
        assert (one.effect, one.floor) == (pytest.approx(other.effect, abs=1e-9), pytest.approx(other.floor, abs=1e-9))
        assert (one.p, one.p_apart) == (pytest.approx(other.p, abs=0.01), pytest.approx(other.p_apart, abs=0.01))


@given(st.lists(st.sampled_from([1, 2.5, None, "all", True, ("a", "b"), [1], {"x": 1}]), min_size=1, max_size=9))
def test_whatever_the_values_there_is_an_answer(values):
    """Effects and p-values are numbers; what does not vary has none."""
    found = importances({"a": values}, configs_of(np.linspace(0.6, 0.7, len(values))), draws=50)

    assert len(found) == (len({repr(value) for value in values}) > 1)
    assert all(np.isfinite([entry.effect, entry.floor]).all() and 0 < entry.p <= 1 for entry in found)


def test_many_numbers_are_put_into_bins():
    """Quarters by size, what is no number beside them; where nearly all are one value that is a level."""
    rates = [*np.geomspace(1e-5, 1e-2, 16), "all", None]
    mostly = [0.0] * 15 + [0.1, 0.2, 0.3]

    found = by_name(
        importances({"rate": rates, "decay": mostly, "deep": [0.0] * 9 + list(range(1, 10))}, configs_of([0.7] * 18))
    )

    assert {name: entry.levels for name, entry in found.items()} == {"rate": 6, "decay": 4, "deep": 3}


def test_nothing_to_tell():
    """One config, a parameter that does not vary, none at all: no entry; equal models: no effect and no finding."""
    assert importances({"a": [1]}, configs_of([0.7])) == ()
    assert importances({"a": [1, 1]}, configs_of([0.7, 0.8])) == ()
    assert importances({}, configs_of([0.7, 0.8])) == ()
    same = importances({"a": [1, 2]}, configs_of([0.7, 0.7]))[0]
    assert (same.effect, same.p, same.finding) == (0.0, 1.0, Finding.NOISE)
    assert same.floor == pytest.approx(0.004, abs=0.001)


def test_it_is_said_whether_the_noise_of_seeds_is_known():
    """Without repeats the floor is that of the examples alone."""
    levels = {"a": [0, 1]}

    assert importances(levels, configs_of([0.7, 0.8]))[0].seed_noise_unknown
    known = importances(levels, configs_of([0.7, 0.8], seeds=3, seed_variance=1e-4, degrees=4))[0]
    assert not known.seed_noise_unknown
    assert known.floor > importances(levels, configs_of([0.7, 0.8]))[0].floor


def test_what_is_no_level_or_no_score_is_refused():
    """In one line, with the parameter's name."""
    with pytest.raises(ValueError, match="rate has the value nan; expected finite numbers"):
        importances({"rate": [1.0, math.nan]}, configs_of([0.7, 0.8]))
    with pytest.raises(ValueError, match=r"values of \{'rate': 1\} configs for 2 scores"):
        importances({"rate": [1.0]}, configs_of([0.7, 0.8]))
    with pytest.raises(ValueError, match="scores or noise that are no numbers"):
        importances({"rate": [1.0, 2.0]}, configs_of([0.7, math.nan]))

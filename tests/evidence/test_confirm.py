"""Sequential seeds: the e-value against numerical integration, error under any stopping, and honest silence."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from evidence.confirm import EFFECT_VARIANCE, KnownNoise, Outcome, confirm, log_e_value


def test_the_e_value_is_the_mixture_of_likelihood_ratios():
    """Of t given f degrees of freedom: noncentral t over central t, mixed over the normal; integrated numerically."""
    d = np.array([0.8, 1.9, 0.3, 1.1, 2.0, 0.7])
    t = stats.ttest_1samp(d, 0).statistic

    def density(effect):
        ratio = stats.nct.pdf(t, 5, effect * 6**0.5) / stats.t.pdf(t, 5)
        return ratio * stats.norm.pdf(effect, scale=EFFECT_VARIANCE**0.5)

    assert confirm(d).e_value == pytest.approx(integrate.quad(density, -12, 12, limit=400)[0], rel=1e-6)


@pytest.mark.parametrize("known_degrees", [0, 14])
def test_looking_after_every_seed_is_allowed(known_degrees):
    """Of 10,000 equal pairs at most 5 % are ever decided in 40 looks (in 20 fixed t-tests it is a quarter)."""
    rng = np.random.default_rng(4)
    d = rng.standard_normal((10_000, 40))
    n = np.arange(1, 41)
    mean = d.cumsum(axis=1) / n
    before = rng.chisquare(known_degrees, (10_000, 1)) if known_degrees else 0.0
    squares = np.maximum((d**2).cumsum(axis=1) - n * mean**2, 0) + before

    e = np.exp(log_e_value(n, mean, squares, n - 1 + known_degrees, EFFECT_VARIANCE))

    assert (e.max(axis=1) >= 20).mean() < 0.05
    assert np.mean(e[:, 3]) == pytest.approx(1, abs=0.3)


@given(
    st.lists(st.floats(-1, 1), min_size=2, max_size=12),
    st.none() | st.builds(KnownNoise, variance=st.floats(1e-6, 1), degrees=st.integers(1, 30)),
)
def test_the_interval_is_where_the_e_value_is_below_twenty(values, known):
    """Zero is outside of it just where the outcome is decided."""
    d = np.array(values)

    found = confirm(d, known=known)

    outside = not found.interval[0] <= 0 <= found.interval[1]
    assert outside == (found.outcome is not Outcome.UNDECIDED)
    if not math.isclose(found.e_value, 20, rel_tol=1e-6):
        assert outside == (found.e_value > 20) or np.ptp(d) < 1e-6
    assert confirm(-d, known=known).interval == pytest.approx((-found.interval[1], -found.interval[0]))


def test_the_unit_does_not_matter():
    """A thousand times the differences are the same evidence."""
    d = np.array([0.011, 0.009, 0.014, 0.008, 0.012])

    assert confirm(1000 * d).e_value == pytest.approx(confirm(d).e_value)
    assert confirm(d).outcome is Outcome.BETTER
    assert confirm(-d).outcome is Outcome.WORSE


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_three_seeds_decide_nothing_by_themselves(seeds):
    """However far apart: the interval is infinite. What earlier trials tell of the noise decides."""
    d = np.array([0.1, 0.1001, 0.0999])[:seeds]

    assert confirm(d).outcome is Outcome.UNDECIDED
    assert confirm(d).interval == (-math.inf, math.inf)
    assert confirm(d, known=KnownNoise(variance=1e-5, degrees=14)).outcome is Outcome.BETTER


def test_equal_scores_are_undecided():
    """No difference in any seed is no evidence of one, and no NaN."""
    found = confirm(np.zeros(8))

    assert (found.outcome, found.mean) == (Outcome.UNDECIDED, 0.0)
    assert found.e_value == pytest.approx((1 + 8 * EFFECT_VARIANCE) ** -0.5)


def test_the_examples_error_widens_the_interval():
    """By its 97.5 % share on each side, as the seeds' part is at half of alpha."""
    d = np.array([0.011, 0.009, 0.014, 0.008, 0.012])

    plain, wide = confirm(d, alpha=0.025), confirm(d, example_error=0.004)

    half = (wide.interval[1] - wide.interval[0]) / 2
    assert half == pytest.approx((plain.interval[1] - plain.interval[0]) / 2 + stats.norm.ppf(0.9875) * 0.004)
    assert wide.outcome is Outcome.UNDECIDED


def test_what_is_no_difference_is_refused():
    """None at all, NaN, and an alpha of 5."""
    with pytest.raises(ValueError, match="expected at least one, all of them numbers"):
        confirm(np.array([]))
    with pytest.raises(ValueError, match="expected at least one, all of them numbers"):
        confirm(np.array([0.1, np.nan]))
    with pytest.raises(ValueError, match="alpha 5"):
        confirm(np.array([0.1]), alpha=5)

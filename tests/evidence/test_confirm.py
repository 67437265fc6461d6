"""Sequential seeds: the e-value against numerical integration, error under any stopping, and honest silence."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from evidence.confirm import EFFECT_VARIANCE, KnownNoise, Outcome, confirm, confirm_unpaired, log_e_value, settles


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

    degrees = np.maximum(n - 1 + known_degrees, 1)
    e = np.exp(log_e_value(mean, squares / degrees / n, 1 + n * EFFECT_VARIANCE, n - 1 + known_degrees))

    assert (e.max(axis=1) >= 20).mean() < 0.05
    assert np.mean(e[:, 3]) == pytest.approx(1, abs=0.3)


@given(
    st.lists(st.floats(-1, 1), min_size=2, max_size=12),
    st.none() | st.builds(KnownNoise, variance=st.floats(1e-6, 1), degrees=st.integers(1, 30)),
    st.just(0.0) | st.floats(1e-3, 1),
)
def test_the_interval_is_where_the_e_value_is_below_twenty(values, known, example_error):
    """Zero is outside of it just where the outcome is decided."""
    d = np.array(values)

    found = confirm(d, known=known, example_error=example_error)

    outside = not found.interval[0] <= 0 <= found.interval[1]
    assert outside == (found.outcome is not Outcome.UNDECIDED)
    if not math.isclose(found.e_value, 20, rel_tol=1e-6):
        assert outside == (found.e_value > 20) or np.ptp(d) < 1e-6
    assert confirm(-d, known=known, example_error=example_error).interval == pytest.approx(
        (-found.interval[1], -found.interval[0])
    )


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


def test_an_error_of_the_examples_alone_is_a_normal_number_looked_at_once():
    """Where seeds make no difference the e-value is a normal's likelihood ratio, and more seeds tell nothing new."""
    still = KnownNoise(variance=1e-12, degrees=1000)

    few, many = (confirm(np.full(n, 0.02), known=still, example_error=0.004) for n in (2, 50))

    z, m = 0.02 / 0.004, 1 + EFFECT_VARIANCE
    assert few.e_value == pytest.approx(m**-0.5 * math.exp(z**2 / 2 * (1 - 1 / m)), rel=1e-3)
    assert many.e_value == pytest.approx(few.e_value, rel=1e-3)


@given(
    st.lists(st.floats(-1, 1), min_size=3, max_size=12),
    st.floats(1e-3, 1),
    st.none() | st.builds(KnownNoise, variance=st.floats(1e-4, 1), degrees=st.integers(1, 30)),
)
def test_the_examples_never_settle_by_less_than_their_own_error_asks_for(values, example_error, known):
    """However still the seeds: no interval is narrower than that of a normal number looked at once."""
    found = confirm(np.array(values), example_error=example_error, known=known)

    assert found.interval[1] - found.mean > stats.norm.ppf(0.975) * example_error


@pytest.mark.parametrize("ratio", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("known_degrees", [0, 14])
def test_looking_after_every_seed_is_allowed_beside_the_examples_error_too(ratio, known_degrees):
    """Of 1,500 equal pairs at most 5 % are ever decided in 12 looks, whichever of the two errors is the larger."""
    rng = np.random.default_rng(int(10 * ratio) + known_degrees)
    wrong = 0
    for _ in range(1500):
        d = rng.normal(0, 1) + rng.normal(0, ratio * 2**0.5, 12)
        variance = ratio**2 * rng.chisquare(known_degrees) / known_degrees if known_degrees else 0.0
        known = KnownNoise(variance=variance, degrees=known_degrees) if known_degrees else None
        looks = (confirm(d[:n], known=known, example_error=1.0).outcome for n in range(1, 13))
        wrong += any(outcome is not Outcome.UNDECIDED for outcome in looks)
    assert wrong <= 0.05 * 1500


def test_how_large_a_lead_can_be_settled_is_what_then_settles():
    """A mean just beyond it is decided by seeds whose noise is the known one, and one just below is not."""
    known = KnownNoise(variance=0.003**2, degrees=14)
    spread = np.array([-1, 0, 1]) * (2 * known.variance) ** 0.5  # a variance of twice the known one, on two degrees

    lead = settles(3, known, 0, example_error=0.002)

    assert confirm(spread + 1.001 * lead, known=known, example_error=0.002).outcome is Outcome.BETTER
    assert confirm(spread + 0.999 * lead, known=known, example_error=0.002).outcome is Outcome.UNDECIDED
    assert settles(1, KnownNoise(variance=1e-5, degrees=1), 0) == math.inf


def test_of_unpaired_seeds_a_clear_lead_alone_is_called_better():
    """Not an equal config, not one that may be better by noise, and not where no seed is repeated."""
    old = np.array([0.700, 0.702, 0.701])

    def outcome(new, error=0.002):
        return confirm_unpaired(new, old, example_error=error).outcome

    assert outcome(old + 0.02) is Outcome.BETTER
    assert outcome(old) is Outcome.UNDECIDED
    assert outcome(old + 0.003, 0.004) is Outcome.UNDECIDED
    assert outcome(old - 0.02) is Outcome.WORSE
    assert confirm_unpaired(np.array([0.9]), np.array([0.7])).outcome is Outcome.UNDECIDED


def test_an_equal_config_whose_seeds_were_stopped_when_it_pleased_is_rarely_called_better_than_another():
    """Of 1,500 new ones that went on until they looked best beside 5 old seeds, at most 5 %."""
    wrong = 0
    for number in range(1500):
        rng = np.random.default_rng(number)
        old, new = rng.normal(0, 1, 5), rng.normal(0, 1, 12) + rng.normal(0, 0.7)
        looks = (confirm_unpaired(new[:n], old, example_error=0.7).outcome for n in range(2, 13))
        wrong += any(outcome is Outcome.BETTER for outcome in looks)
    assert wrong <= 0.05 * 1500


def test_so_is_one_beside_another_whose_seeds_were_stopped_where_they_looked_worst():
    """Of 1,500 pairs at most 5 %, where a t-test at each look would say so of several times as many."""
    wrong = naive = 0
    for number in range(1500):
        rng = np.random.default_rng((2, number))
        old, new, luck = rng.normal(0, 1, 10), rng.normal(0, 1, 10), rng.normal(0, 0.7)
        old = old[: 2 + np.argmin([old[:n].mean() for n in range(2, 11)])]
        looks = [new[:n] + luck for n in range(2, 11)]
        wrong += any(confirm_unpaired(look, old, example_error=0.7).outcome is Outcome.BETTER for look in looks)
        naive += any(look.mean() > old.mean() and stats.ttest_ind(look, old).pvalue < 0.1 for look in looks)
    assert wrong <= 0.05 * 1500
    assert naive > 4 * 0.05 * 1500


def test_what_is_no_difference_is_refused():
    """None at all, NaN, and an alpha of 5."""
    with pytest.raises(ValueError, match="expected at least one, all of them numbers"):
        confirm(np.array([]))
    with pytest.raises(ValueError, match="expected at least one, all of them numbers"):
        confirm(np.array([0.1, np.nan]))
    with pytest.raises(ValueError, match="alpha 5"):
        confirm(np.array([0.1]), alpha=5)

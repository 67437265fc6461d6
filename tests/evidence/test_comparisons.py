"""Comparisons with the baseline, and seeds: hand computations, a slow step-down, laws and degenerate sweeps."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evidence.comparisons import Standing, compare, own_intervals, step_down
from evidence.scores import Scores, scores
from evidence.seeds import Configs, configs
from tests.evidence.made import made_answers, with_columns


def made_scores(overall, variance=1e-5, shared=0.0, resolution=1e-4):
    """Return scores whose examples' noise has a variance and a correlation."""
    size = len(overall)
    covariance = variance * ((1 - shared) * np.eye(size) + shared)
    return Scores(overall_T=np.array(overall, float), covariance_TT=covariance, resolution=resolution)


def standings(found):
    """Return the standings by key."""
    return {entry.key: entry.standing for entry in found}


def test_the_seed_variance_is_pooled():
    """Two configs with scores (1, 3) and (2, 4, 6): sums of squares 2 and 8, over 1 + 2 degrees of freedom."""
    found = configs(made_scores([1, 2, 3, 4, 6], variance=0.0), ["a", "b", "a", "b", "b"])

    assert found.keys == ("a", "b")
    assert found.overall_T.tolist() == [2, 4]
    assert found.seeds_T.tolist() == [2, 3]
    assert (found.seed_variance, found.degrees) == (pytest.approx(10 / 3), 3)
    assert np.diag(found.noise_TT) == pytest.approx([10 / 6, 10 / 9])


def test_what_a_seed_brings_of_its_own_counts_once():
    """Of a variance of 1 with 0.7 shared, 0.3 shows between the seeds: it is in the seed variance, and only there."""
    found = configs(made_scores([0, 1, 0, 1], variance=1.0, shared=0.7), ["a", "a", "b", "b"])

    assert found.seed_variance == 0.5
    assert found.examples_TT == pytest.approx(np.full((2, 2), 0.7))


def test_without_repeats_the_seed_noise_is_unknown():
    """Two trials far apart are no more than tentatively better and worse."""
    found = compare(configs(made_scores([0.5, 0.6, 0.4]), "abc"), "a")

    assert standings(found) == {
        "a": Standing.BASELINE,
        "b": Standing.TENTATIVELY_BETTER,
        "c": Standing.TENTATIVELY_WORSE,
    }
    assert all(entry.seed_noise_unknown and entry.degrees == math.inf for entry in found)


def test_with_repeats_better_is_better():
    """The same differences with two seeds each, 0.001 apart."""
    found = compare(configs(made_scores([0.5, 0.6, 0.4, 0.501, 0.601, 0.401]), "abcabc"), "a")

    assert standings(found) == {"a": Standing.BASELINE, "b": Standing.BETTER, "c": Standing.WORSE}
    assert not any(entry.seed_noise_unknown for entry in found)


def test_seed_noise_makes_a_tie():
    """A difference of 0.01 that is beyond the examples' noise is within that of seeds 0.02 apart."""
    found = compare(configs(made_scores([0.50, 0.51, 0.52, 0.53], variance=1e-7), "abab"), "a")

    assert standings(found) == {"a": Standing.BASELINE, "b": Standing.TIED}


def test_one_comparison_is_a_t_test():
    """Seed noise alone: the interval is Student's, and the p-value that of scipy's two-sample t-test."""
    a, b = [0.0, 1.0, 2.0, 1.5], [2.0, 3.5, 4.0, 2.5]
    reference = stats.ttest_ind(b, a)

    found = compare(configs(made_scores(a + b, variance=0.0, resolution=0.0), "aaaabbbb"), "a", draws=200_000)[1]

    assert found.difference / found.standard_error == pytest.approx(reference.statistic)
    assert found.degrees == pytest.approx(6)
    assert found.interval == pytest.approx(reference.confidence_interval())
    assert found.p == pytest.approx(reference.pvalue, rel=0.05)
    assert found.joint_interval == pytest.approx(found.interval, rel=0.03)


def test_degrees_of_freedom_are_welch_and_satterthwaites():
    """(A + B)^2 / (B^2 / f) for a known variance A beside an estimated B of f degrees of freedom."""
    trials = made_scores([0, 1, 3, 3, 4, 5], variance=0.9, resolution=0.0)

    found = compare(configs(trials, "aaabbb"), "a")[1]

    known, estimated = 0.0, (14 / 3 + 2) / 4 * 2 / 3  # all of the examples' variance is the seeds' own here
    assert found.standard_error**2 == pytest.approx(known + estimated)
    shared = compare(configs(made_scores([0, 1, 3, 9], variance=0.9, shared=0.5, resolution=0.3), "aabb"), "a")[1]
    estimated = (0.5 + 18) / 2
    assert shared.standard_error**2 == pytest.approx(0.09 + estimated)
    assert shared.degrees == pytest.approx((0.09 + estimated) ** 2 / (estimated**2 / 2))


def test_an_interval_of_a_score_is_normal_where_examples_make_it_and_a_ts_where_seeds_do():
    """Satterthwaite's degrees of freedom lie between those of the seeds and no end of them."""

    def half(examples, seeds):
        found = Configs(
            keys=("a",), overall_T=np.array([0.7]), seeds_T=np.array([2]), examples_TT=np.array([[examples]]),
            seed_variance=2 * seeds, degrees=2, resolution=0.0,
        )  # fmt: skip
        low, high = own_intervals(found)
        return (high - low)[0] / 2 / (examples + seeds) ** 0.5

    assert half(1e-4, 1e-9) == pytest.approx(stats.norm.ppf(0.975), rel=1e-3)
    assert half(1e-9, 1e-4) == pytest.approx(stats.t.ppf(0.975, 2), rel=1e-3)
    assert stats.norm.ppf(0.975) < half(1e-4, 1e-4) < stats.t.ppf(0.975, 2)


def test_the_step_down_is_that_of_a_slow_loop():
    """Each hypothesis, in either direction, against the maximum over those not yet rejected."""
    rng = np.random.default_rng(2)
    null = rng.standard_normal((500, 6)) @ rng.standard_normal((6, 6)) / 2
    t = np.array([2.5, -0.3, 3.5, -3.1, 0.0, 1.4])

    found = step_down(t, null)

    hypotheses = sorted([(value, k, 1) for k, value in enumerate(t)] + [(-value, k, -1) for k, value in enumerate(t)])
    running, expected = 0.0, np.ones(6)
    for place in reversed(range(12)):
        value, k, sign = hypotheses[place]
        maximum = np.max([s * null[:, j] for _, j, s in hypotheses[: place + 1]], axis=0)
        running = max(running, (1 + np.sum(maximum >= value)) / 501)
        if value > 0 or (value == 0 and sign == 1):
            expected[k] = running
    assert found == pytest.approx(expected)


def test_alike_trials_are_corrected_less_than_independent_ones():
    """Forty trials that err alike are hardly more than one."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((4000, 40))
    alike = 0.99 * noise[:, :1] + 0.1 * noise

    t = np.full(40, 2.3)

    assert step_down(t, alike).max() < 0.05 < step_down(t, noise).max()


def test_identical_predictions_are_tied():
    """A difference without variance is no NaN and no finding, with seeds and without."""
    answers = with_columns(made_answers(3), [0, 0, 1, 2])

    for keys in ("abcd", "abcc"):
        found = compare(configs(scores(answers), keys), "a")[1]
        assert (found.difference, found.standing) == (0.0, Standing.TIED)
        assert found.p == 1.0
        assert np.isfinite([*found.interval, *found.joint_interval]).all()


def test_all_right_against_all_wrong_is_a_finding():
    """Neither trial has variance, and yet they differ: one example is the floor of what is known."""
    found = compare(configs(made_scores([0.0, 1.0, 0.0], variance=0.0, resolution=0.01), "abc"), "a")

    assert standings(found) == {
        "a": Standing.BASELINE,
        "b": Standing.TENTATIVELY_BETTER,
        "c": Standing.TIED,
    }


def test_a_handful_of_examples_is_no_finding():
    """Three examples of 10,000 that differ, all in one's favour, are noise: the sign test says 0.25."""
    floor = 1e-4
    trials = Scores(
        overall_T=np.array([0.5, 0.5 + 3 * floor]),
        covariance_TT=np.array([[0.0, 0.0], [0.0, 3 * floor**2]]),
        resolution=floor,
    )

    assert compare(configs(trials, "ab"), "a")[1].p > 0.1


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(6)), st.integers(0, 9), st.booleans())
def test_the_order_of_trials_does_not_matter(columns, seed, repeated):
    """Permuted trials give the same comparisons, p-values included."""
    answers = made_answers(6, (60, 90, 45), seed)
    keys = "aabbcc" if repeated else "abcdef"

    before = compare(configs(scores(answers), keys), "a", draws=500)
    after = compare(configs(scores(with_columns(answers, columns)), [keys[c] for c in columns]), "a", draws=500)

    assert {entry.key for entry in after} == set(keys)
    for entry in after:
        other = next(e for e in before if e.key == entry.key)
        assert (entry.standing, entry.p) == (other.standing, pytest.approx(other.p, abs=0.005))
        assert entry.joint_interval == pytest.approx(other.joint_interval, abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 3), st.integers(0, 9))
def test_a_duplicated_trial_gets_an_equal_row(which, seed):
    """And the others keep theirs but for the draws' error."""
    answers = made_answers(4, (60, 90, 45), seed)
    doubled = with_columns(answers, [0, 1, 2, 3, which])

    before = compare(configs(scores(answers), range(4)), 0, draws=2000)
    after = compare(configs(scores(doubled), range(5)), 0, draws=2000)

    assert after[4].difference == after[which].difference
    assert after[4].p == pytest.approx(after[which].p, abs=0.001)
    if which:
        assert after[4].interval == pytest.approx(after[which].interval)
        assert [e.p for e in after[:4]] == pytest.approx([e.p for e in before], abs=0.08)


def test_one_trial_is_the_baseline_and_no_more():
    """A sweep of one has nothing to compare."""
    (found,) = compare(configs(made_scores([0.5]), "a"), "a")

    assert (found.standing, found.p, found.interval) == (Standing.BASELINE, 1.0, (0.0, 0.0))


def test_a_baseline_that_is_not_there_is_an_error():
    """As is another number of keys than of trials."""
    with pytest.raises(ValueError, match="baseline 'z' is none of the 2 configs"):
        compare(configs(made_scores([1, 2]), "ab"), "z")
    with pytest.raises(ValueError, match="3 configs' keys for 2 trials"):
        configs(made_scores([1, 2]), "abc")

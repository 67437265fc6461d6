"""Expected scores: closed forms, laws, and the luck of the best of many taken out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence.crossfit import cross_fitted
from evidence.draws import normal_draws_BT
from evidence.expected import SHARES, expected, true_scores_BT
from evidence.scores import scores
from tests.evidence.made import made_answers, with_columns

SCORES = np.array([0.700, 0.705, 0.712, 0.698, 0.709])


def noise(size, variance=1e-5, shared=0.0):
    """Return a covariance of equal variances and correlations."""
    return variance * ((1 - shared) * np.eye(size) + shared)


def test_it_is_what_sampling_the_model_gives():
    """Shares, spreads, common and true scores drawn from the prior, weighed by how well they explain the scores."""
    rng = np.random.default_rng(0)
    draws, variance = 400_000, 1e-5
    share = rng.choice(list(SHARES), draws, p=list(SHARES.values()))
    spread = 0.01 * np.abs(rng.standard_cauchy(draws))
    slab = np.where(rng.random((draws, 5)) < share[:, None], spread[:, None], 0.0) ** 2
    # Given who differs, the common score (of a flat prior) and the true scores are those of a weighted mean.
    weight = 1 / (variance + slab)
    common = (weight @ SCORES) / weight.sum(axis=1)
    rest = SCORES - common[:, None]
    log = (np.log(weight).sum(axis=1) - np.log(weight.sum(axis=1)) - (weight * rest**2).sum(axis=1)) / 2
    chance = np.exp(log - log.max()) / np.exp(log - log.max()).sum()
    true = common[:, None] + slab * weight * rest

    found = expected(SCORES, noise(5), 0)

    assert found.overall_T == pytest.approx(chance @ true, abs=3e-4)
    assert found.differs_T == pytest.approx(chance @ (slab > 0), abs=0.06)


def test_known_scores_stay_as_they_are():
    """Without noise there is no luck, and the better one beats the baseline for sure."""
    found = expected(SCORES, noise(5, 1e-14), 0)

    assert found.overall_T == pytest.approx(SCORES, abs=1e-6)
    assert found.beats_baseline_T == pytest.approx([0.5, 1, 1, 0, 1], abs=1e-6)


def test_noise_that_all_share_shrinks_nothing():
    """Easy examples lift all trials alike: what counts for the differences is what they do not share."""
    alone = expected(SCORES, noise(5, 1e-6), 0)
    found = expected(SCORES, noise(5, 1e-4, 0.99), 0)

    assert found.overall_T == pytest.approx(alone.overall_T, abs=1e-9)
    assert found.beats_baseline_T == pytest.approx(alone.beats_baseline_T, abs=1e-9)
    assert (found.error_T > 0.0099).all()


def test_much_noise_draws_all_scores_to_one():
    """And none of them is much more probable to beat the baseline than not."""
    found = expected(SCORES, noise(5, 1.0), 0)

    assert np.ptp(found.overall_T) < 0.01 * np.ptp(SCORES)
    assert found.beats_baseline_T == pytest.approx(np.full(5, 0.5), abs=0.02)


def test_draws_of_true_scores_are_those_that_are_expected():
    """Their means, standard deviations and shares above the baseline are the ones computed."""
    covariance = noise(5, 3e-5, 0.5)
    found = expected(SCORES, covariance, 0)

    drawn = true_scores_BT(SCORES, covariance, 40_000, np.random.default_rng(0))

    assert drawn.mean(axis=0) == pytest.approx(found.overall_T, abs=1e-4)
    assert drawn.std(axis=0) == pytest.approx(found.error_T, rel=0.02)
    above, equal = drawn[:, 1:] > drawn[:, :1], drawn[:, 1:] == drawn[:, :1]
    assert (above + equal / 2).mean(axis=0) == pytest.approx(found.beats_baseline_T[1:], abs=0.01)


def test_the_winners_curse_is_lifted():
    """The best of twenty is 0.005 too high in what was scored; in what is expected, under a third of that."""
    rng = np.random.default_rng(1)
    covariance = noise(20, 2e-5, 0.3)
    raw, guess = [], []
    for _ in range(150):
        truth = 0.7 + 0.003 * rng.standard_normal(20)
        x = truth + normal_draws_BT(covariance, 1, rng)[0]
        best = int(x.argmax())
        raw.append(x[best] - truth[best])
        guess.append(expected(x, covariance, 0).overall_T[best] - truth[best])

    assert np.mean(raw) > 0.004
    assert abs(np.mean(guess)) < np.mean(raw) / 3
    assert np.mean(np.square(guess)) < np.mean(np.square(raw)) / 2


def test_one_that_stands_out_of_a_crowd_keeps_its_lead():
    """A hundred equal configs and one that is 0.02 better, six standard errors: nearly all of it is expected."""
    rng = np.random.default_rng(2)
    x = 0.7 + 0.003 * rng.standard_normal(101)
    x[7] = 0.72

    found = expected(x, noise(101, 9e-6), 0)

    assert found.overall_T[7] > 0.717
    assert found.beats_baseline_T[7] > 0.99
    assert found.differs_T[7] > 0.9
    assert np.median(found.differs_T) < 0.5


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(5)), st.integers(0, 9))
def test_the_order_of_trials_does_not_matter(columns, seed):
    """Permuted trials have permuted expectations."""
    found = scores(made_answers(5, (60, 90, 45), seed))
    before = expected(found.overall_T, found.covariance_TT, 0)

    after = expected(found.overall_T[columns], found.covariance_TT[np.ix_(columns, columns)], columns.index(0))

    assert after.overall_T == pytest.approx(before.overall_T[columns], abs=1e-9)
    assert after.beats_baseline_T == pytest.approx(before.beats_baseline_T[columns], abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 4), st.integers(0, 9))
def test_a_duplicated_trial_changes_no_other(which, seed):
    """It has the row of its twin; two rows of one model are no news of how true scores spread."""
    found = scores(with_columns(made_answers(5, (60, 90, 45), seed), [0, 1, 2, 3, 4, which]))

    once = expected(found.overall_T[:5], found.covariance_TT[:5, :5], 0)
    twice = expected(found.overall_T, found.covariance_TT, 0)

    assert twice.overall_T == pytest.approx([*once.overall_T, once.overall_T[which]], abs=1e-9)
    assert twice.beats_baseline_T == pytest.approx([*once.beats_baseline_T, once.beats_baseline_T[which]], abs=1e-6)


def test_one_score_is_what_it_is():
    """Nothing to be drawn to, and one half to beat itself."""
    found = expected(np.array([0.7]), noise(1), 0)

    assert (found.overall_T.tolist(), found.beats_baseline_T.tolist()) == ([pytest.approx(0.7)], [0.5])


def test_what_is_no_score_is_refused():
    """Other shapes, no number, a baseline beyond the trials."""
    with pytest.raises(ValueError, match=r"scores \(5,\) and noise \(4, 4\)"):
        expected(SCORES, noise(4), 0)
    with pytest.raises(ValueError, match="no numbers"):
        expected(SCORES * np.nan, noise(5), 0)
    with pytest.raises(ValueError, match="baseline 5 of 5"):
        expected(SCORES, noise(5), 5)


def test_cross_fitting_scores_the_choice_of_the_other_half():
    """One trial's is its own score, for halves of equal size; the best of many equals' is below the maximum."""
    one = made_answers(1, (110, 400), tasks=("sentiment", "paraphrase"))
    many = made_answers(30)

    assert cross_fitted(one) == pytest.approx(scores(one).overall_T[0], abs=1e-12)
    assert cross_fitted(many) < scores(many).overall_T.max() - 0.005
    assert cross_fitted(many) == pytest.approx(scores(many).overall_T.mean(), abs=0.015)


def test_one_example_has_no_halves():
    """The task is named."""
    with pytest.raises(ValueError, match="sentiment: 1 example; two halves take at least 2"):
        cross_fitted(made_answers(2, (1,), tasks=("sentiment",)))

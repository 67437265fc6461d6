"""Candidates and baseline on the same fresh seeds: who is called better, and that looking often is allowed."""

import numpy as np
import pytest

from evidence.confirm import KnownNoise, Outcome
from evidence.confirmations import confirmations, pooled
from evidence.scores import Scores

EXAMPLES = 0.0004
"""Standard error that the examples give a score, a part that all trials share left out."""


def fresh(differences_KS, seed=0, examples=EXAMPLES):
    """Return scores of a baseline and K candidates on S seeds, keys and seeds; the candidates' lead is given."""
    lead_KS = np.vstack([np.zeros(np.shape(differences_KS)[1]), differences_KS])
    rng = np.random.default_rng(seed)
    overall_KS = 0.7 + lead_KS + rng.normal(0, 0.003, lead_KS.shape[1])
    keys, seeds = (
        np.repeat(np.arange(len(lead_KS)), lead_KS.shape[1]),
        np.tile(np.arange(lead_KS.shape[1]), len(lead_KS)),
    )
    shared = np.eye(len(lead_KS))[keys][:, keys] * examples**2
    return (
        Scores(overall_T=overall_KS.ravel(), covariance_TT=shared, resolution=1e-6),
        keys.tolist(),
        seeds.tolist(),
    )


def outcomes(trials, keys, seeds, **options):
    """Return the outcome of each candidate."""
    found = confirmations(trials, keys, seeds, 0, **{"searched": max(keys), **options})
    return [found[key].outcome for key in sorted(found)]


def test_a_better_and_a_worse_candidate_are_told_and_an_equal_one_is_not():
    """Pairs by seed take away what the seed does to both."""
    noise = np.random.default_rng(1).normal(0, 0.001, (3, 5))
    trials, keys, seeds = fresh(np.array([[0.02], [-0.02], [0.0]]) + noise)

    assert outcomes(trials, keys, seeds) == [Outcome.BETTER, Outcome.WORSE, Outcome.UNDECIDED]


def test_noise_that_other_candidates_show_lets_three_seeds_decide():
    """The same candidate alone is undecided after three, though nothing else was searched."""
    noise = np.random.default_rng(2).normal(0, 0.002, (4, 3))
    lead = np.array([[0.02], [0.0], [0.0], [0.0]]) + noise
    trials, keys, seeds = fresh(lead)
    alone, its_keys, its_seeds = fresh(lead[:1])

    assert outcomes(trials, keys, seeds)[0] is Outcome.BETTER
    assert outcomes(alone, its_keys, its_seeds) == [Outcome.UNDECIDED]


def test_a_candidate_is_compared_on_the_seeds_that_it_shares_with_the_baseline():
    """A trial that failed takes its pair along, and a candidate without a pair is no comparison."""
    trials, keys, seeds = fresh(np.full((2, 4), 0.01))
    left = [n for n, (key, seed) in enumerate(zip(keys, seeds, strict=True)) if key != 2 and (key, seed) != (1, 0)]
    part = Scores(
        overall_T=trials.overall_T[left], covariance_TT=trials.covariance_TT[np.ix_(left, left)], resolution=1e-6
    )

    found = confirmations(part, [keys[n] for n in left], [seeds[n] for n in left], 0, searched=2)

    assert {key: value.seeds for key, value in found.items()} == {1: 3}


def test_the_examples_keep_a_lead_from_being_called_better():
    """Seeds without end do not make fresh examples."""
    noise = np.random.default_rng(3).normal(0, 0.001, (1, 20))

    assert outcomes(*fresh(0.01 + noise, examples=0.0004)) == [Outcome.BETTER]
    assert outcomes(*fresh(0.01 + noise, examples=0.006)) == [Outcome.UNDECIDED]


def test_equal_candidates_looked_at_after_every_seed_are_rarely_called_better_or_worse():
    """Of 400 confirmations of three equal candidates in 12 looks, at most 5 % make any claim."""
    wrong = 0
    for number in range(400):
        noise = np.random.default_rng(100 + number).normal(0, 0.003, (3, 12))
        trials, keys, seeds = fresh(noise, seed=number, examples=0.0)
        claimed = False
        for look in range(1, 13):
            left = [n for n, seed in enumerate(seeds) if seed < look]
            part = Scores(
                overall_T=trials.overall_T[left], covariance_TT=trials.covariance_TT[np.ix_(left, left)], resolution=0.0
            )
            found = outcomes(part, [keys[n] for n in left], [seeds[n] for n in left])
            claimed = claimed or any(outcome is not Outcome.UNDECIDED for outcome in found)
        wrong += claimed
    assert wrong <= 20


@pytest.mark.parametrize("searched", [30, 200])
def test_the_luckiest_of_many_equal_configs_is_rarely_called_better(searched):
    """Its luck with the examples comes back with every fresh seed: alpha is shared out among all it was chosen from."""
    wrong = 0
    for number in range(300):
        rng = np.random.default_rng((searched, number))
        luck_K = np.sort(rng.normal(0, 0.0032, searched))[-2:]  # of two thirds of a standard error and more, for good
        noise = rng.normal(0, 0.0005, (2, 5))
        trials, keys, seeds = fresh(luck_K[:, None] + noise, seed=number, examples=0.0032 / 2**0.5)
        wrong += Outcome.BETTER in outcomes(trials, keys, seeds, searched=searched)
    assert wrong <= 0.05 * 300


def test_noise_is_pooled_by_degrees_of_freedom():
    """Variances of 4 on 2 degrees and of 1 on 1 are 3 on 3; a single seed tells nothing."""
    known = KnownNoise(variance=4.0, degrees=2)

    found = pooled(known, [np.array([0.0, 2**0.5]), np.array([7.0])])

    assert found is not None
    assert (found.variance, found.degrees) == (pytest.approx(3.0), 3)
    assert pooled(None, [np.array([1.0])]) is None

"""Scores and their covariance, against the metrics of the model, hand computations and a slow bootstrap."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence.draws import bootstrap_BT, normal_draws_BT
from evidence.scores import Answers, scores
from model.tasks import METRICS, TASKS, overall_score
from tests.evidence.made import made_answers, with_columns


def answers_to(name, labels, *columns):
    """Return the answers of a few trials to a few examples."""
    return Answers(task=TASKS[name], labels_N=np.array(labels, float), predictions_NT=np.array(columns, float).T)


@pytest.mark.parametrize("tasks", [("sentiment", "paraphrase", "similarity"), ("similarity",), ("paraphrase",)])
def test_scores_are_those_that_training_records(tasks):
    """The overall score of each trial is model/tasks.overall_score of its metrics, to 1e-12."""
    answers = made_answers(5, (101, 215, 63)[: len(tasks)], tasks=tasks)

    found = scores(answers).overall_T

    for t in range(5):
        recorded = {a.task.name: METRICS[a.task.metric](a.predictions_NT[:, t], a.labels_N) for a in answers}
        assert found[t] == pytest.approx(overall_score([a.task for a in answers], recorded), abs=1e-12)


def test_the_variance_of_an_accuracy_is_the_binomial_one():
    """Three of four right: p (1 - p) / (N - 1) = 3/16 / 3, and that of a difference counts the disagreements."""
    found = scores([answers_to("paraphrase", [1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 0], [0, 1, 1, 1])])

    assert found.overall_T.tolist() == [0.75, 0.75, 0.75]
    assert found.covariance_TT[0, 0] == pytest.approx(3 / 16 / 3)
    assert found.covariance_TT[0, 1] == pytest.approx(3 / 16 / 3)
    assert found.covariance_TT[0, 0] + found.covariance_TT[2, 2] - 2 * found.covariance_TT[0, 2] == pytest.approx(
        2 / 4 / 3
    )


def test_the_variance_of_pearsons_r_is_fishers():
    """For normal values it tends to (1 - r^2)^2 / N; the unit score has a quarter of it."""
    rng = np.random.default_rng(3)
    y = rng.standard_normal(200_000)
    x = 0.8 * y + 0.6 * rng.standard_normal(200_000)

    found = scores([answers_to("similarity", y, x)])

    assert found.covariance_TT[0, 0] * 4 * 200_000 == pytest.approx((1 - 0.64) ** 2, rel=0.03)


def test_the_influence_is_the_derivative_of_the_score():
    """Doubling an example's weight in 4,000 moves the score by its influence over 4,000, to the first order."""
    answers = made_answers(3, (4000, 4000, 4000))
    for entry in answers:
        heavier = Answers(
            task=entry.task,
            labels_N=np.append(entry.labels_N, entry.labels_N[7]),
            predictions_NT=np.vstack([entry.predictions_NT, entry.predictions_NT[7]]),
        )
        moved = (heavier.unit_scores_T() - entry.unit_scores_T()) * 4001
        assert moved == pytest.approx(entry.influence_NT()[7], abs=0.02)


def test_the_covariance_is_that_of_the_plain_bootstrap():
    """4,000 resamples of the examples, the same for all trials, have the analytic covariance."""
    answers = made_answers(4)

    analytic = scores(answers).covariance_TT
    resampled = np.cov(bootstrap_BT(answers, 4000, np.random.default_rng(5)).T)

    assert resampled == pytest.approx(analytic, abs=0.08 * analytic.max())


def test_the_bootstrap_is_that_of_a_loop_that_picks_rows():
    """Weights as matrices give what indexing the drawn examples gives."""
    answers = made_answers(3, (40, 50, 30))
    rng, again = np.random.default_rng(1), np.random.default_rng(1)

    found = bootstrap_BT(answers, 6, rng, chunk=4)

    slow = np.zeros((6, 3))
    for entry in answers:
        counts = np.vstack(
            [again.multinomial(entry.examples, np.full(entry.examples, 1 / entry.examples), size=n) for n in (4, 2)]
        )
        for b, weights in enumerate(counts):
            rows = np.repeat(np.arange(entry.examples), weights)
            for t in range(3):
                r = METRICS[entry.task.metric](entry.predictions_NT[rows, t], entry.labels_N[rows])
                slow[b, t] += ((r + 1) / 2 if entry.task.metric == "pearson" else r) / 3
    assert found == pytest.approx(slow, abs=1e-12)


def test_normal_draws_have_their_covariance():
    """Also where it is singular: two equal trials draw the same."""
    covariance = np.array([[1.0, 1.0, 0.3], [1.0, 1.0, 0.3], [0.3, 0.3, 2.0]])

    draws = normal_draws_BT(covariance, 40_000, np.random.default_rng(0))

    assert np.cov(draws.T) == pytest.approx(covariance, abs=0.05)
    assert draws[:, 0] == pytest.approx(draws[:, 1], abs=1e-6)


@settings(max_examples=20)
@given(st.permutations(range(4)), st.integers(0, 9))
def test_the_order_of_trials_and_examples_does_not_matter(columns, seed):
    """Permuted trials permute the scores and their covariance; permuted examples change nothing."""
    answers = made_answers(4, (20, 30, 15), seed)
    shuffled = [
        Answers(task=a.task, labels_N=a.labels_N[rows], predictions_NT=a.predictions_NT[rows])
        for a in with_columns(answers, columns)
        for rows in [np.random.default_rng(seed).permutation(a.examples)]
    ]

    before, after = scores(answers), scores(shuffled)

    assert after.overall_T == pytest.approx(before.overall_T[columns], abs=1e-12)
    assert after.covariance_TT == pytest.approx(before.covariance_TT[np.ix_(columns, columns)], abs=1e-12)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(0, 5)), min_size=1, max_size=12))
def test_whatever_the_values_scores_are_numbers(pairs):
    """Pearson's r is model/tasks' own and its variance a number, for nearly constant values too."""
    x, y = (np.array(side) for side in zip(*pairs, strict=True))

    found = scores([answers_to("similarity", y, x)])

    assert np.isfinite(found.covariance_TT).all()
    assert 0 <= found.overall_T[0] <= 1


def test_constant_answers_have_score_and_variance_of_one_that_knows_nothing():
    """Pearson's r of a constant is 0, and no draw of examples changes that."""
    constant_labels = scores([answers_to("similarity", [2, 2, 2], [1, 2, 3])])
    found = scores([answers_to("similarity", [1, 2, 4], [3, 3, 3], [1, 2, 4])])

    assert found.overall_T.tolist() == [0.5, pytest.approx(1.0)]
    assert found.covariance_TT[0].tolist() == [0.0, 0.0]
    assert (constant_labels.overall_T[0], constant_labels.covariance_TT[0, 0]) == (0.5, 0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_refused(bad):
    """The message says which task and which trials."""
    with pytest.raises(ValueError, match=r"similarity: trials with predictions that are no numbers: columns \[1\]"):
        answers_to("similarity", [1, 2], [1, 2], [1, bad])
    with pytest.raises(ValueError, match="sentiment: 1 of 2 labels are no numbers"):
        answers_to("sentiment", [1, bad], [1, 2])


def test_shapes_that_do_not_fit_are_refused():
    """Another number of examples, no example and no trial at all."""
    for labels, predictions in (((3,), (2, 1)), ((0,), (0, 1)), ((3,), (3, 0)), ((3,), (3,))):
        with pytest.raises(ValueError, match=r"expected \[N\] and \[N, T\]"):
            Answers(task=TASKS["sentiment"], labels_N=np.zeros(labels), predictions_NT=np.zeros(predictions))


def test_tasks_must_have_the_same_trials():
    """No task, a task twice, and a trial that one task lacks are refused."""
    one, two = made_answers(2), made_answers(3)
    for answers in ([], [one[0], one[0]], [one[0], two[1]]):
        with pytest.raises(ValueError, match="expected each task once, with the same trials for all"):
            scores(answers)


def test_one_example_and_one_trial_are_enough():
    """A single example has no variance to estimate, and gives none."""
    found = scores([answers_to("paraphrase", [1], [1])])

    assert (found.overall_T[0], found.covariance_TT[0, 0], found.resolution) == (1.0, 0.0, 1.0)

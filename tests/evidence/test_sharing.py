"""What sharing does to a task: planted differences, hand computation, and how often nothing is called something."""

import numpy as np
import pytest
from scipy import stats

from evidence.scores import Answers
from evidence.sharing import Outcome, sharing
from model.tasks import TASKS
from tests.evidence.made import made_answers, with_columns


def right(*shares, examples=1000):
    """Return sentiment answers of trials that are right on these shares of the examples, each on the first ones."""
    labels = np.arange(examples) % 5.0
    wrong_NT = np.arange(examples)[:, None] >= np.array(shares) * examples
    return Answers(task=TASKS["sentiment"], labels_N=labels, predictions_NT=(labels[:, None] + wrong_NT) % 5)


def test_the_difference_is_that_of_paired_examples():
    """Right on 60 and 50 %, where one is: the error is that of the tenth that differs, not of two binomials."""
    found = sharing(right(0.6, 0.5), [False, True])

    assert (found.alone, found.shared) == (pytest.approx(0.6), pytest.approx(0.5))
    assert found.difference == pytest.approx(-0.1)
    error = (0.1 * 0.9 / 999 + 1e-6) ** 0.5
    assert found.interval[0] == pytest.approx(-0.1 - 1.96 * error, abs=3e-4)
    assert found.outcome is Outcome.TENTATIVELY_HURT


def test_the_order_of_the_trials_does_not_matter():
    """The shared one may come first."""
    before, after = sharing(right(0.6, 0.5), [False, True]), sharing(right(0.5, 0.6), [True, False])

    assert before == after


def test_repeated_seeds_say_more_and_less():
    """A gain that all seeds agree on is one; the same mean with seeds far apart may be noise."""
    sides = [False] * 3 + [True] * 3

    assert sharing(right(0.500, 0.501, 0.499, 0.550, 0.551, 0.549), sides).outcome is Outcome.HELPED
    assert sharing(right(0.45, 0.50, 0.55, 0.49, 0.55, 0.61), sides).outcome is Outcome.NOISE


def test_a_correlation_is_told_as_r():
    """And not as the unit score, of which a difference is half as large."""
    (answers,) = made_answers(2, (300,), tasks=("similarity",))

    found = sharing(answers, [False, True])

    assert [found.alone, found.shared] == pytest.approx(answers.scores_T())
    assert found.difference == pytest.approx(found.shared - found.alone)
    assert found.interval[0] < found.difference < found.interval[1]


def test_more_questions_take_wider_intervals():
    """The error is that of all together."""
    one, three = (sharing(right(0.6, 0.5), [False, True], comparisons=n).interval for n in (1, 3))

    assert three[0] < one[0] < one[1] < three[1]


def test_nothing_is_rarely_called_something():
    """Of 400 pairs of equal models one in twenty is; the binomial interval of that holds the share found."""
    found = [
        sharing(with_columns(made_answers(2, (150,), seed, ("sentiment",)), [0, 1])[0], [False, True])
        for seed in range(400)
    ]

    called = sum(each.outcome is not Outcome.NOISE for each in found)

    assert stats.binom.cdf(called, 400, 0.05) > 0.005
    assert stats.binom.sf(called - 1, 400, 0.05) > 0.005


def test_one_side_alone_is_refused():
    """Nothing is there to be compared with."""
    with pytest.raises(ValueError, match="sentiment: 2 trials, all on one side; expected both"):
        sharing(right(0.5, 0.6), [True, True])

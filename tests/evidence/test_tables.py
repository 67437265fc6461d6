"""Tables of predictions become matrices, and only of trials that answered the same examples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.scores import scores
from evidence.tables import answers_from
from model.tasks import TASKS

BOTH = [TASKS["sentiment"], TASKS["similarity"]]


def table(predictions=(1, 2, 0.5, 1.5, 4.0), labels=(1, 3, 0.0, 2.0, 5.0), ids=("a", "b", "c", "d", "e")):
    """Return two sentiment and three similarity examples."""
    return {
        "task": ["sentiment"] * 2 + ["similarity"] * (len(ids) - 2),
        "id": list(ids),
        "label": list(labels),
        "prediction": list(predictions),
    }


def rows(columns, order):
    """Return a table's rows in another order."""
    return {name: [values[n] for n in order] for name, values in columns.items()}


def test_a_column_a_trial():
    """In the order of the tables, each task with its own examples."""
    sentiment, similarity = answers_from({4: table(), 2: table((3, 3, 1, 2, 3))}, BOTH)

    assert sentiment.labels_N.tolist() == [1, 3]
    assert sentiment.predictions_NT.tolist() == [[1, 3], [2, 3]]
    assert similarity.predictions_NT.tolist() == [[0.5, 1], [1.5, 2], [4, 3]]


@given(st.permutations(range(5)))
def test_the_order_of_rows_does_not_matter(order):
    """A trial whose rows come otherwise is brought into the first one's order."""
    straight = scores(answers_from({0: table(), 1: table((3, 3, 1, 2, 3))}, BOTH))
    shuffled = scores(answers_from({0: table(), 1: rows(table((3, 3, 1, 2, 3)), order)}, BOTH))

    assert np.array_equal(shuffled.overall_T, straight.overall_T)
    assert np.array_equal(shuffled.covariance_TT, straight.covariance_TT)


@pytest.mark.parametrize(
    "other",
    [
        table(ids=("a", "b", "c", "d", "z")),
        table(labels=(1, 3, 0.0, 2.0, 4.0)),
        rows(table(), [0, 1, 2, 3]),
    ],
)
def test_other_examples_are_refused(other):
    """Another id, another label and a missing row."""
    with pytest.raises(ValueError, match="similarity: trials 0 and 7 were scored on other examples or labels"):
        answers_from({0: table(), 7: other}, BOTH)


def test_ids_that_stand_twice_are_no_key():
    """In the same order they do no harm, in another they cannot be told apart."""
    twice = table(ids=("a", "b", "c", "c", "e"))

    assert answers_from({0: twice, 1: twice}, BOTH)[1].examples == 3
    with pytest.raises(ValueError, match="scored on other examples"):
        answers_from({0: twice, 1: rows(twice, [0, 1, 4, 3, 2])}, BOTH)


def test_a_missing_task_is_an_error():
    """It is named with the trials that lack it; so is an empty sweep."""
    with pytest.raises(ValueError, match=r"similarity: no predictions of trials \[1\]"):
        answers_from({0: table(), 1: rows(table(), [0, 1])}, BOTH)
    with pytest.raises(ValueError, match="0 tables and 2 tasks"):
        answers_from({}, BOTH)

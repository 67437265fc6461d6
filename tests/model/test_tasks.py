"""The registry, the metrics against values computed by hand, and the overall score's formula."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.evaluation import labels_from, score
from model.tasks import TASKS, Task, accuracy, majority_scores, overall_score, pearson, register


def array(*values):
    """Return values as labels are kept."""
    return np.array(values, dtype=np.float64)


def test_accuracy_is_the_share_of_equal_labels():
    """Three of four are right."""
    assert accuracy(array(1, 2, 3, 4), array(1, 2, 3, 0)) == 0.75


def test_pearson_is_that_computed_by_hand():
    """For (1, 2, 3) and (1, 2, 4) r is 3 / sqrt(2 * 42 / 9) = 9 / sqrt(84)."""
    assert pearson(array(1, 2, 3), array(1, 2, 4)) == pytest.approx(9 / 84**0.5, abs=1e-12)


@pytest.mark.parametrize(("scale", "expected"), [(2.0, 1.0), (-0.5, -1.0)])
def test_pearson_is_one_for_a_straight_line(scale, expected):
    """Scale and shift do not matter, the sign of the slope does."""
    x = array(0, 1, 4, 5)

    assert pearson(scale * x + 3, x) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("predictions", "labels"), [((2, 2, 2), (1, 2, 3)), ((1, 2, 3), (4, 4, 4)), ((1,), (2,)), ((), ())]
)
def test_pearson_of_a_constant_is_zero(predictions, labels):
    """Where r is undefined the score is that of a model that knows nothing."""
    assert pearson(array(*predictions), array(*labels)) == 0.0


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(0, 5)), min_size=2, max_size=20))
def test_pearson_lies_between_minus_one_and_one(pairs):
    """Rounding does not carry r beyond its range, and it is always a number."""
    x, y = (np.array(side) for side in zip(*pairs, strict=True))

    assert -1.0 <= pearson(x, y) <= 1.0


def test_the_overall_score_of_the_studys_row():
    """Heads 1/1: (0.4768 + 0.7773 + (0.798 + 1) / 2) / 3 = 0.7177; the study printed 0.7156."""
    tasks = [TASKS[name] for name in ("sentiment", "paraphrase", "similarity")]

    found = overall_score(tasks, {"sentiment": 0.4768, "paraphrase": 0.7773, "similarity": 0.798})

    assert found == pytest.approx(2.1531 / 3)
    assert round(found, 4) == 0.7177


def test_the_overall_score_of_one_task_is_its_own_on_the_unit_scale():
    """Accuracy as it is, r from -1..1 moved to 0..1."""
    assert overall_score([TASKS["sentiment"]], {"sentiment": 0.4, "other": 1.0}) == 0.4
    assert overall_score([TASKS["similarity"]], {"similarity": -1.0}) == 0.0
    assert overall_score([TASKS["similarity"]], {"similarity": 0.5}) == 0.75


def test_outputs_become_labels_by_the_kind_of_task():
    """The largest logit's class from the lowest on, a positive logit, the value itself."""
    stars = replace(TASKS["sentiment"], low=1, high=3)
    logits = np.array([[0.1, 0.5, 0.2], [3, 1, 2]], dtype=np.float32)
    column = np.array([[-0.1], [0.0], [0.1]], dtype=np.float32)

    assert labels_from(stars, logits).tolist() == [2.0, 1.0]
    assert labels_from(TASKS["paraphrase"], column).tolist() == [0.0, 0.0, 1.0]
    assert labels_from(TASKS["similarity"], column).tolist() == pytest.approx([-0.1, 0.0, 0.1])


def test_a_task_is_scored_by_its_metric():
    """Accuracy for classes, Pearson's r for values."""
    column = np.array([[1.0], [2.0], [3.0]], dtype=np.float32)

    assert score(TASKS["paraphrase"], column, array(1, 1, 0)) == pytest.approx(2 / 3)
    assert score(TASKS["similarity"], column, array(1, 2, 4)) == pytest.approx(9 / 84**0.5)


def test_the_majority_is_of_the_training_labels():
    """The commonest label of train is scored on dev, even where dev's commonest is another."""
    assert majority_scores(TASKS["sentiment"], array(3, 3, 1), array(1, 1, 1, 3)) == 0.25
    assert majority_scores(TASKS["similarity"], array(3, 3, 1), array(1, 2)) == 0.0


def test_tasks_have_the_studys_outputs_and_metrics():
    """Five logits, one logit, one value; accuracy, accuracy, Pearson."""
    found = {name: (TASKS[name].outputs, TASKS[name].metric) for name in ("sentiment", "paraphrase", "similarity")}

    assert found == {
        "sentiment": (5, "accuracy"),
        "paraphrase": (1, "accuracy"),
        "similarity": (1, "pearson"),
    }
    assert TASKS["paraphrase"].pair_encoding == "separate"
    assert TASKS["similarity"].pair_encoding == "joint"


@pytest.mark.parametrize("name", ["sentiment", "paraphrase", "similarity"])
def test_a_task_survives_the_way_through_json(name):
    """What a checkpoint keeps of a task is the task, so that registering it again is harmless."""
    again = Task.from_dict(json.loads(json.dumps(TASKS[name].to_dict())))

    assert again == TASKS[name]
    assert register(again) == TASKS[name]


def test_the_same_name_with_other_values_is_refused():
    """Two search spaces do not redefine a task for each other."""
    with pytest.raises(ValueError, match="'sentiment' is registered already"):
        register(replace(TASKS["sentiment"], high=5))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"sentence_columns": ()}, "0 sentence columns; 1 or 2"),
        ({"sentence_columns": ("a", "b", "c")}, "3 sentence columns; 1 or 2"),
        ({"low": 4, "high": 4}, "low must be below high"),
        ({"files": {"train": ("../../etc/passwd",)}}, "expected a name in the data folder, no path"),
        ({"files": {"train": ("/etc/passwd",)}}, "expected a name in the data folder, no path"),
        ({"files": {"train": ("a\nb",)}}, "expected a name in the data folder, no path"),
    ],
)
def test_an_impossible_task_is_refused(values, expected):
    """One or two sentences and a range of labels that is one."""
    with pytest.raises(ValueError, match=expected):
        replace(TASKS["sentiment"], **values)

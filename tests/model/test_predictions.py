"""The course's prediction files, read back as its leaderboard reads them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from model.predictions import prediction_path, write_predictions
from model.tasks import TASKS


def read_back(path):
    """Return a file's title, ids and predictions."""
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    rows = [line.split(" , ") for line in lines]
    return header.split(" \t ")[1].strip(), [row[0] for row in rows], [row[1].strip() for row in rows]


@pytest.mark.parametrize(
    ("task", "name", "title"),
    [
        ("sentiment", "sst-dev-output.csv", "Predicted_Sentiment"),
        ("paraphrase", "para-dev-output.csv", "Predicted_Is_Paraphrase"),
        ("similarity", "sts-dev-output.csv", "Predicted_Similiary"),
    ],
)
def test_files_have_the_courses_names_and_titles(tmp_path, task, name, title):
    """Names and titles are the course code's, its spelling included."""
    path = prediction_path(tmp_path, TASKS[task], "dev")
    write_predictions(path, TASKS[task], ("a",), np.zeros((1, TASKS[task].outputs), dtype=np.float32))

    assert path.name == name
    assert read_back(path)[:2] == (title, ["a"])


def test_a_task_that_is_not_the_courses_has_a_file_by_its_name(tmp_path):
    """Adding a task asks for no other change."""
    assert prediction_path(tmp_path, replace(TASKS["sentiment"], name="stars", prediction_file=None), "test").name == (
        "stars-test-output.csv"
    )


def test_classes_and_duplicates_are_written_as_labels(tmp_path):
    """The class of the largest logit, and 1.0 for a positive logit."""
    path = tmp_path / "out.csv"
    write_predictions(path, TASKS["sentiment"], ("a", "b"), np.eye(5, dtype=np.float32)[[3, 0]])
    assert read_back(path)[2] == ["3", "0"]

    write_predictions(path, TASKS["paraphrase"], ("a", "b"), np.array([[2], [-2]], dtype=np.float32))
    assert read_back(path)[2] == ["1.0", "0.0"]


@settings(max_examples=30)
@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 8), st.just(1)), elements=st.floats(-9, 9, width=32)))
def test_values_come_back_exactly(tmp_path_factory, outputs):
    """Every fp32 value survives the way through the text."""
    path = tmp_path_factory.getbasetemp() / "sts-dev-output.csv"
    ids = tuple(f"id{i}" for i in range(len(outputs)))

    write_predictions(path, TASKS["similarity"], ids, outputs)

    _, found_ids, values = read_back(path)
    assert found_ids == list(ids)
    assert np.array_equal(np.array(values, dtype=np.float32)[:, None], outputs)

"""A data file's header: its columns are found by name, or what is wrong with it is told with its line."""

from dataclasses import replace

import pytest

from tests.model.course_files import HEADER, SENTIMENT, SIMILARITY, row


def test_columns_are_found_by_name(read):
    """The order of the columns and columns beyond those needed do not matter."""
    split = read("sentiment\textra\tsentence\tid\n3\tx\tso it goes\tabc\n")

    assert split.ids == ("abc",)
    assert split.sentences == (("so it goes",),)
    assert split.labels.tolist() == [3.0]


def test_without_an_id_column_the_first_column_is_the_id(read):
    """The unnamed index column serves as the id."""
    assert read("\tsentence\tsentiment\n17\tfine\t2\n").ids == ("17",)


@pytest.mark.parametrize(
    ("header", "missing"),
    [
        ("\tid\ttext\tsentiment\n", "sentence"),
        ("\tid\tsentence\n", "sentiment"),
        ("id,sentence,sentiment\n", "sentence"),
    ],
)
def test_a_missing_column_is_named_beside_those_found(refusal, header, missing):
    """A comma-separated file, too, shows itself by its columns."""
    text = refusal(header + row())

    assert text.startswith(f":1: no column {missing!r}; found ")
    assert text.endswith("expected a tab-separated header")


@pytest.mark.parametrize(
    ("header", "task", "missing", "near"),
    [
        ("\tid\tsentence\tsentimnet\n", SENTIMENT, "sentiment", "sentimnet"),
        ("\tid\tSentence\tsentiment\n", SENTIMENT, "sentence", "Sentence"),
        ("\tid\tsentence\tsentiment \n", SENTIMENT, "sentiment", "sentiment "),
        ("\tid\tsentence1\tsentence_2\tsimilarity\n", SIMILARITY, "sentence2", "sentence_2"),
    ],
)
def test_a_misspelt_column_is_asked_after(refusal, header, task, missing, near):
    """The nearest of the names that are there, other than the task's own; nothing is read from it."""
    text = refusal(header, task)

    assert text.startswith(f":1: no column {missing!r}; found ")
    assert text.endswith(f"; did you mean {near!r}?")


def test_a_column_that_is_there_is_not_meant_by_another(refusal):
    """Of a pair whose second column is missing, the first is no misspelling."""
    text = refusal("\tid\tsentence1\tsimilarity\n", SIMILARITY)

    assert text.startswith(":1: no column 'sentence2'; ")
    assert "did you mean" not in text


@pytest.mark.parametrize(
    ("header", "twice"),
    [
        ("id\tsentence\tsentence\tsentiment\n", "sentence"),
        ("id\tid\tsentence\tsentiment\n", "id"),
        ("id\tsentence\tsentiment\tsentiment\n", "sentiment"),
        ("id\tsentence\tsentiment\tnote\tnote\n", "note"),
        ("id\tsentence\tsentiment\tid\tid\n", "id"),
    ],
)
def test_a_column_that_stands_there_twice_is_refused(refusal, header, twice):
    """Which of the two is meant is not guessed; a column that is not read tells of a damaged header."""
    assert refusal(header) == f":1: column {twice!r} stands there twice; expected each name once"


def test_index_columns_without_a_name_may_be_many(read):
    """The course's test file for students has two."""
    assert read("\t\tid\tsentence\tsentiment\n0\t0\ta\tfine\t2\n").ids == ("a",)


def test_a_fault_of_the_header_is_told_with_its_line(refusal):
    """Blank lines may come before it."""
    assert refusal("\n\r\n\tid\ttext\tsentiment\n" + row()).startswith(":3: no column 'sentence'; found ")
    assert refusal("\nid\tid\tsentence\tsentiment\n").startswith(":2: column 'id' stands there twice")


@pytest.mark.parametrize(
    "header",
    [
        "x" * 100_000 + "\tsentiment" + "y" * 99_000 + "\n",
        "\t".join(["sentence_"] * 90_000) + "\n",
        "\t" * 999_000 + "\n",
        '"two\nlines\x1b[2J"\tsentencf\u2028\n',
    ],
)
def test_a_header_is_quoted_in_part(refusal, header):
    """A million characters of a file would be no message, nor would what a terminal obeys."""
    assert len(refusal(header)) < 1_000


def test_a_long_column_that_stands_there_twice_is_cut(refusal):
    """As a label is."""
    long = "x" * 90_000
    text = refusal(f"id\tsentence\tsentiment\t{long}\t{long}\n")
    assert text == f":1: column '{'x' * 60}'… stands there twice; expected each name once"
    assert refusal(HEADER + row(label="7" * 90_000)).startswith(f":2: label '{'7' * 60}'… of task 'sentiment'; ")


def test_another_tasks_columns_are_read_from_the_task(read):
    """A task that the registry does not have reads its own columns and range."""
    task = replace(SENTIMENT, name="stars", sentence_columns=("text",), label_column="stars", low=1, high=5)

    assert read("text\tstars\nfine\t5\n", task).labels.tolist() == [5.0]

"""What is borne in data otherwise, and under --strict-data is not: each told by file and line."""

import pytest

from model.data import load_corpus
from model.table_file import DataError
from tests.model.course_files import HEADER, SENTIMENT, row


@pytest.fixture
def load(tmp_path):
    """Return a function that writes sentiment files, by split, and loads them as a corpus."""

    def write_and_load(*, strict, **contents):
        for split, content in contents.items():
            (tmp_path / f"ids-sst-{split}.csv").write_text(content, encoding="utf-8")
        return load_corpus(str(tmp_path), [SENTIMENT], tuple(contents), strict=strict)["sentiment"]

    return write_and_load


@pytest.fixture
def strict_problems(load, tmp_path):
    """Return a function that gives what is said of sentiment files that are borne, and where it is strict are not."""

    def problems(**contents):
        assert set(load(strict=False, **contents)) == set(contents)
        with pytest.raises(DataError) as caught:
            load(strict=True, **contents)
        return str(caught.value).replace(f"{tmp_path}/ids-sst-", "").splitlines()

    return problems


def test_strictly_a_row_left_out_is_an_error(strict_problems):
    """Each is named by its file and line."""
    rows = [row(f"text {i}") for i in range(2_000)]

    assert strict_problems(
        train="".join([HEADER, *rows[:5], row(""), *rows[5:], row("and", " ")]),
        dev=HEADER + row("new") + "\n" + row("new") * 998,
    ) == [
        "train.csv:7: empty sentence; --strict-data leaves out no row",
        "train.csv:2003: no label; --strict-data leaves out no row",
        "dev.csv:3: a blank line; --strict-data leaves out no row",
    ]


def test_strictly_no_example_of_dev_or_test_is_a_training_example(strict_problems):
    """Whatever its case, spaces and label; the first of each file is named by its line and the one in train."""
    train = HEADER + row("other") + row('"two\nlines"') + row("Café  noir") + row("café noir")

    assert strict_problems(
        train=train,
        dev=HEADER + row("new") + row("cafe\u0301 NOIR", "4") + row("Other"),
        test=HEADER + row("Two lines"),
    ) == [
        "dev.csv:3: 2 of 3 examples are training examples too (this one is line 5 there); --strict-data bears none",
        "test.csv:2: 1 of 1 examples are training examples too (this one is line 3 there); --strict-data bears none",
    ]


def test_strictly_what_is_sound_is_read(load):
    """Sentences that repeat within a file, or stand in dev and test, are no errors; without train, nothing leaks.

    Nor are blank lines before the header and at the end.
    """
    dev = "\n" + HEADER + row("new") * 2 + "\n\n"

    assert len(load(strict=True, train=HEADER + row() * 2, dev=dev, test=dev)["test"]) == 2
    assert len(load(strict=True, dev=dev, test=dev)["dev"]) == 2


def test_strictly_other_problems_are_told_with_these(load, tmp_path):
    """One look mends all: a file that cannot be read hides no row of another that is left out."""
    with pytest.raises(DataError) as caught:
        load(strict=True, train=HEADER + row("") + row() * 999, dev=HEADER + row(label="7"))

    said = str(caught.value).replace(f"{tmp_path}/ids-sst-", "").splitlines()
    assert [line.partition(";")[0] for line in said] == [
        "dev.csv:2: label '7' of task 'sentiment'",
        "train.csv:2: empty sentence",
    ]

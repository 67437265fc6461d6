"""What the report says of the data: what repeats, contradicts or leaks, by line, and the sentences made of it."""

import json
from pathlib import Path

import pytest

from model.data import SAMPLE, load_corpus
from model.data_report import EXAMPLES, concerns, report
from model.tasks import TASKS

SENTIMENT, SIMILARITY = TASKS["sentiment"], TASKS["similarity"]
REAL = Path(__file__).parents[2] / "../shared/data/cs224n"
NONE = {"count": 0, "lines": []}


def sentiment_file(*rows):
    """Return a sentiment file of (id, sentence, class)."""
    return "id\tsentence\tsentiment\n" + "".join(f"{name}\t{text}\t{label}\n" for name, text, label in rows)


def numbered(*texts, label=2):
    """Return a sentiment file of these sentences, with ids of their own."""
    return sentiment_file(*((f"i{place}", text, label) for place, text in enumerate(texts)))


def similarity_file(*rows):
    """Return a similarity file of (sentence, sentence, value), with ids of their own."""
    lines = (f"i{place}\t{first}\t{second}\t{value}\n" for place, (first, second, value) in enumerate(rows))
    return "id\tsentence1\tsentence2\tsimilarity\n" + "".join(lines)


@pytest.fixture
def load(tmp_path):
    """Return a function that gives the corpus of one task's files, by split."""

    def write_and_load(task=SENTIMENT, **contents):
        for split, content in contents.items():
            (tmp_path / task.files[split][0]).write_text(content, encoding="utf-8")
        return load_corpus(str(tmp_path), [task], tuple(contents))

    return write_and_load


@pytest.fixture
def entries(load):
    """Return a function that gives the report of one task's files, by split."""

    def reported(task=SENTIMENT, **contents):
        found = report(load(task, **contents))
        assert json.loads(json.dumps(found)) == found
        return {name.partition("/")[2]: entry for name, entry in found.items()}

    return reported


@pytest.fixture
def said(load, tmp_path):
    """Return a function that gives the concerns about one task's files, without the folder and `ids-sst-`."""

    def lines(task=SENTIMENT, **contents):
        corpus = load(task, **contents)
        found = json.loads(json.dumps(report(corpus)))  # as it is read back from data.json
        return [line.replace(f"{tmp_path}/", "").replace("ids-sst-", "") for line in concerns(found, corpus)]

    return lines


def test_an_id_that_another_row_has_is_counted(entries):
    """Every one after the first, by line; ids are compared as they are written."""
    rows = [("a", "one", 2), ("A", "two", 2), ("a", "three", 2), ("b", "four", 2), ("a", "five", 2), ("b", "six", 2)]

    assert entries(train=sentiment_file(*rows))["train"]["repeated_ids"] == {"count": 3, "lines": [4, 6, 7]}
    assert entries(train=sentiment_file(*rows[:2]))["train"]["repeated_ids"] == NONE


def test_sentences_that_repeat_are_counted(entries):
    """Whatever their case, spaces and Unicode composition."""
    found = entries(train=numbered("Café  noir", "plain", "cafe\u0301 NOIR", "other", "Plain", "plain "))["train"]

    assert found["repeated"] == {"count": 3, "lines": [4, 6, 7]}
    assert found["contradicting"] == found["repeated_ids"] == NONE


def test_a_pair_repeats_as_a_pair(entries):
    """One sentence in common, or the two the other way round, is another pair."""
    found = entries(SIMILARITY, train=similarity_file(("a", "b", 1), ("a", "c", 1), ("b", "a", 1), ("A", "B", 1)))

    assert found["train"]["repeated"] == {"count": 1, "lines": [5]}


def test_the_same_sentences_with_another_label_contradict(entries):
    """Another than the first row of them has; those with the same label repeat only."""
    rows = [("a", "x", 2), ("b", "y", 1), ("c", "X", 3), ("d", "x", 2), ("e", "x ", 4), ("f", "y", 1)]

    found = entries(train=sentiment_file(*rows))["train"]

    assert found["contradicting"] == {"count": 2, "lines": [4, 6]}
    assert found["repeated"]["count"] == 4


def test_values_contradict_however_near_they_are(entries):
    """2 and 2.0 are one value, 2.2 is another."""
    found = entries(SIMILARITY, train=similarity_file(("a", "b", "2"), ("a", "b", "2.0"), ("a", "b", "2.2")))

    assert found["train"]["contradicting"] == {"count": 1, "lines": [4]}


def test_without_labels_nothing_contradicts(entries):
    """Nor is there a count of labels."""
    found = entries(test="id\tsentence\na\tx\nb\tx\n")["test"]

    assert found["contradicting"] == NONE
    assert found["repeated"] == {"count": 1, "lines": [3]}
    assert "labels" not in found


def test_examples_that_are_in_train_are_named_by_both_lines(entries):
    """The first of several in train; blank lines count, and dev and test are each held against train alone."""
    train = numbered("one", "two", "TWO", "three")
    found = entries(train=train, dev="\n" + numbered("new", "two", "One"), test=numbered("new", "three"))

    assert (found["dev"]["also_in_train"], found["dev"]["also_in_train_lines"]) == (2, [[4, 3], [5, 2]])
    assert (found["test"]["also_in_train"], found["test"]["also_in_train_lines"]) == (1, [[3, 5]])
    assert not {"also_in_train", "also_in_train_lines"} & set(found["train"])


def test_without_train_nothing_is_in_it(entries):
    """A report of dev alone says none."""
    found = entries(dev=numbered("one"))["dev"]

    assert (found["also_in_train"], found["also_in_train_lines"]) == (0, [])


def test_all_are_counted_and_the_first_are_named(entries):
    """A file that is wholly wrong does not fill the report."""
    train, dev = sentiment_file(*[("a", "x", i % 2) for i in range(50)]), numbered(*["x"] * 40)
    found = entries(train=train, dev=dev)

    assert found["train"]["repeated_ids"] == found["train"]["repeated"] == {"count": 49, "lines": [3, 4, 5]}
    assert found["train"]["contradicting"] == {"count": 25, "lines": [3, 5, 7]}
    assert found["dev"]["also_in_train"] == 40
    assert len(found["dev"]["also_in_train_lines"]) == EXAMPLES


def test_lines_count_rows_that_were_left_out(entries):
    """What is named is the file's line and not the example's number."""
    found = entries(train=numbered("", *(f"text {i}" for i in range(1_200)), "text 0"))["train"]

    assert found["skipped"] == [[2, "empty sentence"]]
    assert found["repeated"] == {"count": 1, "lines": [1_203]}


def test_there_is_no_concern_about_sound_data(said):
    """Sentences that repeat with one label are no concern: real files have some."""
    texts = [("a", "x", 0), ("b", "X", 0), *((f"c{label}", f"text {label}", label) for label in range(1, 5))]
    others = [(f"d{label}", f"new {label}", label) for label in range(5)]

    assert said(train=sentiment_file(*texts), dev=sentiment_file(*others)) == []


def test_each_concern_is_one_line(said):
    """File, how many of how many, and the lines to look at; one line alone is a line and not lines."""
    sound = [(f"i{place}", f"text {place}", place % 5) for place in range(1_998)]
    train = [*sound, ("i0", "", 1), ("i7", "text 3", 4)]
    dev = [("a", "new", 0), ("b", "TEXT 5", 1), ("b", "New", 1), ("b", "new", 4), ("c", "text 6", 4)]

    assert said(train=sentiment_file(*train), dev=sentiment_file(*dev)) == [
        "train.csv: 1 of 2,000 rows left out, first line 2000 (empty sentence)",
        "train.csv: 1 rows have an id that another has, first in line 2001",
        "train.csv: 1 rows repeat sentences with another label, first in line 2001",
        "dev.csv: 2 rows have an id that another has, first in lines 4, 5",
        "dev.csv: 2 rows repeat sentences with another label, first in lines 4, 5",
        "dev.csv: 2 of 5 examples are training examples too, first line 3 (there line 7)",
        "dev.csv: no example of sentiment has label 2, 3",
    ]


def test_missing_classes_are_named(said):
    """Of a task of classes; a task of numbers has none, and a file without labels misses none."""
    assert said(train=numbered("x", label=4)) == ["train.csv: no example of sentiment has label 0, 1, 2, 3"]
    assert said(test="id\tsentence\na\tx\n") == []
    assert said(SIMILARITY, train=similarity_file(("a", "b", 1))) == []


def counts(folder, tasks, splits):
    """Return rows, lines left out, and counts of repeated ids, repeated, contradicting and in train, by file."""
    found = report(load_corpus(str(folder), tasks, splits))
    return {
        Path(entry["source"]).name: (
            entry["rows"],
            [line for line, _ in entry["skipped"]],
            *(entry[key]["count"] for key in ("repeated_ids", "repeated", "contradicting")),
            entry.get("also_in_train"),
        )
        for entry in found.values()
    }


@pytest.mark.skipif(not REAL.is_dir(), reason="the course's data do not lie beside the repository")
def test_the_courses_files_hold_what_is_known_of_them(course_tasks):
    """Rows, lines left out, repeated ids, repeated sentences, contradicting ones, and those that are in train."""
    assert counts(REAL, course_tasks, ("train", "dev")) == {
        "ids-sst-train.csv": (8_544, [], 0, 10, 0, None),
        "ids-sst-dev.csv": (1_101, [], 0, 1, 0, 2),
        "quora-train.csv": (16_260, [2_062, 11_419], 0, 0, 0, None),
        "quora-dev.csv": (3_954, [], 0, 0, 0, 0),
        "sts-train.csv": (6_040, [], 0, 30, 4, None),
        "sts-dev.csv": (863, [], 0, 2, 0, 13),
    }


@pytest.mark.skipif(not REAL.is_dir(), reason="the course's data do not lie beside the repository")
def test_the_concerns_about_the_courses_files_are_known(course_tasks):
    """What a person is told when a sweep on them starts."""
    corpus = load_corpus(str(REAL), course_tasks)

    assert [line.replace(f"{REAL}/", "") for line in concerns(report(corpus), corpus)] == [
        "ids-sst-dev.csv: 2 of 1,101 examples are training examples too, first line 626 (there line 8179)",
        "quora-train.csv: 2 of 16,260 rows left out, first line 2062 (no label)",
        "sts-train.csv: 4 rows repeat sentences with another label, first in lines 2973, 3293, 5251",
        "sts-dev.csv: 13 of 863 examples are training examples too, first line 4 (there line 5381)",
    ]


def test_the_bundled_sample_repeats_nothing(course_tasks):
    """No row left out, no repetition, no contradiction, no leak, no concern; it passes where nothing is borne."""
    train = {"ids-sst": 1_200, "quora": 600, "sts": 600}
    splits = ("train", "dev", "test")

    assert counts(SAMPLE, course_tasks, splits) == {
        f"{name}-{split}.csv": (rows if split == "train" else 200, [], 0, 0, 0, None if split == "train" else 0)
        for name, rows in train.items()
        for split in splits
    }
    corpus = load_corpus(str(SAMPLE), course_tasks, splits, strict=True)
    assert concerns(report(corpus), corpus) == []

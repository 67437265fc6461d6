"""The course's files, read strictly: what comes back, what is skipped and what is refused, with its line."""

import csv
import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data import Split, find_file, load_corpus, read_split
from model.data_report import report
from model.table_file import CELL_LIMIT, DataError
from model.tasks import TASKS

SENTIMENT, PARAPHRASE, SIMILARITY = TASKS["sentiment"], TASKS["paraphrase"], TASKS["similarity"]
HEADER = "\tid\tsentence\tsentiment\n"
PAIR_HEADER = "\tid\tsentence1\tsentence2\tsimilarity\n"
REAL = Path(__file__).parents[2] / "../shared/data/cs224n"


def row(text="fine", label="2", identifier="a"):
    """Return a line of a sentiment file."""
    return f"0\t{identifier}\t{text}\t{label}\n"


@pytest.fixture
def read(tmp_path):
    """Return a function that writes a text or bytes as a file and reads it as a split."""

    def write_and_read(content, task=SENTIMENT, split="train"):
        path = tmp_path / "data.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_split(path, task, split)

    return write_and_read


@pytest.fixture
def refusal(read):
    """Return a function that gives the text with which a file is refused, after `data.csv`."""

    def refused(content, task=SENTIMENT, split="train"):
        with pytest.raises(DataError) as caught:
            read(content, task, split)
        text = str(caught.value)
        assert "\n" not in text
        return text.rpartition("data.csv")[2]

    return refused


def test_columns_are_found_by_name(read):
    """The order of the columns and columns beyond those needed do not matter."""
    split = read("sentiment\textra\tsentence\tid\n3\tx\tso it goes\tabc\n")

    assert split.ids == ("abc",)
    assert split.sentences == (("so it goes",),)
    assert split.labels.tolist() == [3.0]


def test_without_an_id_column_the_first_column_is_the_id(read):
    """The unnamed index column serves as the id."""
    assert read("\tsentence\tsentiment\n17\tfine\t2\n").ids == ("17",)


def test_pairs_keep_their_order(read):
    """Sentence 1 comes first, and a regression label is any number in its range."""
    split = read(PAIR_HEADER + "0\ta\tone\ttwo\t3.25\n", SIMILARITY)

    assert split.sentences == (("one", "two"),)
    assert split.labels.tolist() == [3.25]


def test_quoted_cells_keep_quotes_tabs_and_line_ends(read):
    """Doubled quotes are one quote; a quoted cell may hold tabs and lines; a quote inside a cell is text."""
    split = read(HEADER + row('"say ""hi""\tand\ngo"') + row('the "best" of') + row('""""'))

    assert [s for (s,) in split.sentences] == ['say "hi"\tand\ngo', 'the "best" of', '"']


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(read):
    """A file that a spreadsheet saved reads the same."""
    plain = HEADER + row("café", "4") + row()

    windows = read(b"\xef\xbb\xbf" + plain.replace("\n", "\r\n").encode())

    assert windows.content_hash() == read(plain).content_hash()


def test_a_byte_order_mark_before_a_named_column_is_no_part_of_the_name(read):
    """The first column is found under its name."""
    assert read(b"\xef\xbb\xbfsentence\tid\tsentiment\nfine\ta\t2\n").sentences == (("fine",),)


@pytest.mark.parametrize("text", ["NA", "null", "None", "nan", "N/A", "0", "-", "#N/A"])
def test_words_that_look_like_missing_values_are_text(read, text):
    """A sentence of the one word NA or null is that sentence."""
    assert read(HEADER + row(text)).sentences == ((text,),)


@pytest.mark.parametrize("odd", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1e"])
def test_only_a_newline_ends_a_line(read, odd):
    """Unicode's other line ends stay in the sentence, and line numbers count newlines alone."""
    split = read(HEADER + row(f"one{odd}two") + row("", identifier="b") + row() * 998)

    assert split.sentences[0] == (f"one{odd}two",)
    assert split.skipped == ((3, "empty sentence"),)


def test_blank_lines_are_no_rows(read):
    """Empty lines in between and at the end are passed over."""
    split = read(HEADER + row() + "\n" + row() + "\n\n")

    assert (len(split), split.rows) == (2, 2)


def test_a_last_line_without_a_newline_counts(read):
    """The last row is not lost."""
    assert len(read((HEADER + row() + row()).rstrip("\n"))) == 2


def test_a_missing_file_is_named(tmp_path):
    """The error says which file was looked for, and for which task and split."""
    with pytest.raises(DataError, match=r"ids-sst-dev\.csv: no such file; task 'sentiment' needs it for dev"):
        find_file(tmp_path, SENTIMENT, "dev")


def test_a_missing_folder_is_named(tmp_path):
    """The error says the folder and what was expected in it."""
    with pytest.raises(DataError, match=r"none: no such data folder; expected ids-sst-dev\.csv in it"):
        find_file(tmp_path / "none", SENTIMENT, "dev")


def test_all_missing_files_are_named_at_once(tiny_data, tmp_path, course_tasks):
    """One line a file, so that one look mends all."""
    (tmp_path / "sts-dev.csv").write_bytes((tiny_data / "sts-dev.csv").read_bytes())

    with pytest.raises(DataError) as caught:
        load_corpus(str(tmp_path), course_tasks)

    lines = str(caught.value).splitlines()
    assert [Path(line.partition(":")[0]).name for line in lines] == [
        "ids-sst-train.csv",
        "ids-sst-dev.csv",
        "quora-train.csv",
        "quora-dev.csv",
        "sts-train.csv",
    ]


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


def test_a_column_that_stands_there_twice_is_refused(refusal):
    """Which of the two is meant is not guessed."""
    assert refusal("id\tsentence\tsentence\tsentiment\n") == ":1: column 'sentence' stands there twice"


@pytest.mark.parametrize("content", ["", "\n", HEADER])
def test_a_file_without_rows_is_refused(refusal, content):
    """An empty file and a header alone are errors."""
    assert "found nothing" in refusal(content) if content != HEADER else "no usable row" in refusal(content)


@pytest.mark.parametrize(
    "label",
    ["5", "-1", "1.5", "nan", "NaN", "inf", "-inf", "two", "1e9", "0x1", "1_0", "0_1", "2,0", "1 2", "²"],
)
def test_a_wrong_class_is_refused(refusal, label):
    """Out of range, between two classes, not finite or not a number: named with its line and the range."""
    text = refusal(HEADER + row() + row(label=label))

    assert text == f":3: label {label!r} of task 'sentiment'; expected a whole number in 0..4"


@pytest.mark.parametrize("label", ["5.01", "-0.1", "nan", "inf", "high"])
def test_a_wrong_value_is_refused(refusal, label):
    """A regression label is a number within its range."""
    text = refusal(PAIR_HEADER + f"0\ta\tone\ttwo\t{label}\n", SIMILARITY)

    assert text == f":2: label {label!r} of task 'similarity'; expected a number in 0..5"


@pytest.mark.parametrize(("label", "value"), [("1", 1), ("1.0", 1), (" 3 ", 3), ("4.", 4), ("0", 0), ("-0.0", 0)])
def test_a_whole_number_is_a_class_however_it_is_written(read, label, value):
    """1.0 is class 1, as the Quora files have it."""
    assert read(HEADER + row(label=label)).labels.tolist() == [value]


@pytest.mark.parametrize("labels", [["3"], ["3", "3.0", " 3 "], ["0", "-0.0"]])
def test_equal_labels_are_refused_where_the_metric_has_no_value_on_them(read, refusal, labels):
    """Pearson's r is not defined there: a dev or test file like that scores nothing; one to train on may be read."""
    content = PAIR_HEADER + "".join(f"0\ta\tone\ttwo\t{label}\n" for label in labels)
    value = float(labels[0])
    said = f"all {len(labels)} labels are {value:g}; Pearson's r, the metric of 'similarity', has no value there"

    assert refusal(content, SIMILARITY, "dev") == f": {said}"
    assert refusal(content, SIMILARITY, "test") == f": {said}"
    assert len(read(content, SIMILARITY)) == len(labels)
    assert len(read(content + "0\ta\tone\ttwo\t2.5\n", SIMILARITY, "dev")) == len(labels) + 1


def test_equal_classes_are_no_error(read):
    """Accuracy has a value on them."""
    assert read(HEADER + row() * 3, split="dev").labels.tolist() == [2.0] * 3


def test_bytes_that_are_not_utf8_are_named_by_line(refusal):
    """A file in Latin-1 is refused with line, byte and offset."""
    content = (HEADER + row() + row("caf")).encode()[:-3] + b"\xe9\t2\n"

    assert refusal(content) == f":3: byte 0xE9 at offset {content.index(0xE9)} is not UTF-8"


def test_a_nul_byte_is_refused_with_its_line(refusal):
    """A NUL is no text; it tells of a damaged file."""
    assert refusal(HEADER + row() + row("fi\0ne")) == ":3: has a NUL byte"


@pytest.mark.parametrize(("line", "fields"), [("0\ta\tfine\t2\tmore\n", 5), ("0\ta\tfine\n", 3), ("0\n", 1)])
def test_too_many_or_too_few_fields_are_refused(refusal, line, fields):
    """A row as wide as the header, or an error; nothing moves to another column."""
    assert refusal(HEADER + row() + line).startswith(f":3: {fields} fields, the header has 4")


def test_an_unclosed_quote_is_refused_where_it_opens(refusal):
    """The rest of the file does not become one cell in silence."""
    text = refusal(HEADER + row() + row('"fine') + row() * 3)

    assert text.startswith(":3: ")
    assert "a quote that is never closed" in text


def test_text_after_a_closing_quote_is_refused(refusal):
    """A cell that is quoted in part is not guessed at."""
    assert refusal(HEADER + row('"fine" indeed')).startswith(":2: ")


def test_a_bare_carriage_return_outside_quotes_is_refused(refusal):
    """Whether it ends the line or stands in the sentence is not guessed; in quotes it is text."""
    assert refusal(HEADER + row() + row("fi\rne")).startswith(":3: ")


def test_a_cell_beyond_the_limit_is_refused_and_one_at_the_limit_is_read(read, refusal):
    """A cell of a hundred thousand characters is the longest."""
    assert len(read(HEADER + row("x" * CELL_LIMIT)).sentences[0][0]) == CELL_LIMIT
    assert refusal(HEADER + row("x" * (CELL_LIMIT + 1))).startswith(":2: a cell of over 100,000 characters")


def test_skipped_rows_are_counted_and_named_by_line(read):
    """A row without sentence or label is left out with its line and reason; ids and labels stay together."""
    many = [row(label=str(i % 5), identifier=f"i{i}") for i in range(1_999)]
    lines = [HEADER, '0\tquoted\t"two\nlines"\t1\n', *many[:999], row("  ", identifier="gone"), *many[999:]]

    split = read("".join(lines))

    assert split.skipped == ((1_003, "empty sentence"),)
    assert (split.rows, len(split)) == (2_001, 2_000)
    assert "gone" not in split.ids
    assert split.labels.tolist()[1:] == [i % 5 for i in range(1_999)]
    assert split.ids[1:] == tuple(f"i{i}" for i in range(1_999))


def test_a_row_without_a_label_is_skipped(read):
    """A label that is missing is borne where a wrong one is not."""
    assert read(HEADER + row(label=" ") + row() * 999).skipped == ((2, "no label"),)


def test_examples_know_their_lines(read):
    """Blank lines, quoted line ends and rows left out count; an example's line is the one on which it begins."""
    content = HEADER + "\n" + row('"two\n\nlines"') + row() + "\r\n" + row("") + row() * 999

    split = read(content)

    assert split.lines.tolist()[:4] == [3, 6, 9, 10]
    assert (len(split.lines), split.lines[-1]) == (1_001, 1_007)
    assert split.skipped == ((8, "empty sentence"),)


@pytest.mark.parametrize("count", [1, 7, 19, 20, 21, None])
def test_a_capped_splits_examples_know_their_lines(read, count):
    """They are the lines in the file, whichever examples were taken."""
    whole = read(HEADER + "".join(row(f"text {i}", identifier=f"i{i}") + "\n" * (i % 3) for i in range(20)))
    line_of = dict(zip(whole.ids, whole.lines.tolist(), strict=True))

    capped = whole.capped(count)

    assert line_of["i19"] == 2 + 19 + sum(i % 3 for i in range(19))
    assert len(capped.lines) == min(count or 20, 20)
    assert capped.lines.tolist() == [line_of[identifier] for identifier in capped.ids]


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
        train="".join([HEADER, *rows[:5], row(""), *rows[5:], row("and", " ")]), dev=HEADER + row("") + row("new") * 999
    ) == [
        "train.csv:7: empty sentence; --strict-data leaves out no row",
        "train.csv:2003: no label; --strict-data leaves out no row",
        "dev.csv:2: empty sentence; --strict-data leaves out no row",
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
    """Sentences that repeat within a file, or stand in dev and test, are no errors; without train, nothing leaks."""
    dev = HEADER + row("new") * 2

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


@pytest.mark.parametrize(
    ("bad", "good", "borne"), [(1, 999, True), (1, 998, False), (2, 1_998, True), (2, 1_997, False)]
)
def test_one_skipped_row_in_a_thousand_is_borne(read, bad, good, borne):
    """At 1 in 1,000 the file is read, just past it the lines are named."""
    content = HEADER + row("") * bad + row() * good

    if borne:
        assert len(read(content).skipped) == bad
    else:
        with pytest.raises(DataError, match=rf"csv:2: {bad} of {bad + good} rows .*line 2 \(empty sentence\)"):
            read(content)


def test_a_test_file_may_have_no_labels(read, refusal):
    """The course's student test files lack the label column; a train file that lacks it is refused."""
    content = "\tid\tsentence\n0\ta\tfine\n"

    assert read(content, split="test").labels is None
    assert "no column 'sentiment'" in refusal(content, split="dev")


def test_a_test_file_with_labels_keeps_them(read):
    """Where the label column stands there it is read and checked."""
    assert read(HEADER + row(), split="test").labels.tolist() == [2.0]


def test_the_students_test_file_is_found_where_the_other_is_not(tmp_path):
    """Of several names the first that exists is read."""
    student = tmp_path / "ids-sst-test-student.csv"
    student.write_text("\tid\tsentence\n0\ta\tfine\n", encoding="utf-8")
    assert find_file(tmp_path, SENTIMENT, "test") == student

    (tmp_path / "ids-sst-test.csv").write_text(HEADER + row(), encoding="utf-8")
    assert find_file(tmp_path, SENTIMENT, "test").name == "ids-sst-test.csv"


@pytest.mark.parametrize("count", [1, 5, 47, 48, 49, None])
def test_a_cap_keeps_so_many_whole_examples_in_the_files_order(tiny_corpus, count):
    """Ids, sentences and labels stay together; a cap at or beyond the end changes nothing."""
    whole = tiny_corpus["similarity"]["train"]
    rows = list(zip(whole.ids, whole.sentences, whole.labels, strict=True))

    capped = whole.capped(count)

    kept = list(zip(capped.ids, capped.sentences, capped.labels, strict=True))
    assert len(kept) == min(count or 48, 48)
    assert kept == [row for row in rows if row in kept]
    assert (capped.content_hash() == whole.content_hash()) == (len(kept) == 48)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=20), st.data())
def test_a_cap_depends_on_the_sentences_not_on_their_order(numbers, data):
    """A smaller cap takes part of what a larger one takes, and a file in another order gives the same."""
    label = np.zeros(len(numbers))
    whole = Split(
        SENTIMENT,
        "train",
        tuple(map(str, numbers)),
        tuple((f"text {n}",) for n in numbers),
        label,
        "",
        "",
        0,
        np.arange(len(numbers)),
    )
    order = data.draw(st.permutations(range(len(numbers))))
    moved = replace(whole, sentences=tuple(whole.sentences[i] for i in order))
    small, large = sorted(data.draw(st.tuples(st.integers(1, 20), st.integers(1, 20))))

    taken = Counter(whole.capped(large).sentences)

    assert Counter(whole.capped(small).sentences) <= taken
    assert Counter(moved.capped(large).sentences) == taken


def test_the_content_hash_does_not_depend_on_place_or_format(tmp_path):
    """Another folder, another order of columns and quotes give the same hash."""
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text(HEADER + row("so it goes", "3"), encoding="utf-8")
    second.write_text('sentiment\tsentence\tid\n3.0\t"so it goes"\ta\n', encoding="utf-8")

    hashes = {read_split(path, SENTIMENT, "train").content_hash() for path in (first, second)}

    assert len(hashes) == 1


@pytest.mark.parametrize("changed", [row("other"), row(label="3"), row(identifier="b"), row() + row()])
def test_the_content_hash_depends_on_the_examples(read, changed):
    """Another sentence, label, id or number of rows gives another hash."""
    assert read(HEADER + changed).content_hash() != read(HEADER + row()).content_hash()


def test_the_content_hash_depends_on_the_split(read):
    """The same rows as dev and as train are two things."""
    assert read(HEADER + row(), split="dev").content_hash() != read(HEADER + row()).content_hash()


def test_the_report_counts_dev_examples_that_are_in_train(read):
    """Duplicates count whatever their case, spaces and Unicode composition."""
    train = read(HEADER + row("Café  noir") + row("plain"))
    dev = read(HEADER + row("cafe\u0301 NOIR") + row("new") + row("Plain"), split="dev")

    found = report({"sentiment": {"train": train, "dev": dev}})

    assert found["sentiment/dev"]["also_in_train"] == 2
    assert "also_in_train" not in found["sentiment/train"]


def test_the_report_states_rows_labels_and_skipped_lines(read):
    """Counts a class, mean and deviation of a value, and each skipped line with its reason."""
    classes = read(HEADER + row(label="4") + row(label="0") * 998 + row(""))
    values = read(PAIR_HEADER + "0\ta\tx\ty\t1\n0\tb\tx\ty\t4\n", SIMILARITY)

    found = report({"sentiment": {"train": classes}, "similarity": {"train": values}})

    assert found["sentiment/train"]["labels"] == {"0": 998, "4": 1}
    assert found["sentiment/train"]["skipped"] == [[1_001, "empty sentence"]]
    assert (found["sentiment/train"]["rows"], found["sentiment/train"]["examples"]) == (1_000, 999)
    assert found["similarity/train"]["labels"] == {"mean": 2.5, "sd": 1.5}


def sentences():
    """Return a strategy of sentences as they can stand in a file: no NUL, no space around them."""
    anything = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    texts = st.text(st.one_of(st.sampled_from('"\t\n\r, \ufeff\u2028'), anything), min_size=1, max_size=20)
    return texts.map(str.strip).filter(bool)


STYLES = (
    ("\r\n", csv.QUOTE_MINIMAL),
    ("\n", csv.QUOTE_ALL),
    ("\r\n", csv.QUOTE_ALL),
    ("\n", csv.QUOTE_NONNUMERIC),
)
"""Not "\\n" with minimal quoting: Python 3.11 then writes a bare carriage return without quotes."""


@settings(max_examples=60)
@given(
    rows=st.lists(st.tuples(sentences(), sentences(), sentences(), st.floats(0, 5)), min_size=1, max_size=8),
    style=st.sampled_from(STYLES),
    mark=st.booleans(),
)
def test_what_a_csv_writer_wrote_comes_back_exactly(tmp_path_factory, rows, style, mark):
    """Any table of sentences and numbers survives the way through a file."""
    end, quoting = style
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter="\t", quoting=quoting, lineterminator=end)
    writer.writerow(["", "id", "sentence1", "sentence2", "similarity"])
    writer.writerows([i, *cells] for i, cells in enumerate(rows))
    path = tmp_path_factory.getbasetemp() / "written-sts-train.csv"
    path.write_bytes(text.getvalue().encode("utf-8-sig" if mark else "utf-8"))

    split = read_split(path, SIMILARITY, "train")

    assert split.ids == tuple(identifier for identifier, *_ in rows)
    assert split.sentences == tuple((first, second) for _, first, second, _ in rows)
    assert split.labels.tolist() == [label for *_, label in rows]


def test_another_tasks_columns_are_read_from_the_task(read):
    """A task that the registry does not have reads its own columns and range."""
    task = replace(SENTIMENT, name="stars", sentence_columns=("text",), label_column="stars", low=1, high=5)

    assert read("text\tstars\nfine\t5\n", task).labels.tolist() == [5.0]


@pytest.mark.skipif(not REAL.is_dir(), reason="the course's data do not lie beside the repository")
def test_the_courses_files_have_their_known_counts(course_tasks):
    """The real files have the study's sizes, and the two Quora rows without a label are known by line."""
    corpus = load_corpus(str(REAL), course_tasks)

    sizes = {name: (len(splits["train"]), len(splits["dev"])) for name, splits in corpus.items()}
    assert sizes == {"sentiment": (8_544, 1_101), "paraphrase": (16_258, 3_954), "similarity": (6_040, 863)}
    quora = corpus["paraphrase"]["train"]
    assert quora.rows == 16_260
    assert [line for line, _ in quora.skipped] == [2_062, 11_419]
    others = [s for splits in corpus.values() for s in splits.values() if s is not quora]
    assert all(not s.skipped and s.rows == len(s) for s in others)

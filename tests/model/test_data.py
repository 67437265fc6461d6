"""The course's files, read strictly: what comes back, what is skipped and what is refused, with its line."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data import find_file, load_corpus, read_split
from model.data_report import report
from model.table_file import CELL_LIMIT, DataError
from tests.model.course_files import (
    HEADER,
    PAIR_HEADER,
    SENTIMENT,
    SIMILARITY,
    STYLES,
    row,
    sentences,
)

REAL = Path(__file__).parents[2] / "../shared/data/cs224n"


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


def test_blank_lines_around_the_rows_are_nothing(read):
    """Before the header and at the end of a file they are innocent."""
    split = read("\n\r\n" + HEADER + row() + row() + "\r\n\n\n")

    assert (len(split), split.rows, split.skipped) == (2, 2, ())
    assert split.lines.tolist() == [4, 5]


def test_a_blank_line_between_rows_is_a_row_left_out_and_borne(read):
    """Something may have stood there: it is counted and named; any number of them is borne."""
    split = read(HEADER + row() + "\n" + row() + "\r\n\n" + row())

    assert (len(split), split.rows) == (3, 6)
    assert split.skipped == ((3, "a blank line"), (5, "a blank line"), (6, "a blank line"))


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


def test_a_folder_is_shown_on_one_line(tmp_path):
    """Its name may hold line ends and what a terminal obeys; so may that of a link's target."""
    folder, shown = tmp_path / "two\nlines\x1b[2J", rf"{tmp_path}/two\nlines\x1b[2J"
    secret = tmp_path / "sec\nret.csv"

    def said(*, strict=False):
        with pytest.raises(DataError) as caught:
            load_corpus(str(folder), [SENTIMENT], ("dev",), strict=strict)
        assert str(caught.value).isprintable()
        return str(caught.value)

    assert said() == f"{shown}: no such data folder; expected ids-sst-dev.csv in it"
    folder.mkdir()
    assert said().startswith(f"{shown}/ids-sst-dev.csv: no such file; ")
    secret.touch()
    (folder / "ids-sst-dev.csv").symlink_to(secret)
    assert said().startswith(rf"{shown}/ids-sst-dev.csv: is a link out of the data folder, to {tmp_path}/sec\nret.csv;")
    (folder / "ids-sst-dev.csv").unlink()
    (folder / "ids-sst-dev.csv").write_text(HEADER + row(label="7"))
    assert said().startswith(f"{shown}/ids-sst-dev.csv:2: label '7'")
    (folder / "ids-sst-dev.csv").write_text(HEADER + row("") + row() * 999)
    assert said(strict=True).startswith(f"{shown}/ids-sst-dev.csv:2: empty sentence; ")


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
    content = "\n" + HEADER + row('"two\n\nlines"') + row() + "\r\n" + row("") + row() * 1_998

    split = read(content)

    assert split.lines.tolist()[:4] == [3, 6, 9, 10]
    assert (len(split.lines), split.lines[-1]) == (2_000, 2_006)
    assert split.skipped == ((7, "a blank line"), (8, "empty sentence"))


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

"""The strict reader beside another: the same rows on the same lines, or both refuse and name the same line.

Then its limits and its words, one by one.
"""

import codecs
import gzip
import hashlib
import io
import os
import subprocess
import sys
import tracemalloc
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.data import find_file, load_split, read_split
from model.table_file import CELL_LIMIT, LINE_LIMIT, ROW_LIMIT, DataError, TableFile, escaped, listed, quoted
from model.tasks import TASKS
from tests.model.made_files import LINE, files, long_row
from tests.model.second_reader import RefusedError, examples, first_bad_byte, records

FILES = int(os.environ.get("SWEEP_DATA_FILES", "300"))
"""So many are made in `make test`; the full run takes 10,000."""
DERANDOMIZE = "SWEEP_DATA_FILES" not in os.environ
"""`make test` makes the same ones each time; the full run draws new ones."""
SENTIMENT = TASKS["sentiment"]
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
RULES = (
    "blank lines, and then a row",
    "stands there twice",
    "a row of over",
    "a line of over",
    "a cell of over",
    "a carriage return",
    "text after a closing quote",
    "never closed",
    "fields, the header has",
    "is not UTF-8",
    "a NUL byte",
    "is a web page",
    "no column",
    "label",
)
"""What a refusal says, by the rule that it goes by: the full run meets each."""
READ = ("a blank line between rows", "a row on over 100 lines", "a row left out of a thousand")
"""What is read and rare: the full run meets each."""


def test_two_readers_agree_on_every_file(tmp_path_factory):
    """Rows and examples are the same with their lines, or both refuse: in one line that names the file and the line."""
    path, seen, met = tmp_path_factory.mktemp("files") / "data.csv", Counter(), Counter()

    def said(read):
        try:
            return list(read())
        except (DataError, RefusedError) as error:
            return error

    def compare(what, found, expected):
        seen[what, "refused" if isinstance(expected, RefusedError) else "accepted"] += 1
        if not isinstance(expected, RefusedError):
            assert found == expected
            return
        assert isinstance(found, DataError), f"read {found}, the other reader refused line {expected.lines}"
        assert str(found).startswith(tuple(f"{path}:{line}: " for line in expected.lines) or f"{path}: ")
        assert str(found).isprintable()
        assert len(str(found)) < 2_000
        met.update(rule for rule in RULES if rule in str(found))

    @settings(
        max_examples=FILES,
        derandomize=DERANDOMIZE,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(data=files(), split=st.sampled_from(["train", "test"]))
    def agree(data, split):
        path.write_bytes(data)
        file = TableFile(path)

        def taken():
            read = read_split(path, SENTIMENT, split)
            assert read.source_sha256 == hashlib.sha256(data).hexdigest()
            met[READ[2]] += bool(read.skipped)
            classes = [None] * len(read) if read.labels is None else read.labels.tolist()
            texts = [text for (text,) in read.sentences]
            return zip(read.ids, texts, classes, read.lines.tolist(), strict=True)

        compare("table", rows := said(file.rows), said(lambda: records(data)))
        compare("split", said(taken), said(lambda: examples(data, split)))
        if not isinstance(rows, DataError):
            assert file.sha256 == hashlib.sha256(data).hexdigest()
            met[READ[0]] += any(not cells for _, cells in rows)
            met[READ[1]] += any("".join(cells).count("\n") > 100 for _, cells in rows)
        elif "at offset" in str(rows):
            assert f"at offset {first_bad_byte(data)} is" in str(rows)

    agree()
    print(f"{FILES} files:", ", ".join(f"{what} {how} {count}" for (what, how), count in sorted(seen.items())))
    print("rules met:", ", ".join(f"{rule!r} {met[rule]}" for rule in (*RULES, *READ)))
    assert min(seen.values()) > sum(seen.values()) / 20
    assert FILES < 10_000 or all(met[rule] for rule in (*RULES, *READ))


@pytest.fixture
def rows(tmp_path):
    """Return a function that gives the rows of a file of these bytes."""

    def read(content):
        path = tmp_path / "data.csv"
        path.write_bytes(content)
        return list(TableFile(path).rows())

    return read


@pytest.fixture
def refusal(rows):
    """Return a function that gives the text with which a file of these bytes is refused, after `data.csv`."""

    def refused(content):
        with pytest.raises(DataError) as caught:
            rows(content)
        return str(caught.value).rpartition("data.csv")[2]

    return refused


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("fine", "'fine'"),
        ("two\nlines\x1b[2J\u2028", r"'two\nlines\x1b[2J\u2028'"),
        ("x" * 60, f"'{'x' * 60}'"),
        ("x" * 1_000_000, f"'{'x' * 60}'…"),
    ],
)
def test_a_piece_of_a_file_is_quoted_in_one_short_line(text, shown):
    """Line ends and what a terminal obeys are written out; that it was cut is said."""
    assert quoted(text) == shown


def test_the_first_of_many_names_are_listed():
    """The others are counted: a header may have a million."""
    assert listed(["id", "", "a\tb"]) == r"'id', '', 'a\tb'"
    assert listed(["x"] * 10) == ", ".join(["'x'"] * 10)
    assert listed(["x"] * 1_012) == ", ".join(["'x'"] * 10) + " and 1,002 more"


def test_a_path_is_shown_on_one_line(tmp_path):
    """Its name may hold line ends, what a terminal obeys, and bytes that are no text."""
    assert escaped("a b/é\n\x1b[2J\udcff\u202e.csv") == r"a b/é\n\x1b[2J\udcff\u202e.csv"
    for content in (None, b"<html>", b"a\tb\n1\n", b"\0", b"\xff", b'"', b"\r", b"x" * 2_000_000):
        path = tmp_path / "two\nlines\x1b[2J.csv"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            list(TableFile(path).rows())
        assert str(caught.value).startswith(rf"{tmp_path}/two\nlines\x1b[2J.csv:")
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_blank_line_between_two_rows_is_a_row_without_cells(rows, end):
    """Before the header and after the last row it is nothing; in quotes it is text."""
    content = end * 2 + b"a\tb" + end + end * 2 + b'1\t"x' + end * 2 + b'"' + end * 2 + b"2\t3" + end * 3

    assert rows(content) == [
        (3, ["a", "b"]),
        (4, []),
        (5, []),
        (6, ["1", f"x{end.decode() * 2}"]),
        (9, []),
        (10, ["2", "3"]),
    ]
    assert rows(end * 5) == []


@pytest.mark.parametrize("end", [b"\r", b"\r\r\n", b"\r\r\r\n"])
def test_a_bare_carriage_return_at_a_lines_end_is_refused(rows, refusal, end):
    """The csv module takes any number of them for a part of the line's end; in quotes they are text."""
    assert refusal(b"a\tb\n1\t2" + end) == ":2: a carriage return without a line feed; a broken line end?"
    assert refusal(b"a\tb" + end).startswith(":1: a carriage return")
    assert rows(b'a\tb\n1\t"2' + end + b'"\r\n')[1] == (2, ["1", "2" + end.decode()])


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (b"1\tfi\rne\n", "a carriage return without a line feed; a broken line end?"),
        (b'1\t"fine"ly\n', "text after a closing quote; in a quoted cell, a quote is written twice"),
        (b'1\t"fine\n', "a quote that is never closed"),
    ],
)
def test_a_broken_cell_is_told_in_our_words(refusal, row, text):
    """Those of the csv module speak to a programmer."""
    assert refusal(b"a\tb\n\n" + row) == f":3: {text}"


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("before", [b"", b"caf\xc3\xa9\n\n"])
@pytest.mark.parametrize("bad", [b"\xe9", b"\xc0\x80", b"\xed\xa0\x80", b"\xf0\x9f"])
def test_a_byte_that_is_not_utf8_is_named_by_its_place_in_the_file(refusal, mark, before, bad):
    """The offset counts every byte before it, a byte order mark too."""
    content = mark + before + b"na" + bad
    line, offset = 1 + before.count(b"\n"), len(mark + before) + 2

    assert refusal(content) == f":{line}: byte 0x{bad[0]:02X} at offset {offset} is not UTF-8"


def wide_row(length):
    """Return a row of twelve cells, none too long, and so many bytes with its line feed."""
    cells = b"\t".join([b"x" * 90_000] * 11) + b"\t"
    return cells + b"x" * (length - len(cells) - 1) + b"\n"


def test_a_line_at_the_limit_is_read(rows):
    """The limit counts bytes, the line feed with them, and those of one line only."""
    found = rows(b"\n" + wide_row(LINE_LIMIT) * 2)

    assert [(line, len("\t".join(cells))) for line, cells in found] == [(2, LINE_LIMIT - 1), (3, LINE_LIMIT - 1)]


def test_a_line_over_the_limit_is_refused_with_its_line(refusal):
    """One byte more is too many, whatever the bytes are."""
    text = ": a line of over 1,000,000 bytes; expected a row of a table"

    assert refusal(wide_row(LINE_LIMIT) + wide_row(LINE_LIMIT + 1)) == ":2" + text
    assert refusal(b"\n\n" + b"\0" * (LINE_LIMIT + 1)) == ":3" + text


def test_a_row_of_many_lines_at_the_limit_is_read(rows):
    """The limit counts the bytes of all its lines, and those of one row only."""
    found = rows(LINE + b"\n" + long_row(ROW_LIMIT) * 2)

    assert [(line, len("\t".join(cells).encode())) for line, cells in found[2:]] == [
        (3, ROW_LIMIT - 7),  # six quotes and the line end
        (3 + long_row(ROW_LIMIT).count(b"\n"), ROW_LIMIT - 7),
    ]


def test_a_row_of_many_lines_over_the_limit_is_refused_where_it_begins(refusal):
    """One byte more is too many, wherever in the row it stands."""
    lines = long_row(ROW_LIMIT).count(b"\n")
    text = f": a row of over 1,000,000 bytes up to line {2 + 2 * lines}; a quote that is never closed?"

    assert refusal(LINE + long_row(ROW_LIMIT) + b"\n" + long_row(ROW_LIMIT + 1)) == f":{3 + lines}{text}"


@pytest.mark.parametrize("char", ["x", "é", "🎬"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_a_cell_at_the_limit_is_read_and_one_over_it_is_refused(rows, refusal, char, quote):
    """The limit counts characters, not bytes, and no quotes."""
    cell = char * CELL_LIMIT

    assert rows(f"a\tb\n1\t{quote}{cell}{quote}\n".encode())[1] == (2, ["1", cell])
    assert refusal(f"a\tb\n1\t{quote}{cell}{char}{quote}\n".encode()).startswith(
        ":2: a cell of over 100,000 characters"
    )


@pytest.mark.parametrize(
    ("start", "repeated", "text"),
    [
        (b"", b"x", ":2: a line of over 1,000,000 bytes"),
        (b'1\t2\n1\t"', b"2\t3\n", ":3: a cell of over 100,000 characters"),
        (b"1\t2\n", b'"\n"\t', ":3: a row of over 1,000,000 bytes up to line 250003"),
    ],
)
def test_fifty_megabytes_are_refused_in_little_memory(tmp_path, start, repeated, text):
    """A single line, a cell or a row that never ends is not read to its end."""
    path = tmp_path / "data.csv"
    path.write_bytes(b"a\tb\n" + start + repeated * (50_000_000 // len(repeated)))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=text):
            list(TableFile(path).rows())
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert path.stat().st_size > 50_000_000
    assert peak_bytes < 20_000_000


def test_the_hash_is_that_of_the_file(tmp_path):
    """What was read is what is vouched for; nothing is read before a row is asked for."""
    path = tmp_path / "data.csv"
    path.write_bytes(codecs.BOM_UTF8 + b'a\tb\r\n\r\n1\t"2\n"\n3\t4')
    file = TableFile(path)
    assert file.sha256 == hashlib.sha256().hexdigest()

    list(file.rows())

    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def zipped(content):
    """Return a zip archive of one file."""
    with zipfile.ZipFile(archive := io.BytesIO(), "w") as file:
        file.writestr("data.csv", content)
    return archive.getvalue()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (gzip.compress(LINE), ": is compressed (gzip); unpack it"),
        (zipped(LINE), ": is a zip archive (a spreadsheet?); save it as tab-separated text"),
        (LINE.decode().encode("utf-16"), ": is UTF-16; save it as UTF-8"),
        (codecs.BOM_UTF16_BE + LINE.decode().encode("utf-16-be"), ": is UTF-16; save it as UTF-8"),
        (LINE.decode().encode("utf-16-le"), ":1: has a NUL byte"),
        (LFS, ": is a Git LFS pointer; run git lfs pull"),
        (b"<!DOCTYPE html>\n<html>", ": is a web page; download the file itself"),
        (b"<html>\n", ": is a web page; download the file itself"),
        (b"<!doctype html>\n", ": is a web page; download the file itself"),
        (b" \n\r\n\t<Html>\n", ": is a web page; download the file itself"),
        (codecs.BOM_UTF8 + b"<!DocType html>", ": is a web page; download the file itself"),
        (b'<?xml version="1.0"?><Error>', ": is a web page; download the file itself"),
    ],
)
def test_a_file_of_another_kind_is_called_what_it_is(refusal, content, text):
    """The message says what to do about it."""
    assert refusal(content) == text


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    """Nobody writes into it: opening it would take for ever."""
    os.mkfifo(tmp_path / "data.csv")
    program = "import pathlib, sys; from model.table_file import *; next(TableFile(pathlib.Path(sys.argv[1])).rows())"

    ended = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "data.csv"], capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.stderr.endswith("data.csv: is a pipe (FIFO); expected a file\n")


def test_a_device_a_folder_and_nothing_are_refused(tmp_path):
    """Each is called by its name."""
    for path, text in [
        (Path("/dev/null"), "/dev/null: is a device; expected a file"),
        (tmp_path, f"{tmp_path}: is a folder; expected a file"),
        (tmp_path / "none", f"{tmp_path}/none: cannot be read (No such file or directory)"),
    ]:
        with pytest.raises(DataError) as caught:
            next(TableFile(path).rows())
        assert str(caught.value) == text


@pytest.mark.parametrize("end", [".gz", ".zip"])
def test_a_packed_file_beside_the_missing_one_is_named(tmp_path, end):
    """What is there is what a person has to unpack."""
    (tmp_path / f"ids-sst-dev.csv{end}").write_bytes(b"")

    with pytest.raises(DataError) as caught:
        find_file(tmp_path, SENTIMENT, "dev")

    expected = f"no such file; task 'sentiment' needs it for dev; ids-sst-dev.csv{end} is there, unpack it"
    assert str(caught.value) == f"{tmp_path}/ids-sst-dev.csv: {expected}"


@pytest.fixture
def folder(tmp_path):
    """Return a data folder beside which a file lies, and one inside it under another name."""
    (tmp_path / "data" / "old").mkdir(parents=True)
    for place in ("secret.csv", "data/old/sst.csv"):
        (tmp_path / place).write_bytes(LINE + b"0\ta\tfine\t2\n")
    return tmp_path / "data"


@pytest.mark.parametrize("target", ["/dev/null", "../secret.csv", "old/../../secret.csv", "old/link.csv"])
def test_a_link_out_of_the_data_folder_is_refused(folder, target):
    """However it gets there: a data folder of someone else's shows no file of ours."""
    (folder / "old" / "link.csv").symlink_to("../../secret.csv")
    (folder / "ids-sst-dev.csv").symlink_to(target)

    with pytest.raises(DataError) as caught:
        load_split(str(folder), SENTIMENT, "dev")

    end = "/dev/null" if target == "/dev/null" else f"{folder.parent}/secret.csv"
    text = f"is a link out of the data folder, to {end}; copy the file there"
    assert str(caught.value) == f"{folder}/ids-sst-dev.csv: {text}"


def test_a_link_inside_the_data_folder_is_read(folder, tmp_path):
    """As is a folder that is a link itself."""
    (folder / "ids-sst-dev.csv").symlink_to("old/sst.csv")
    (tmp_path / "linked").symlink_to(folder)

    for name in ("data", "linked"):
        assert load_split(str(tmp_path / name), SENTIMENT, "dev").ids == ("a",)

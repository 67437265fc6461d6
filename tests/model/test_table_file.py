"""The strict reader beside another: the same rows on the same lines, or both refuse and name the same line.

The other goes character by character by the grammar, RFC 4180 with a tab for the comma: a line feed, with or without a
carriage return before it, ends a record outside quotes, and nothing else does.
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
from model.table_file import CELL_LIMIT, LINE_LIMIT, DataError, TableFile
from model.tasks import TASKS

FILES = int(os.environ.get("SWEEP_DATA_FILES", "300"))
"""So many are made in `make test`; the full run takes 10,000."""
DERANDOMIZE = "SWEEP_DATA_FILES" not in os.environ
"""`make test` makes the same ones each time; the full run draws new ones."""
SENTIMENT = TASKS["sentiment"]
HEADER = ["", "id", "sentence", "sentiment"]
LINE = b"\tid\tsentence\tsentiment\n"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
OTHER_KINDS = (b"\x1f\x8b", b"PK\x03\x04", b"\xff\xfe", b"\xfe\xff", LFS[:23], b"<!DOCTYPE", b"<html")
"""How files of other kinds begin."""


class RefusedError(Exception):
    """What the other reader says: the line, one of several where that is free, none where it is the whole file."""

    def __init__(self, *lines):
        self.lines = lines


class Grammar:
    """The other reader's state: the record so far, the cell so far, and where in it the next character stands."""

    def __init__(self):
        self.line, self.begins, self.width = 1, 1, 0
        self.cells, self.cell, self.place = [], [], "start"

    def take(self, char, following):
        """Take a character; return the line and cells of the record that it ends, if it ends one."""
        row = None
        if self.place == "quoted":
            self.add(char) if char != '"' else None
            self.place = "closed" if char == '"' else "quoted"
        elif char == '"' and self.place == "closed":
            self.add(char)
            self.place = "quoted"
        elif char == '"' and self.place == "start":
            self.place = "quoted"
        elif char == "\t":
            self.end_cell()
        elif char == "\n":
            row = self.end_record()
        elif char == "\r" and following == "\n":
            pass
        elif char == "\r" or self.place == "closed":
            raise RefusedError(self.begins)
        else:
            self.add(char)
            self.place = "plain"
        self.line += char == "\n"
        self.begins = self.begins if self.cells or self.place != "start" else self.line
        return row

    def add(self, char):
        """Make the cell longer."""
        self.cell.append(char)
        if len(self.cell) > CELL_LIMIT:
            raise RefusedError(self.begins)

    def end_cell(self):
        """Take the cell into the record."""
        self.cells.append("".join(self.cell))
        self.cell, self.place = [], "start"

    def end_record(self):
        """Return the record, None where it is a blank line."""
        if self.place == "start" and not self.cells:
            return None
        self.end_cell()
        cells, self.cells = self.cells, []
        self.width = self.width or len(cells)
        if len(cells) != self.width:
            raise RefusedError(self.begins)
        return self.begins, cells


def first_bad_byte(data):
    """Return the offset of the first NUL, byte that is not UTF-8 or line that is too long; the length if none is."""
    places = [len(data), *([data.index(0)] if 0 in data else [])]
    try:
        data.decode()
    except UnicodeDecodeError as error:
        places.append(error.start)
    start = 0
    for line in data.split(b"\n"):
        end = start + len(line)
        places += [start] if len(line) + (end < len(data)) > LINE_LIMIT else []
        start = end + 1
    return min(places)


def records(data):
    """Yield line and cells of each row of a file's bytes; raises RefusedError."""
    if data.startswith(OTHER_KINDS):
        raise RefusedError
    bad = first_bad_byte(data)
    good = data if bad == len(data) else data[: data.rfind(b"\n", 0, bad) + 1]
    text, grammar = good.decode().removeprefix("\ufeff"), Grammar()
    for char, following in zip(text, [*text, ""][1:], strict=True):
        row = grammar.take(char, following)
        if row:
            yield row
    if good != data:
        raise RefusedError(1 + data.count(b"\n", 0, bad))
    if grammar.place == "quoted":
        raise RefusedError(grammar.begins)
    row = grammar.end_record()
    if row:
        yield row


def class_of(text):
    """Return the class that a label's text says, None where it says none."""
    number = text.strip()
    if not number or set(number) - set("0123456789.+-eE"):
        return None
    try:
        value = float(number)
    except ValueError:
        return None
    return value if value in {0, 1, 2, 3, 4} else None


def examples(data, split):
    """Return (id, sentence, class, line) of each row of a sentiment file's bytes; raises RefusedError."""
    rows = records(data)
    line, header = next(rows, (1, []))
    wanted = ["sentence", "sentiment"] if split != "test" or "sentiment" in header else ["sentence"]
    if any(header.count(name) != 1 for name in wanted):
        raise RefusedError(1, line)  # other than 1 where blank lines stand before the header
    found, left_out = [], []
    for row_line, cells in list(rows):
        row = dict(reversed(list(zip(header, cells, strict=True))))  # of two columns of a name the first
        label, sentence = row.get("sentiment", ""), row["sentence"].strip()
        if not sentence or ("sentiment" in row and not label.strip()):
            left_out.append(row_line)
            continue
        if "sentiment" in row and class_of(label) is None:
            raise RefusedError(row_line)
        found.append((row.get("id", cells[0]), sentence, class_of(label), row_line))
    if not found or left_out:  # a file here has less than a thousand rows
        raise RefusedError(*left_out[: bool(found)])
    return found


WORDS = ["fine", "NA", "null", "None", "so it goes", "café", "日本", "🎬", "e\u0301", "'", "0", ",", "-", "nan"]
ODD = ['"', 'say "hi"', '""', "\t", "\n", "\r\n", "\r", "\u2028", "\x85", "\x0b", "\x1c", "\ufeff", " ", "\\", "#"]
LABELS = ["0", "1", "2", "3", "4", "1.0", " 2 ", "4.", "3", "0", "2", "1"]
CLASSES = st.sampled_from(LABELS) | st.sampled_from(
    [*LABELS * 3, "5", "-1", "", "nan", "two", "0_1", "\u0663", "²", "1.5", "9e9"]
)
SENTENCES = st.builds(
    lambda first, more: "".join([first, *more]),
    st.sampled_from(WORDS),
    st.lists(
        st.one_of(st.sampled_from(ODD), st.sampled_from(WORDS), st.characters(exclude_categories=["Cs"])), max_size=4
    ),
)
CELLS = SENTENCES | st.sampled_from(["", *ODD])
INSERTED = [
    b'"',
    b'""',
    b"\t",
    b"\n",
    b"\r",
    b"\r\n",
    b"\r\r\n",
    b"\0",
    b"\xff",
    b"\xe2\x80",
    b"\xed\xa0\x80",
    b"\xc0\x80",
]
HUGE = [b"x" * CELL_LIMIT, b"x" * (CELL_LIMIT + 1), b"x" * LINE_LIMIT, b"\xc3\xa9" * CELL_LIMIT]


def spelt(cell, *, always):
    """Return a cell as it stands in a file, in quotes where it must be or where it always is."""
    if always or cell.startswith('"') or set(cell) & set("\t\n\r"):
        return '"' + cell.replace('"', '""') + '"'
    return cell


@st.composite
def tables(draw):
    """Return a well-formed file's bytes: a sentiment file, or some other table."""
    header, columns = HEADER, st.tuples(st.integers(0, 99).map(str), CELLS, SENTENCES, CLASSES)
    kind = draw(st.sampled_from(["sentiment"] * 6 + ["moved", "unlabelled", "twice", "other"]))
    if kind == "other":
        header = draw(st.lists(CELLS, min_size=1, max_size=4))
        columns = st.tuples(*[CELLS] * len(header))
    rows = [header, *draw(st.lists(columns, min_size=kind != "other", max_size=6))]
    if kind == "twice":
        rows = [[*row, row[draw(st.integers(0, 3))]] for row in rows]
    elif kind in {"moved", "unlabelled"}:
        order = draw(st.permutations(range(4))) if kind == "moved" else range(3)
        rows = [[row[place] for place in order] for row in rows]
    ends = st.just(draw(st.sampled_from(["\n", "\r\n"]))) if draw(st.booleans()) else st.sampled_from(["\n", "\r\n"])
    always = draw(st.sampled_from([st.just(False), st.just(True), st.booleans()]))
    lines = ["\t".join(spelt(cell, always=draw(always)) for cell in row) + draw(ends) for row in rows]
    if draw(st.integers(0, 3)) == 0:
        empty = draw(st.sampled_from(["", "", "\t".join(['""'] * len(rows[0])), "\t" * (len(rows[0]) - 1)]))
        lines.insert(draw(st.integers(0, len(lines))), empty + draw(ends))
    text = "".join(lines)
    if draw(st.integers(0, 3)) == 0:
        text = text.removesuffix("\n").removesuffix("\r")
    return draw(st.sampled_from([b"", b"", codecs.BOM_UTF8])) + text.encode()


def put(data, place, what):
    """Return bytes with others put in at a place."""
    return data[:place] + what + data[place:]


def after(data, marks, chosen):
    """Return the offset behind the chosen one of the marks that stand in the bytes, or their end."""
    places = [i + 1 for i, byte in enumerate(data) if byte in marks]
    return places[chosen % len(places)] if places else len(data)


DAMAGES = {
    "bit": lambda data, place, n: (
        data[:place] + bytes(b ^ 1 << n % 8 for b in data[place : place + 1]) + data[place + 1 :]
    ),
    "byte": lambda data, place, n: put(data, place, bytes([n])),
    "odd bytes": lambda data, place, n: put(data, place, INSERTED[n % len(INSERTED)]),
    "lost byte": lambda data, place, _: data[:place] + data[place + 1 :],
    "lost end": lambda data, place, _: data[:place],
    "lost beginning": lambda data, place, _: data[place:],
    "a tab too many": lambda data, place, n: put(data, after(data, b"\t\n", place + n), b"\t"),
    "a tab too few": lambda data, _, n: data[: (i := after(data, b"\t", n)) - 1] + data[i:],
    "a tab too many everywhere": lambda data, _, n: LINE * (n % 2) + data.replace(b"\n", b"\tx\n"),
    "a tab too few everywhere": lambda data, _, n: LINE * (n % 2) + data.replace(b"\t", b"", data.count(b"\n")),
    "an open quote": lambda data, place, n: put(data, after(data, b"\t\n", place + n), b'"'),
    "text after a quote": lambda data, place, n: put(data, after(data, b'"', place + n), b" x"),
    "returns at an end": lambda data, place, n: put(
        data, max(after(data, b"\n", place + n) - 1, 0), b"\r" * (1 + n % 2)
    ),
    "a NUL": lambda data, place, n: put(data, (place + n) % (len(data) + 1), b"\0"),
    "a carriage return": lambda data, place, _: put(data, place, b"\r"),
    "the last line end cut": lambda data, _, __: data[:-1],
    "UTF-16": lambda data, _, n: data.decode(errors="replace").encode(["utf-16", "utf-16-le", "utf-16-be"][n % 3]),
    "Latin-1": lambda data, _, __: data.decode(errors="replace").encode("latin-1", errors="replace"),
    "a column's name twice": lambda data, _, n: data.replace([b"id", b"sentence"][n % 2], b"sentiment", 1),
    "another kind": lambda data, _, n: OTHER_KINDS[n % len(OTHER_KINDS)] + data,
    "a second mark": lambda data, place, n: put(data, place * (n % 2), codecs.BOM_UTF8),
}
HEAVY = {"a huge cell": lambda data, place, n: put(data, after(data, b"\t\n", place + n), HUGE[n % len(HUGE)])}


@st.composite
def files(draw):
    """Return a file's bytes, of a table as it should be or damaged once or twice."""
    data = draw(tables())
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 1, 2]))):
        damages = HEAVY if draw(st.integers(0, 30)) == 30 else DAMAGES
        how = draw(st.sampled_from(sorted(damages)))
        data = damages[how](data, draw(st.integers(0, len(data))), draw(st.integers(0, 255)))
    return data


def test_two_readers_agree_on_every_file(tmp_path_factory):
    """Rows and examples are the same with their lines, or both refuse: in one line that names the file and the line."""
    path, seen = tmp_path_factory.mktemp("files") / "data.csv", Counter()

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
        assert "\n" not in str(found)

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
            classes = [None] * len(read) if read.labels is None else read.labels.tolist()
            texts = [text for (text,) in read.sentences]
            return zip(read.ids, texts, classes, read.lines.tolist(), strict=True)

        compare("table", rows := said(file.rows), said(lambda: records(data)))
        compare("split", said(taken), said(lambda: examples(data, split)))
        if not isinstance(rows, DataError):
            assert file.sha256 == hashlib.sha256(data).hexdigest()
        elif "at offset" in str(rows):
            assert f"at offset {first_bad_byte(data)} is" in str(rows)

    agree()
    print(f"{FILES} files:", ", ".join(f"{what} {how} {count}" for (what, how), count in sorted(seen.items())))
    assert min(seen.values()) > sum(seen.values()) / 20


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


@pytest.mark.parametrize("end", [b"\r", b"\r\r\n", b"\r\r\r\n"])
def test_a_bare_carriage_return_at_a_lines_end_is_refused(rows, refusal, end):
    """The csv module takes any number of them for a part of the line's end; in quotes they are text."""
    assert refusal(b"a\tb\n1\t2" + end) == ":2: a carriage return without a line feed; a broken line end?"
    assert refusal(b"a\tb" + end).startswith(":1: a carriage return")
    assert rows(b'a\tb\n1\t"2' + end + b'"\r\n')[1] == (2, ["1", "2" + end.decode()])


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
    ],
)
def test_fifty_megabytes_are_refused_in_little_memory(tmp_path, start, repeated, text):
    """A single line, or a cell that never ends, is not read to its end."""
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

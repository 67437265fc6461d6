"""Files that Hypothesis makes: tables as they should be, and damaged in every way that is known to happen."""

import codecs

from hypothesis import strategies as st

from model.table_file import BLANK_LIMIT, CELL_LIMIT, LINE_LIMIT, ROW_LIMIT

HEADER = ["", "id", "sentence", "sentiment"]
LINE = b"\tid\tsentence\tsentiment\n"
BEGINNINGS = (
    b"\x1f\x8b",
    b"PK\x03\x04",
    b"\xff\xfe",
    b"\xfe\xff",
    b"version https://git-lfs",
    b"<!DOCTYPE html>",
    b"<!doctype html>\n",
    b" \r\n\n\t<HTML>",
    b"\xef\xbb\xbf<html>",
    b"<?xml version='1.0'?>",
)
"""How files of other kinds begin."""
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
NAMES = [b"\tid\t", b"\tsentence\t", b"\tsentence\tsentence\t", b"\tid\tsentence\tid\t", b"\t\tsentence\t"]
"""What takes the place of the header's id and sentence."""
BLANK = [b"\n", b"\r\n", b"\n\r\n\n", b"\n" * 20]
HUGE = [b"x" * CELL_LIMIT, b"x" * (CELL_LIMIT + 1), b"x" * LINE_LIMIT, b"\xc3\xa9" * CELL_LIMIT]


def spelt(cell, *, always):
    """Return a cell as it stands in a file, in quotes where it must be or where it always is."""
    if always or cell.startswith('"') or set(cell) & set("\t\n\r"):
        return '"' + cell.replace('"', '""') + '"'
    return cell


def long_row(size):
    """Return a sentiment file's row of so many bytes, on thousands of lines, no cell of it too long."""
    cell = ("🎬" * 99 + "\n") * (size // 3 // 397 - 1)
    row = f'"{cell}"\t"{cell}"\t"{cell}"\t2\n'.encode()
    return row[:-4] + b"x" * (size - len(row)) + row[-4:]


LONG_ROWS = [long_row(size) for size in (100_000, ROW_LIMIT - 1, ROW_LIMIT, ROW_LIMIT + 1)]


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
    if draw(st.integers(0, 50)) == 50:
        place, wide = draw(st.integers(0, len(lines))), "0\t" * (len(rows[0]) - 1) + "2"
        lines[place:place] = [wide + draw(ends)] * 1_000  # so many bear one that is left out
        lines.insert(place + 500, draw(st.sampled_from(["", wide.replace("0", ""), wide])) + draw(ends))
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
    "a column by another name": lambda data, _, n: data.replace(b"\tid\tsentence\t", NAMES[n % len(NAMES)], 1),
    "blank lines": lambda data, place, n: put(data, after(data, b"\n", place + n), BLANK[n % len(BLANK)]),
    "blank lines before all": lambda data, _, n: BLANK[n % len(BLANK)] + data,
    "another kind": lambda data, _, n: BEGINNINGS[n % len(BEGINNINGS)] + data,
    "a second mark": lambda data, place, n: put(data, place * (n % 2), codecs.BOM_UTF8),
}
HEAVY = {
    "many blank lines": lambda data, place, n: put(data, after(data, b"\n", place), b"\n" * (BLANK_LIMIT - 1 + n % 3)),
    "a huge cell": lambda data, place, n: put(data, after(data, b"\t\n", place + n), HUGE[n % len(HUGE)]),
    "a row of many lines": lambda data, place, n: put(
        data, after(data, b"\n", place + n), LONG_ROWS[n % len(LONG_ROWS)]
    ),
}


@st.composite
def files(draw):
    """Return a file's bytes, of a table as it should be or damaged once or twice."""
    data = draw(tables())
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 1, 2]))):
        damages = HEAVY if draw(st.integers(0, 30)) == 30 else DAMAGES
        how = draw(st.sampled_from(sorted(damages)))
        data = damages[how](data, draw(st.integers(0, len(data))), draw(st.integers(0, 255)))
    return data

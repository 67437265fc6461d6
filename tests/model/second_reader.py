"""A second reader of data files, to hold the strict one against: it shares no code with it, nor the csv module.

It goes character by character by the grammar, RFC 4180 with a tab for the comma: a line feed, with or without a
carriage return before it, ends a record outside quotes, and nothing else does.
"""

import codecs
import re

from model.table_file import BLANK_LIMIT, CELL_LIMIT, LINE_LIMIT, ROW_LIMIT

OTHER_KINDS = (b"\x1f\x8b", b"PK\x03\x04", b"\xff\xfe", b"\xfe\xff", b"version https://git-lfs")
"""How files of other kinds begin."""
WEB_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|[?]xml)", re.IGNORECASE)
"""How web pages do, within the first 512 bytes."""


class RefusedError(Exception):
    """What the other reader says: the line, one of several where that is free, none where it is the whole file."""

    def __init__(self, *lines):
        self.lines = lines


class Grammar:
    """The other reader's state: the record so far, the cell so far, and where in it the next character stands."""

    def __init__(self, *, size):
        """Begin with so many bytes of the first record already taken: the byte order mark's."""
        self.line, self.begins, self.width, self.size = 1, 1, 0, size
        self.cells, self.cell, self.place = [], [], "start"

    def take(self, char, following):
        """Take a character; return the line and cells of the record that it ends, if it ends one."""
        row = None
        self.size += 1 if char < "\x80" else len(char.encode())
        if self.size > ROW_LIMIT:
            raise RefusedError(self.begins)
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
        if self.place == "start" and not self.cells:
            self.begins, self.size = self.line, 0
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
        """Return the record; a blank line's has no cells."""
        if self.place == "start" and not self.cells:
            return self.begins, []
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
    """Yield line and cells of each row of a file's bytes, and of blank lines between two; raises RefusedError."""
    blank, headed = [], False
    for line, cells in all_records(data):
        if not cells:
            blank.append((line, []))
            continue
        if headed and len(blank) > BLANK_LIMIT:
            raise RefusedError(blank[0][0])
        yield from blank if headed else []
        yield line, cells
        blank, headed = [], True


def all_records(data):
    """Yield line and cells of each record, of every blank line too."""
    if data.startswith(OTHER_KINDS) or WEB_PAGE.match(data[:512]):
        raise RefusedError
    bad = first_bad_byte(data)
    good = data if bad == len(data) else data[: data.rfind(b"\n", 0, bad) + 1]
    mark = codecs.BOM_UTF8 if good.startswith(codecs.BOM_UTF8) else b""
    text, grammar = good[len(mark) :].decode(), Grammar(size=len(mark))
    for char, following in zip(text, [*text, ""][1:], strict=True):
        row = grammar.take(char, following)
        if row:
            yield row
    if good != data:
        raise RefusedError(1 + data.count(b"\n", 0, bad))
    if grammar.place == "quoted":
        raise RefusedError(grammar.begins)
    yield grammar.end_record()


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
    named = [name for name in header if name]
    wanted = {"sentence", "sentiment"} if split != "test" or "sentiment" in header else {"sentence"}
    if not wanted <= set(named) or len(set(named)) < len(named):
        raise RefusedError(line)
    found, left_out, rows = [], [], list(rows)
    for row_line, cells in rows:
        if not cells:
            continue
        row = dict(zip(header, cells, strict=True))
        label, sentence = row.get("sentiment", ""), row.get("sentence", "").strip()
        if not sentence or ("sentiment" in row and not label.strip()):
            left_out.append(row_line)
            continue
        if "sentiment" in row and class_of(label) is None:
            raise RefusedError(row_line)
        found.append((row.get("id", cells[0]), sentence, class_of(label), row_line))
    if not found or len(left_out) * 1_000 > len(rows):
        raise RefusedError(*left_out[: bool(found)])
    return found

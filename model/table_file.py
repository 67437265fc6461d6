"""A tab-separated file, read row by row: strictly, within limits, and hashed as it is read.

Nothing of a file is believed: it is read once, from front to back, a line at a time, and whatever is not a table of
equally wide rows of UTF-8 text ends the reading with FILE:LINE. Quoting is RFC 4180's with a tab for the comma; only
a line feed ends a line, with or without a carriage return before it.
"""

import codecs
import csv
import hashlib
import io
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from model.files import LFS_POINTER

CELL_LIMIT = 100_000
"""Characters a cell may have: more is a broken quote or another file."""
LINE_LIMIT = 1_000_000
"""Bytes a line may have."""
ROW_LIMIT = LINE_LIMIT
"""Bytes a row may have on all of its lines: in quotes, a cell goes over many."""
BLANK_LIMIT = 1_000
"""Blank lines between two rows: each is told of."""
QUOTED_LIMIT = 60
"""Characters of a file that an error quotes in one piece."""
LISTED_LIMIT = 10
"""Names that an error lists."""
BEGINNING = 512
"""Bytes that tell what kind of file it is."""
NOT_A_TABLE = {
    b"\x1f\x8b": "is compressed (gzip); unpack it",
    b"PK\x03\x04": "is a zip archive (a spreadsheet?); save it as tab-separated text",
    b"\xff\xfe": "is UTF-16; save it as UTF-8",
    b"\xfe\xff": "is UTF-16; save it as UTF-8",
    LFS_POINTER: "is a Git LFS pointer; run git lfs pull",
}
"""How files begin that are taken for tables, and what to do about them."""
WEB_PAGE = (b"<!doctype", b"<html", b"<?xml")
"""How web pages begin, in lower case, after any space."""
BARE_RETURN = "a carriage return without a line feed; a broken line end?"


class DataError(ValueError):
    """A data file that cannot be used; the text is FILE:LINE, what is there, what was expected."""


def escaped(text: str) -> str:
    """Return a text whose line ends and control characters are written out, so that it stays one line."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def quoted(text: str) -> str:
    """Return a piece of a file as an error shows it: in quotes, on one line, cut where it is long."""
    return repr(text[:QUOTED_LIMIT]) + "…" * (len(text) > QUOTED_LIMIT)


def listed(names: Sequence[str]) -> str:
    """Return names as an error shows them: the first quoted, the others counted."""
    more = len(names) - LISTED_LIMIT
    return ", ".join(map(quoted, names[:LISTED_LIMIT])) + (f" and {more:,} more" if more > 0 else "")


class TableFile:
    """One file; iterate over `rows`, then `sha256` is that of the bytes that were read."""

    def __init__(self, path: Path) -> None:
        """Read nothing yet."""
        self.path = path
        self.name = escaped(str(path))
        """The path in messages."""
        self._hash = hashlib.sha256()
        self._line = ""
        self._begins, self._row_bytes = 1, 0

    @property
    def sha256(self) -> str:
        """Return the hash of what was read so far."""
        return self._hash.hexdigest()

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the line each row begins on and its cells, the header first; every row as wide. Raises DataError.

        A blank line between two rows is one without cells; before the header and after the last row it is nothing.
        """
        try:
            if not stat.S_ISREG(self.path.stat().st_mode):
                raise DataError(f"{self.name}: is a {_kind(self.path)}; expected a file")
            with self.path.open("rb") as file:
                if what := _other_kind(file.peek(BEGINNING)[:BEGINNING]):
                    raise DataError(f"{self.name}: {what}")
                yield from self._rows(file)
        except OSError as error:
            raise DataError(f"{self.name}: cannot be read ({error.strerror})") from error

    def _rows(self, file: io.BufferedReader) -> Iterator[tuple[int, list[str]]]:
        csv.field_size_limit(CELL_LIMIT)
        reader = csv.reader(self._lines(file), delimiter="\t", strict=True)
        width, blank_from = 0, 0
        try:
            for cells in reader:
                if self._line.endswith(("\r\r\n", "\r")):  # the csv module takes them all for the line's end
                    raise DataError(f"{self.name}:{self._begins}: {BARE_RETURN}")
                next_line = reader.line_num + 1
                if cells:
                    blank = range(blank_from or self._begins, self._begins)
                    if len(blank) > BLANK_LIMIT:
                        many = f"{self.name}:{blank[0]}: {len(blank):,} blank lines"
                        raise DataError(f"{many}, and then a row; expected rows")
                    yield from ((line, []) for line in blank)
                    width, blank_from = width or len(cells), next_line
                    if len(cells) != width:
                        more = "a tab too many?" if len(cells) > width else "a tab that is missing?"
                        raise DataError(
                            f"{self.name}:{self._begins}: {len(cells)} fields, the header has {width}; {more}"
                        )
                    yield self._begins, cells
                self._begins, self._row_bytes = next_line, 0
        except csv.Error as error:
            raise DataError(f"{self.name}:{self._begins}: {_what(error)}") from error

    def _lines(self, file: io.BufferedReader) -> Iterator[str]:
        """Yield lines with their ends; unlike str.splitlines, U+2028 and its kin do not end one."""
        number, offset = 0, 0
        while raw := file.readline(LINE_LIMIT + 1):
            number += 1
            self._hash.update(raw)
            if len(raw) > LINE_LIMIT:
                raise DataError(f"{self.name}:{number}: a line of over {LINE_LIMIT:,} bytes; expected a row of a table")
            if b"\0" in raw:
                raise DataError(f"{self.name}:{number}: has a NUL byte")
            try:
                self._line = raw.decode("utf-8-sig" if offset == 0 else "utf-8")
            except UnicodeDecodeError as error:
                byte = error.object[error.start]
                where = offset + len(raw) - len(error.object) + error.start  # without the mark, the object is shorter
                raise DataError(f"{self.name}:{number}: byte 0x{byte:02X} at offset {where} is not UTF-8") from error
            self._row_bytes += len(raw)
            if self._row_bytes > ROW_LIMIT:
                row = f"{self.name}:{self._begins}: a row of over {ROW_LIMIT:,} bytes up to line {number}"
                raise DataError(f"{row}; a quote that is never closed?")
            yield self._line
            offset += len(raw)


def _other_kind(beginning: bytes) -> str | None:
    """Return what a file is that is no table, and what to do about it."""
    if beginning.removeprefix(codecs.BOM_UTF8).lstrip().lower().startswith(WEB_PAGE):
        return "is a web page; download the file itself"
    return next((what for start, what in NOT_A_TABLE.items() if beginning.startswith(start)), None)


def _what(error: csv.Error) -> str:
    """Return what the csv module found, in our words."""
    text = str(error)
    if "field larger" in text:
        return f"a cell of over {CELL_LIMIT:,} characters; a quote that is never closed?"
    if "unexpected end" in text:
        return "a quote that is never closed"
    if "new-line character" in text:
        return BARE_RETURN
    if "expected after" in text:
        return "text after a closing quote; in a quoted cell, a quote is written twice"
    return "a broken cell"


def _kind(path: Path) -> str:
    mode = path.stat().st_mode
    kinds = {"folder": stat.S_ISDIR, "pipe (FIFO)": stat.S_ISFIFO, "socket": stat.S_ISSOCK}
    return next((name for name, holds in kinds.items() if holds(mode)), "device")

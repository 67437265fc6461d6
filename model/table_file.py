"""A tab-separated file, read row by row: strictly, within limits, and hashed as it is read.

Nothing of a file is believed: it is read once, from front to back, a line at a time, and whatever is not a table of
equally wide rows of UTF-8 text ends the reading with FILE:LINE. Quoting is RFC 4180's with a tab for the comma; only
a line feed ends a line, with or without a carriage return before it.
"""

import csv
import hashlib
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from model.files import LFS_POINTER

CELL_LIMIT = 100_000
"""Characters a cell may have: more is a broken quote or another file."""
LINE_LIMIT = 1_000_000
"""Bytes a line may have."""
NOT_A_TABLE = {
    b"\x1f\x8b": "is compressed (gzip); unpack it",
    b"PK\x03\x04": "is a zip archive (a spreadsheet?); save it as tab-separated text",
    b"\xff\xfe": "is UTF-16; save it as UTF-8",
    b"\xfe\xff": "is UTF-16; save it as UTF-8",
    LFS_POINTER: "is a Git LFS pointer; run git lfs pull",
    b"<!DOCTYPE": "is a web page; download the file itself",
    b"<html": "is a web page; download the file itself",
}
"""How files begin that are taken for tables, and what to do about them."""


class DataError(ValueError):
    """A data file that cannot be used; the text is FILE:LINE, what is there, what was expected."""


class TableFile:
    """One file; iterate over `rows`, then `sha256` is that of the bytes that were read."""

    def __init__(self, path: Path) -> None:
        """Read nothing yet."""
        self.path = path
        self._hash = hashlib.sha256()
        self._line = ""

    @property
    def sha256(self) -> str:
        """Return the hash of what was read so far."""
        return self._hash.hexdigest()

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the line each row begins on and its cells, the header first; every row as wide. Raises DataError."""
        try:
            if not stat.S_ISREG(self.path.stat().st_mode):
                raise DataError(f"{self.path}: is a {_kind(self.path)}; expected a file")
            with self.path.open("rb") as file:
                yield from self._rows(file)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror})") from error

    def _rows(self, file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
        csv.field_size_limit(CELL_LIMIT)
        reader = csv.reader(self._lines(file), delimiter="\t", strict=True)
        line, width = 1, 0
        try:
            for cells in reader:
                if self._line.endswith(("\r\r\n", "\r")):  # the csv module takes them all for the line's end
                    raise DataError(f"{self.path}:{line}: a carriage return without a line feed; a broken line end?")
                if cells:
                    width = width or len(cells)
                    if len(cells) != width:
                        more = "a tab too many?" if len(cells) > width else "a tab that is missing?"
                        raise DataError(f"{self.path}:{line}: {len(cells)} fields, the header has {width}; {more}")
                    yield line, cells
                line = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{self.path}:{line}: {_what(error)}") from error

    def _lines(self, file: BinaryIO) -> Iterator[str]:
        """Yield lines with their ends; unlike str.splitlines, U+2028 and its kin do not end one."""
        number, offset = 0, 0
        while raw := file.readline(LINE_LIMIT + 1):
            number += 1
            self._hash.update(raw)
            if offset == 0:
                for start, what in NOT_A_TABLE.items():
                    if raw.startswith(start):
                        raise DataError(f"{self.path}: {what}")
            if len(raw) > LINE_LIMIT:
                raise DataError(f"{self.path}:{number}: a line of over {LINE_LIMIT:,} bytes; expected a row of a table")
            if b"\0" in raw:
                raise DataError(f"{self.path}:{number}: has a NUL byte")
            try:
                self._line = raw.decode("utf-8-sig" if offset == 0 else "utf-8")
            except UnicodeDecodeError as error:
                byte = error.object[error.start]
                where = offset + len(raw) - len(error.object) + error.start  # without the mark, the object is shorter
                raise DataError(f"{self.path}:{number}: byte 0x{byte:02X} at offset {where} is not UTF-8") from error
            yield self._line
            offset += len(raw)


def _what(error: csv.Error) -> str:
    """Return what the csv module found, in words."""
    text = str(error)
    if "field larger" in text:
        return f"a cell of over {CELL_LIMIT:,} characters; a quote that is never closed?"
    if "unexpected end" in text:
        return "a quote that is never closed"
    return f"{text}; a broken cell?"


def _kind(path: Path) -> str:
    mode = path.stat().st_mode
    kinds = {"folder": stat.S_ISDIR, "pipe (FIFO)": stat.S_ISFIFO, "socket": stat.S_ISSOCK}
    return next((name for name, holds in kinds.items() if holds(mode)), "device")

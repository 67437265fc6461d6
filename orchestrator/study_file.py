"""A study's own file: SQLite, as safe as the file system lets it be, and never made anew over a damaged one."""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from model.files import make_folder
from orchestrator.errors import SweepError
from orchestrator.file_systems import is_shared


def prepare(path: Path) -> None:
    """Make a new file ready, and its folder; of one that is there see that it is sound. Raises SweepError."""
    make_folder(path.parent)
    require_sound(path)
    if not path.exists():
        choose_journal(path)


def choose_journal(path: Path) -> None:
    """Let readers and the writer work at once, by a write-ahead log, which SQLite keeps in the file; its writer's say.

    Not on a file system of many machines: the log's index is memory that one machine shares (sqlite.org/wal.html), so
    that a driver there and another here would not see each other. Where a reader has the file open meanwhile, it stays
    as it is. SQLite's sync mode is FULL by default.
    """
    journal = "DELETE" if is_shared(path.parent) else "WAL"
    with closing(sqlite3.connect(path, timeout=5)) as connection:
        (kept,) = connection.execute("PRAGMA journal_mode").fetchone()
        if kept.upper() != journal:
            with suppress(sqlite3.OperationalError):
                connection.execute(f"PRAGMA journal_mode={journal}")


def require_sound(path: Path) -> None:
    """Raise SweepError where a file is there that is no database, or a damaged one. Changes nothing in it."""
    if not path.exists():
        return
    if not path.is_file():
        raise SweepError(f"{path}: is no file; expected the study's database; move it away")
    try:
        with closing(sqlite3.connect(path, timeout=60)) as connection:
            connection.execute("PRAGMA query_only=ON")
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError:
        raise  # busy, or the disk: no word on what is in it
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        what = " ".join(found.split())
        raise SweepError(
            f"{path}: is no sound database ({what}); move it away, and the trials of a list are found again by their "
            "folders, or --new starts afresh"
        )

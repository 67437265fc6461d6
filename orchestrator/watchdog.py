"""Ends a process in which nothing moves any more, and leaves word of where it stood."""

import faulthandler
import time
from pathlib import Path

REARM_S = 1.0
"""A beat within so many seconds of the last one costs nothing."""


class Watchdog:
    """Kills its own process after `seconds` without a beat, from a thread of C: a held GIL does not hold it up.

    The stacks of all threads are written into the file first. One a process.
    """

    def __init__(self, file: Path, seconds: float) -> None:
        """Watch nothing yet; `arm` starts it."""
        self._path, self._seconds = file, seconds
        self._file = file.open("w", encoding="utf-8")
        self._armed = 0.0

    def arm(self) -> None:
        """Start the time anew."""
        self._armed = time.monotonic()
        faulthandler.dump_traceback_later(self._seconds, exit=True, file=self._file)

    def beat(self) -> None:
        """Say that something moved."""
        if time.monotonic() - self._armed > REARM_S:
            self.arm()

    def rest(self) -> None:
        """Watch nothing until `arm` is called again."""
        faulthandler.cancel_dump_traceback_later()

    def close(self) -> None:
        """Stop watching for good; a file without a word goes."""
        self.rest()
        self._file.close()
        if self._path.exists() and not self._path.stat().st_size:
            self._path.unlink()

"""Where the sweep prints: it goes on, in silence, when nobody reads any more (`... | head`)."""

import errno
import os
import sys
from typing import IO

from rich.console import Console

NO_TERMINAL_WIDTH = 500
"""Columns where there is no terminal: enough for every table."""


class SweepConsole(Console):
    """A console whose output may be closed under it."""

    def _check_buffer(self) -> None:
        """Write as rich does, whoever asks; a terminal that was closed (EIO) is one more output that nobody reads."""
        try:
            super()._check_buffer()
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        """Print nothing from now on; rich's own answer would end the process."""
        self.quiet = True
        _discard(self.file)


def console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Return where to print: as wide as the terminal, and wide enough for the tables where there is none."""
    found = SweepConsole(stderr=stderr, quiet=quiet, highlight=False, markup=False, emoji=False)
    if not found.is_terminal:
        found.width = NO_TERMINAL_WIDTH
    return found


def say(line: str, *, to: IO[str] | None = None) -> None:
    """Print a line as it is, at once; on standard output by default."""
    stream = to or sys.stdout
    try:
        print(line, file=stream, flush=True)
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):  # a pipe that nobody reads, a terminal that was closed
            raise
        _discard(stream)


def _discard(stream: IO[str]) -> None:
    """Let what is still written there go nowhere, also what the interpreter flushes at its end."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # no file of the system's
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)

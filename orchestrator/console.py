"""Where the sweep prints: it goes on, in silence, when nobody reads any more (`... | head`, a closed terminal)."""

import os
import sys

from rich.console import Console

NO_TERMINAL_WIDTH = 500
"""Columns where there is no terminal: enough for every table."""


class SweepConsole(Console):
    """A console whose output may be closed under it."""

    def on_broken_pipe(self) -> None:
        """Print nothing from now on; rich's own answer would end the process."""
        self.quiet = True
        _discard(2 if self.stderr else 1)


def console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Return where to print: as wide as the terminal, and wide enough for the tables where there is none."""
    found = SweepConsole(stderr=stderr, quiet=quiet, highlight=False, markup=False, emoji=False)
    if not found.is_terminal:
        found.width = NO_TERMINAL_WIDTH
    return found


def say(line: str) -> None:
    """Print a line for a program to read, at once."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        _discard(sys.stdout.fileno())


def _discard(descriptor: int) -> None:
    """Let what is still written there go nowhere, also what the interpreter flushes at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)

"""What C++ writes to standard error while something is tried: Ray says why it is refused there, and nowhere else."""

import os
import tempfile
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self


class Overheard:
    """Use as a context: what this process writes to standard error meanwhile is kept, and shown where all went well.

    Where an exception ends the block it is shown to nobody: `text` is for whoever makes a line of it. Of the whole
    process: for a while in which nothing else is told but its last word (`end_all`).
    """

    def __init__(self) -> None:
        """Keep nothing yet."""
        self.text = ""
        """What was heard, known at the end."""
        self._own: int | None = None
        self._ending = threading.Lock()

    def __enter__(self) -> Self:
        """Begin to listen; where no file can be had for it, nothing is kept."""
        with suppress(OSError):
            self._heard = tempfile.TemporaryFile()
            self._own = os.dup(2)
            os.dup2(self._heard.fileno(), 2)
            _LISTENING.append(self)
        return self

    def end(self) -> None:
        """Listen no more; any thread may call it, and more than once."""
        if not self._ending.acquire(timeout=1):  # a signal came in the midst of it
            return
        try:
            own, self._own = self._own, None
            if own is not None:
                os.dup2(own, 2)
                os.close(own)
                self._heard.seek(0)
                self.text = self._heard.read().decode(errors="replace")
                self._heard.close()
        finally:
            self._ending.release()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Listen no more; show what was heard where nothing was raised."""
        self.end()
        if self in _LISTENING:
            _LISTENING.remove(self)
        if kind is None and self.text:
            with suppress(OSError):
                os.write(2, self.text.encode())


_LISTENING: list[Overheard] = []


def end_all() -> None:
    """Listen no more, whoever does: this process is about to say its last word."""
    for each in _LISTENING:
        each.end()

"""What C++ writes to standard error while something is tried: Ray says why it is refused there, and nowhere else."""

import os
import tempfile
from contextlib import suppress
from types import TracebackType
from typing import Self


class Overheard:
    """Use as a context: what this process writes to standard error meanwhile is kept, and shown where all went well.

    Where an exception ends the block it is shown to nobody: `text` is for whoever makes a line of it. Of the whole
    process: for a while in which nothing else is told.
    """

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._said = ""
        self._own: int | None = None

    @property
    def text(self) -> str:
        """Return what was heard so far."""
        if self._own is not None:
            size = os.fstat(self._heard.fileno()).st_size
            self._said = os.pread(self._heard.fileno(), size, 0).decode(errors="replace")
        return self._said

    def __enter__(self) -> Self:
        """Begin to listen; where no file can be had for it, nothing is kept."""
        with suppress(OSError):
            self._heard = tempfile.TemporaryFile()
            self._own = os.dup(2)
            os.dup2(self._heard.fileno(), 2)
        return self

    def end(self) -> None:
        """Listen no more; any thread may call it, and more than once."""
        own = self._own
        if own is not None:
            os.dup2(own, 2)
            _ = self.text
            self._own = None
            os.close(own)
            self._heard.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Listen no more; show what was heard where nothing was raised."""
        self.end()
        if kind is None and self.text:
            with suppress(OSError):
                os.write(2, self.text.encode())

"""What Ctrl-C, TERM and HUP do to a sweep: once, it stops with all saved; twice, it leaves at once."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn, Self

from orchestrator.errors import INTERRUPTED

SHOW_CURSOR = b"\x1b[?25h"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def blocked() -> Iterator[None]:
    """Let processes that are started here not be reached by TERM and HUP, which go to whole groups of processes."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def exit_at_once() -> None:
    """Let a signal end this process with the code of an interrupted sweep, before there is one and after it.

    While libraries are imported there is nothing to save, and nobody wants to see where in them Python stood.
    """
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup: who starts us so wants us to go on
            signal.signal(number, lambda *_: leave(INTERRUPTED))


class Signals:
    """Use as a context, in the main thread. While `gently` is set the first signal calls it, else it interrupts."""

    def __init__(self) -> None:
        """Handle nothing yet."""
        self.asked = False
        """Whether somebody wants the sweep to stop."""
        self.gently: Callable[[], None] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Take the signals over."""
        self._before = {number: signal.getsignal(number) for number in SIGNALS}
        self.take()
        return self

    def take(self) -> None:
        """Take the signals over again, from a library that installed handlers of its own: ray.init does."""
        for number, before in self._before.items():
            if before != signal.SIG_IGN:  # nohup: who starts us so wants us to go on
                signal.signal(number, self._handle)

    def __exit__(self, *exception: object) -> None:
        """Give them back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.asked:
            leave(INTERRUPTED)
        self.asked = True
        if self.gently is None:
            raise KeyboardInterrupt
        self.gently()


def leave(code: int) -> NoReturn:
    """End this process as it stands: the guardian ends what it started, the next one takes over what it held."""
    for descriptor in (1, 2):
        with suppress(OSError):
            if os.isatty(descriptor):
                os.write(descriptor, SHOW_CURSOR)  # the progress display hides it
    os._exit(code)

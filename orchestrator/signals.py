"""What Ctrl-C, TERM and HUP do to a sweep: once, it stops with all saved; twice, it leaves at once."""

import os
import selectors
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn, Self

from orchestrator import overheard
from orchestrator.errors import INTERRUPTED

NEW_LINE = "\r\n"
SHOW_CURSOR = b"\x1b[?25h"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOP_S = 45.0
"""Seconds that a sweep is given to stop with all saved: Ray may wait for a node that is gone, MLflow for an answer."""


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
    """Use as a context, in the main thread. While `gently` is set the first signal calls it, else it interrupts.

    Handlers run in the main thread, between two steps of Python: not while it stands in a library's call, what they
    raise may be swallowed there, and ray.init has its own for a while. So a thread hears of signals too, from below
    Python: `asked` is true whoever handled one, and the process ends where a second one comes, or where `stop_s` after
    the first it is still there.
    """

    def __init__(self, *, stop_s: float = STOP_S, last_words: str = "") -> None:
        """Handle nothing yet. The `last_words` are said at the second signal."""
        self.asked = False
        """Whether somebody wants the sweep to stop."""
        self.gently: Callable[[], None] | None = None
        self._stop_s, self._last_words = stop_s, last_words
        self._before: dict[signal.Signals, Any] = {}
        self._ours: set[int] = set()
        self._handled = False

    def __enter__(self) -> Self:
        """Take the signals over."""
        self._before = {number: signal.getsignal(number) for number in SIGNALS}
        # nohup: who starts us so wants us to go on
        self._ours = {number for number, before in self._before.items() if before != signal.SIG_IGN}
        self._heard, self._wakeup = os.pipe()
        for end in (self._heard, self._wakeup):
            os.set_blocking(end, False)
        self._wakeup_before = signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, name="signals", daemon=True).start()
        self.take()
        return self

    def take(self) -> None:
        """Take the signals over again, from a library that installed handlers of its own: ray.init does."""
        for number in self._ours:
            signal.signal(number, self._handle)

    def __exit__(self, *exception: object) -> None:
        """Give them back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._wakeup)  # the thread reads the end of it, and ends

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._handled:
            leave(INTERRUPTED, self._last_words)
        self._handled = self.asked = True
        if self.gently is None:
            raise KeyboardInterrupt
        self.gently()

    def _listen(self) -> None:
        """Count signals as they come; end the process at the second, or where the first has not ended it in time."""
        count = 0
        with selectors.DefaultSelector() as selector:
            selector.register(self._heard, selectors.EVENT_READ)
            while True:
                if not selector.select(self._stop_s if count else None):
                    leave(INTERRUPTED, f"the sweep has not stopped in {self._stop_s:.0f} s, and is ended as it stands")
                numbers = os.read(self._heard, 512)
                if not numbers:
                    os.close(self._heard)
                    return
                count += sum(number in self._ours for number in numbers)
                self.asked = count > 0
                if count > 1:
                    leave(INTERRUPTED, self._last_words)


def leave(code: int, why: str = "") -> NoReturn:
    """End this process as it stands: the guardian ends what it started, the next one takes over what it held.

    `why` goes to standard error, past Python's own streams: whoever holds their locks may stand still.
    """
    overheard.end_all()
    for descriptor in (1, 2):
        with suppress(OSError):
            if os.isatty(descriptor):
                os.write(descriptor, SHOW_CURSOR)  # the progress display hides it
    if why:
        with suppress(OSError):
            os.write(2, f"{NEW_LINE if os.isatty(2) else ''}{why}\n".encode())  # what is shown there has no end
    os._exit(code)

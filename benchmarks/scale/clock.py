"""Simulated time: it jumps while the driver waits for its workers, and passes by what its work takes here."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from unittest import mock

Who = Literal["driver", "projection", "workers"]
WHO: tuple[Who, ...] = ("driver", "projection", "workers")
FLUSH_S = 0.002
"""Seconds of a flush to the disk: of a cloud's block storage, or a database server's answer. An assumption."""


@dataclass
class Spent:
    """What one of the three has used so far."""

    cpu_s: float = 0.0
    """Of the main thread, which alone does the simulation's work."""
    charged_s: float = 0.0
    """That, and a time for each flush."""
    flushes: int = 0
    written_bytes: int = 0
    """Handed to write calls: what the disk gets may be less, and is later."""


@dataclass
class Clock:
    """The simulated time of one sweep, and who spent which of this machine's.

    The driver is one thread: while it works on an event, whatever else happens waits. So what its real code takes is
    added to the simulated time: its CPU time on this machine, which other programs disturb little, and FLUSH_S for
    each flush. The projection works beside it, as its thread does in a sweep; while it does, the two share Python's
    lock, and the driver's seconds count twice. What workers take here counts nothing: they are a thousand machines.
    """

    now_s: float = 0.0
    shared_until_s: float = 0.0
    """Until then the projection is at work."""
    spent: dict[Who, Spent] = field(default_factory=lambda: {who: Spent() for who in WHO})
    flushes: int = 0
    _who: Who = "workers"
    _since: tuple[float, int, int] = (0.0, 0, 0)

    def monotonic(self) -> float:
        """Return the simulated seconds, for whoever's code asks: it replaces time.monotonic."""
        return self.now_s if self._who == "workers" else self.now_s + self._charged_s()

    def time(self) -> float:
        """Return seconds since 1970, of a day that is made up."""
        return 1.8e9 + self.monotonic()

    def _charged_s(self) -> float:
        return time.thread_time() - self._since[0] + FLUSH_S * (self.flushes - self._since[1])

    @property
    def who(self) -> Who:
        """Return who works now."""
        return self._who

    def begin(self, who: Who) -> None:
        """Count from now on for this one; nothing passes between two calls."""
        self._who, self._since = who, (time.thread_time(), self.flushes, _written_bytes())

    def end(self) -> float:
        """Stop counting; return what is charged. For the driver the simulated time goes on by it."""
        charged_s, spent = self._charged_s(), self.spent[self._who]
        spent.cpu_s += time.thread_time() - self._since[0]
        spent.charged_s += charged_s
        spent.flushes += self.flushes - self._since[1]
        spent.written_bytes += _written_bytes() - self._since[2]
        if self._who == "driver":
            shared_s = min(charged_s, max(0.0, self.shared_until_s - self.now_s))
            self.now_s += charged_s + shared_s
        self._who = "workers"
        return charged_s

    @contextmanager
    def beside(self, who: Who) -> Iterator[None]:
        """Have somebody work while the driver does not; the simulated time stays where it is."""
        self.begin(who)
        try:
            yield
        finally:
            self.end()

    @contextmanager
    def counting_flushes(self) -> Iterator[None]:
        """Count each os.fsync in place of doing it: how long a disk takes is for FLUSH_S to say."""

        def flush(_handle: int) -> None:
            self.flushes += 1

        with mock.patch.object(os, "fsync", flush):
            yield


def _written_bytes() -> int:
    for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines():
        if line.startswith("wchar"):
            return int(line.split()[1])
    return 0

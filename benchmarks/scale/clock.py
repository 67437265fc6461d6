"""Simulated time. It jumps while the driver waits for its workers, and passes as on this machine while it works."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Who = Literal["driver", "projection", "workers"]


@dataclass
class Spent:
    """What one of the three has used so far."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    """Of the main thread, which alone does the simulation's work."""
    written_bytes: int = 0
    """Handed to write calls: what the disk gets may be less, and is later."""


@dataclass
class Clock:
    """The simulated time of one sweep, and who spent which of this machine's.

    The driver is one thread: while it works on an event, whatever else happens waits. So the wall time that its real
    code takes here is added to the simulated time. The projection works beside it, as its thread does in a sweep;
    while it does, the two share Python's lock, and the driver's seconds count twice. What workers take here counts
    nothing: there are a thousand machines of them.
    """

    now_s: float = 0.0
    shared_until_s: float = 0.0
    """Until then the projection is at work."""
    spent: dict[Who, Spent] = field(default_factory=lambda: {"driver": Spent(), "projection": Spent(), "workers": Spent()})
    _who: Who = "workers"
    _since: tuple[float, float, int] = (0.0, 0.0, 0)

    def monotonic(self) -> float:
        """Return the simulated seconds, for whoever's code asks: it replaces time.monotonic."""
        return self.now_s + (time.perf_counter() - self._since[0] if self._who != "workers" else 0.0)

    def time(self) -> float:
        """Return seconds since 1970, of a day that is made up."""
        return 1.8e9 + self.monotonic()

    @property
    def who(self) -> Who:
        """Return who works now."""
        return self._who

    def begin(self, who: Who) -> None:
        """Count from now on for this one; nothing passes between two calls."""
        self._who, self._since = who, (time.perf_counter(), time.thread_time(), _written_bytes())

    def end(self) -> float:
        """Stop counting; return the wall time that passed. For the driver the simulated time goes on by it."""
        wall_s = time.perf_counter() - self._since[0]
        spent = self.spent[self._who]
        spent.wall_s += wall_s
        spent.cpu_s += time.thread_time() - self._since[1]
        spent.written_bytes += _written_bytes() - self._since[2]
        if self._who == "driver":
            shared_s = min(wall_s, max(0.0, self.shared_until_s - self.now_s))
            self.now_s += wall_s + shared_s
        self._who = "workers"
        return wall_s

    @contextmanager
    def beside(self, who: Who) -> Iterator[None]:
        """Have somebody work while the driver does not; the simulated time stays where it is."""
        self.begin(who)
        try:
            yield
        finally:
            self.end()


def _written_bytes() -> int:
    for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines():
        if line.startswith("wchar"):
            return int(line.split()[1])
    return 0

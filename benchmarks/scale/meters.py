"""What is counted while a sweep is simulated: database statements, MLflow's calls, time, bytes, memory."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.scale.clock import WHO, Clock

FIGURES = (
    "driver cpu s", "driver charged s", "projection cpu s", "projection charged s", "driver statements",
    "driver commits", "projection statements", "mlflow statements", "mlflow calls", "driver bytes", "projection bytes",
    "workers cpu s", "driver flushes", "projection flushes",
)  # fmt: skip
"""What is counted up; the rest of a sample is taken as it is."""


WAL_FLUSHES, JOURNAL_FLUSHES = 1, 3
"""Of a commit that wrote: SQLite's with a write-ahead log; with a rollback journal, as MLflow's file has it."""


@dataclass
class Meters:
    """Counters of one simulated sweep, and samples of them as trials end."""

    clock: Clock
    counts: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    """MLflow's, by name."""
    reports: Counter[str] = field(default_factory=Counter)
    samples: list[dict[str, float]] = field(default_factory=list)

    def sample(self, ended: int, utilisation: float) -> None:
        """Take down where everything stands now that so many trials have ended."""
        spent = self.clock.spent
        found: dict[str, float] = {"ended": ended, "simulated s": self.clock.now_s, "memory MB": resident_bytes() / 1e6}
        found["utilisation"] = utilisation
        for who in WHO:
            found[f"{who} cpu s"] = spent[who].cpu_s
            found[f"{who} charged s"] = spent[who].charged_s
            found[f"{who} flushes"] = spent[who].flushes
            found[f"{who} bytes"] = spent[who].written_bytes
        self.samples.append(found | {name: float(self.counts[name]) for name in FIGURES if name not in found})

    @contextmanager
    def counting(self, study: sa.Engine) -> Iterator[None]:
        """Count the statements of the study's engine, and of every other one as MLflow's; and what is flushed."""
        wrote: set[int] = set()

        def statement(connection: sa.Connection, _cursor: Any, text: str, *_: Any) -> None:
            of_study = connection.engine is study
            who = "driver" if self.clock.who == "driver" else "projection"
            self.counts[f"{who} statements" if of_study else "mlflow statements"] += 1
            if text.lstrip()[:6].upper() not in ("SELECT", "PRAGMA"):
                wrote.add(id(connection))

        def commit(connection: sa.Connection) -> None:
            if id(connection) in wrote:
                wrote.discard(id(connection))
                of_study = connection.engine is study
                self.counts["driver commits" if of_study else "mlflow commits"] += 1
                self.clock.flushes += WAL_FLUSHES if of_study else JOURNAL_FLUSHES

        sa.event.listen(sa.Engine, "before_cursor_execute", statement)
        sa.event.listen(sa.Engine, "commit", commit)
        try:
            yield
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", statement)
            sa.event.remove(sa.Engine, "commit", commit)

    def client(self, real: Any) -> Any:
        """Return an MlflowClient whose calls are counted."""
        return _Counted(real, self)


class _Counted:
    def __init__(self, real: Any, meters: Meters) -> None:
        self._real, self._meters = real, meters

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self._meters.counts["mlflow calls"] += 1
            self._meters.calls[name] += 1
            return method(*args, **kwargs)

        return counted


def resident_bytes() -> int:
    """Return this process's resident memory."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))

"""Why trials fail, and how often each reason is forgiven before the trial counts as failed.

What is forgiven leads to another attempt, which goes on from the last saved state. Counts are read from the trial's
folder alone (attempt-K/end.json), so that a new driver decides as the one before would have.
"""

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch

from model.encoder_files import EncoderError
from model.table_file import DataError
from model.training import DivergedError
from orchestrator.redaction import redacted

LONGEST_WAIT_S = 60.0
PREEMPTED_WAIT_S = 10.0
"""Where the machine that will be taken is the only one, its trial would come back to it again and again."""


class Failure(StrEnum):
    """A class of failure, as the leaderboard, the study and the folders name it."""

    DIVERGED = "diverged"
    CODE = "code"
    GPU_MEMORY = "out of GPU memory"
    MEMORY = "out of memory"
    """Of the host: Python's own MemoryError, or Ray's monitor killed the process."""
    HANG = "hang"
    DIED = "process died"
    INFRASTRUCTURE = "infrastructure"
    """A node is not what the plan needs: no GPU where one was promised, or one that is broken."""
    NODE = "node lost"
    PREEMPTED = "preempted"
    """The cloud gave notice and took the machine."""
    DISK = "disk"
    """Full, read-only, gone: nothing that another attempt mends, and nothing that a trial should fail for."""
    INPUT = "input changed"
    """Data or encoder are gone, or are not those that were planned; the same holds."""


FORGIVEN: dict[Failure, int | None] = {
    Failure.DIVERGED: 0,
    Failure.CODE: 0,
    Failure.GPU_MEMORY: 0,
    Failure.MEMORY: 2,
    Failure.HANG: 1,
    Failure.DIED: 4,
    Failure.INFRASTRUCTURE: None,
    Failure.NODE: None,
    Failure.PREEMPTED: None,
    Failure.DISK: None,
    Failure.INPUT: None,
}
"""How often a trial may meet each and go on; None: without limit."""
FRUITLESS = {Failure.DIED}
"""Counted only since the last saved state: a process may die any number of times as long as its trial gets on."""
ALIKE_STOP = {Failure.CODE: 3, Failure.DISK: 3, Failure.INPUT: 3, Failure.INFRASTRUCTURE: 8, Failure.DIED: 8}
"""So many trials that fail alike in their code stop the sweep, and so many attempts that end by the others in a row,
whosever they are, with no epoch between them."""


@dataclass(frozen=True)
class End:
    """How an attempt ended that left no verdict."""

    attempt: int
    failure: Failure
    error: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"failure": str(self.failure), "error": self.error}


class InfrastructureError(RuntimeError):
    """The node lacks what the plan counts on."""


class InputChangedError(RuntimeError):
    """Data are not those that were planned."""


class PreemptedError(RuntimeError):
    """The machine will be taken away; where training stands is saved."""


_CLASSES: list[tuple[type[Exception] | tuple[type[Exception], ...], Failure]] = [
    (DivergedError, Failure.DIVERGED),
    (torch.OutOfMemoryError, Failure.GPU_MEMORY),
    (MemoryError, Failure.MEMORY),
    ((InputChangedError, DataError, EncoderError), Failure.INPUT),
    (OSError, Failure.DISK),
    (PreemptedError, Failure.PREEMPTED),
    ((InfrastructureError, torch.AcceleratorError), Failure.INFRASTRUCTURE),
]


def class_of(error: BaseException) -> Failure:
    """Return the class of an error that a trial's own code raised."""
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return Failure.MEMORY
    return next((failure for kinds, failure in _CLASSES if isinstance(error, kinds)), Failure.CODE)


def told(error: BaseException) -> str:
    """Return an error in words, without secrets: its own where it is ours, the first of many, else with its type."""
    ours = isinstance(
        error, DivergedError | InfrastructureError | PreemptedError | InputChangedError | DataError | EncoderError
    )
    if not ours:
        return redacted(f"{type(error).__name__}: {error}")[:2000]
    first, *more = str(error).split("\n")  # of data that are gone, a line a file
    return redacted(first + (f" (and {len(more)} problems more)" if more else ""))[:2000]


def unforgiven(ends: Sequence[End], saved_by: int) -> End | None:
    """Return the end by which a trial has failed, None while it may go on.

    `saved_by` is the attempt that wrote the newest whole state, 0 for none.
    """
    for failure, forgiven in FORGIVEN.items():
        since = saved_by if failure in FRUITLESS else 0
        alike = [end for end in ends if end.failure == failure and end.attempt > since]
        if forgiven is not None and len(alike) > forgiven:
            return alike[-1]
    return None


def wait_s(ends: Sequence[End], saved_by: int) -> float:
    """Return the seconds until the next attempt: 0 after a first loss, then 1, 2, 4 ... while nothing is saved."""
    if ends and ends[-1].failure == Failure.PREEMPTED:
        return PREEMPTED_WAIT_S
    return back_off_s(sum(end.attempt > saved_by for end in ends))


def back_off_s(fruitless: int) -> float:
    """Return the seconds to wait after so many fruitless attempts in a row."""
    return min(LONGEST_WAIT_S, 2.0 ** (fruitless - 2)) if fruitless > 1 else 0.0

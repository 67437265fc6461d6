"""What ends a command with one clear line, and the exit code that each gives."""

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")

DONE, FAILED, BAD_INPUT, TRIALS_FAILED, UNREACHABLE, RUNNING_ELSEWHERE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130


ADVICE = "the same command goes on when that one ends, --name gives another sweep"
"""What to do where a sweep is running already."""
MAX_PROBLEMS = 20
"""So many are told at once."""


class SweepError(Exception):
    """An error for the person at the terminal: each line says what is there, what was expected, how to mend it."""

    exit_code = BAD_INPUT


class UnreachableError(SweepError):
    """Ray, MLflow or the database does not answer."""

    exit_code = UNREACHABLE


class RunningElsewhereError(SweepError):
    """Another process drives this sweep."""

    exit_code = RUNNING_ELSEWHERE


def collected(
    action: Callable[[], T], problems: list[str], of: tuple[type[Exception], ...] = (SweepError,)
) -> T | None:
    """Return what an action gives; where it raises one of these errors, add its lines to the problems."""
    try:
        return action()
    except of as error:
        problems += str(error).split("\n")
        return None


def refuse(problems: Iterable[str]) -> None:
    """Raise SweepError where there is a problem: a line each, up to MAX_PROBLEMS."""
    found = list(dict.fromkeys(problems))
    more = [f"and {len(found) - MAX_PROBLEMS} problems more"] if len(found) > MAX_PROBLEMS else []
    if found:
        raise SweepError("\n".join([*found[:MAX_PROBLEMS], *more]))

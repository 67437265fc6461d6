"""What ends a command with one clear line, and the exit code that each gives."""

import errno
from collections.abc import Callable, Iterable
from typing import TypeVar

from model.table_file import escaped

T = TypeVar("T")

DONE, FAILED, BAD_INPUT, TRIALS_FAILED, UNREACHABLE, RUNNING_ELSEWHERE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130


ADVICE = "the same command goes on when that one ends, --name gives another sweep"
"""What to do where a sweep is running already."""
MAX_PROBLEMS = 20
"""So many are told at once."""
UNUSABLE = frozenset({
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR
})  # fmt: skip
"""What the system says of a path that a person has to mend: no fault of ours, and none of the disk."""


class SweepError(Exception):
    """An error for the person at the terminal: each line says what is there, what was expected, how to mend it."""

    exit_code = BAD_INPUT


class UnreachableError(SweepError):
    """Ray, MLflow or the database does not answer."""

    exit_code = UNREACHABLE


class UnforeseenError(SweepError):
    """An error that nobody foresaw."""

    exit_code = FAILED


class RunningElsewhereError(SweepError):
    """Another process drives this sweep."""

    exit_code = RUNNING_ELSEWHERE


def collected(
    action: Callable[[], T], problems: list[str], of: tuple[type[Exception], ...] = (SweepError,)
) -> T | None:
    """Return what an action gives; where it raises one of these errors, add its lines to the problems.

    So with a file or folder that the system will not let us use.
    """
    try:
        return action()
    except of as error:
        problems += str(error).split("\n")
    except OSError as error:
        if not is_unusable(error):
            raise
        problems.append(unusable_line(error))
    return None


def is_unusable(error: OSError) -> bool:
    """Return whether it says that a path is not for us: whose it is, where it leads, how long it is."""
    return error.errno in UNUSABLE and error.filename is not None


def unusable_line(error: OSError) -> str:
    """Return such an error as one line."""
    return f"{escaped(str(error.filename))}: cannot be used ({error.strerror})"


def unforeseen(error: Exception) -> str:
    """Return an error that nobody foresaw as one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}; --debug shows the traceback"


def refuse(problems: Iterable[str]) -> None:
    """Raise SweepError where there is a problem: a line each."""
    if found := list(dict.fromkeys(problems)):
        raise SweepError("\n".join(found))

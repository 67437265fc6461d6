"""What ends a command with one clear line, and the exit code that each gives."""

DONE, FAILED, BAD_INPUT, TRIALS_FAILED, UNREACHABLE, RUNNING_ELSEWHERE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130


class SweepError(Exception):
    """An error for the person at the terminal: each line says what is there, what was expected, how to mend it."""

    exit_code = BAD_INPUT


class UnreachableError(SweepError):
    """Ray, MLflow or the database does not answer."""

    exit_code = UNREACHABLE


class RunningElsewhereError(SweepError):
    """Another process drives this sweep."""

    exit_code = RUNNING_ELSEWHERE

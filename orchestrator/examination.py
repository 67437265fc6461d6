"""What is known of a sweep before it starts, and how it is found out: checks in order, each told by what it found."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from model.encoder_files import EncoderError
from model.table_file import DataError
from orchestrator.errors import (
    BAD_INPUT,
    DONE,
    FAILED,
    MAX_PROBLEMS,
    RUNNING_ELSEWHERE,
    UNREACHABLE,
    RunningElsewhereError,
    SweepError,
    UnforeseenError,
    UnreachableError,
    is_unusable,
    unforeseen,
    unusable_line,
)
from orchestrator.inspection import Inspected
from orchestrator.paths import SweepPaths
from orchestrator.request import Request
from orchestrator.spec import LoadedSweep

if TYPE_CHECKING:
    from orchestrator.plan import Draft
    from orchestrator.resources import Machine


@dataclass(kw_only=True)
class Examined:
    """What was asked for, and what the checks so far have found; None where that is not known yet, or is wrong."""

    request: Request
    loaded: LoadedSweep | None = None
    inspected: Inspected | None = None
    machine: "Machine | None" = None
    drafted: "Draft | None" = None
    at_once: int = 0
    """So many trials; 0 while that is not known."""
    why: str = ""
    """Why this profile."""
    paths: SweepPaths = field(init=False)
    wrong: set[str] = field(default_factory=set)
    """Names of the checks that found something wrong."""

    def __post_init__(self) -> None:
        """Place the sweep."""
        self.paths = SweepPaths(self.request.out.resolve(), self.request.name)


Check = tuple[str, Callable[[Examined], list[str]]]
"""A check's name, and what it does: add to what is known and return what a person may want to read of that.

Raises SweepError with a line for each thing that is wrong. Where an earlier check did not find what it needs, [].
"""


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    name: str
    lines: list[str]
    code: int = DONE
    """The exit code that it asks for."""
    error: Exception | None = None
    """What said that something is wrong."""
    note: bool = False
    """Whether it is nothing wrong, and yet to be read."""


def examine(examined: Examined, checks: Sequence[Check]) -> Iterator[Finding]:
    """Make the checks in order, whatever those before them found."""
    for name, check in checks:
        finding = _made(name, check, examined)
        if finding.code != DONE:
            examined.wrong.add(name)
        yield finding


def _made(name: str, check: Callable[[Examined], list[str]], examined: Examined) -> Finding:
    try:
        return Finding(name, check(examined))
    except SweepError as error:
        return Finding(name, str(error).split("\n"), error.exit_code, error)
    except (DataError, EncoderError) as error:
        return Finding(name, str(error).split("\n"), BAD_INPUT, error)
    except Exception as error:  # noqa: BLE001  (what nobody foresaw hides nothing of what others found)
        if isinstance(error, OSError) and is_unusable(error):
            return Finding(name, [unusable_line(error)], BAD_INPUT, error)
        return Finding(name, [unforeseen(error)], FAILED, error)


def require(findings: Iterable[Finding]) -> None:
    """Raise SweepError with up to MAX_PROBLEMS lines of what is wrong, of the class that its exit code says.

    Where a sweep of the name runs already, that alone is told.
    """
    wrong = [finding for finding in findings if finding.code != DONE]
    if elsewhere := [finding for finding in wrong if finding.code == RUNNING_ELSEWHERE]:
        wrong = elsewhere
    if not wrong:
        return
    kind = {UNREACHABLE: UnreachableError, RUNNING_ELSEWHERE: RunningElsewhereError, FAILED: UnforeseenError}
    lines = _problems(line for finding in wrong for line in finding.lines)
    more = [f"and {len(lines) - MAX_PROBLEMS} problems more"] if len(lines) > MAX_PROBLEMS else []
    code = max(wrong, key=lambda finding: finding.code == BAD_INPUT).code
    raise kind.get(code, SweepError)("\n".join([*lines[:MAX_PROBLEMS], *more])) from wrong[0].error


def _problems(lines: Iterable[str]) -> list[str]:
    """Return each problem once, with the lines that belong to it, which begin with a space."""
    found: list[str] = []
    for line in lines:
        if line.startswith(" ") and found:
            found[-1] += f"\n{line}"
        else:
            found.append(line)
    return list(dict.fromkeys(found))

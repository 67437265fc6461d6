"""Raw texts that a person asks a stored model about: how they are given, and which tasks answer them."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.table_file import CELL_LIMIT, escaped, quoted
from model.tasks import Task
from orchestrator.errors import MAX_PROBLEMS, SweepError, refuse

MOST_TEXTS = 10_000
"""Lines of a file of texts: what is larger is a data set."""
NUMBERS = {1: "one text", 2: "two texts"}


@dataclass(frozen=True)
class Texts:
    """What is asked about at once: one text, or the two of a pair."""

    texts: tuple[str, ...]
    given: str
    """Where they stand, for messages: --text, or FILE:LINE."""


def given(texts: Sequence[str], file: str | None) -> list[Texts]:
    """Return what is asked about: `texts` are those of the command line, a `file` has one or a pair a line.

    Raises SweepError for what no model could answer.
    """
    if texts and file is not None:
        raise SweepError("--text and --texts: give one of them")
    if len(texts) > len(NUMBERS):
        raise SweepError(f"--text is given {len(texts)} times; once for a text, twice for a pair, more by --texts FILE")
    asked = [Texts(tuple(texts), "--text")] if texts else []
    if file is not None:
        asked = _lines(file)
    refuse([problem for entry in asked for problem in _wrong(entry)][:MAX_PROBLEMS])
    return asked


def _lines(file: str) -> list[Texts]:
    """Return what a file holds, a line each, the two of a pair with a tab between them; `-` is standard input."""
    name = "standard input" if file == "-" else escaped(file)
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        lines = content.decode("utf-8-sig").removesuffix("\n").split("\n")
    except OSError as error:
        raise SweepError(f"--texts {name}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise SweepError(f"--texts {name}: byte 0x{error.object[error.start]:02X} is not UTF-8") from error
    if len(lines) > MOST_TEXTS:
        raise SweepError(f"--texts {name}: {len(lines):,} lines; at most {MOST_TEXTS:,}, more is a data set (--data)")
    return [
        Texts(tuple(line.removesuffix("\r").split("\t")), f"{name}:{number}")
        for number, line in enumerate(lines, start=1)
    ]


def _wrong(asked: Texts) -> list[str]:
    if len(asked.texts) > len(NUMBERS):
        return [f"{asked.given}: {len(asked.texts)} texts with tabs between them; expected one, or the two of a pair"]
    problems = []
    for text in asked.texts:
        if not any(character.isprintable() and not character.isspace() for character in text):
            problems.append(f"{asked.given} {quoted(text)}: is empty; expected a text")
        elif len(text) > CELL_LIMIT:
            problems.append(f"{asked.given}: a text of {len(text):,} characters; at most {CELL_LIMIT:,}")
        elif any("\ud800" <= character <= "\udfff" for character in text):
            problems.append(f"{asked.given} {quoted(text)}: is not UTF-8")
    return problems


def answering(asked: Sequence[Texts], tasks: Sequence[Task], model: str) -> list[tuple[Texts, list[Task]]]:
    """Return for each what is asked the tasks that take so many texts. Raises SweepError where none does."""
    found, problems = [], []
    for entry in asked:
        fitting = [task for task in tasks if len(task.sentence_columns) == len(entry.texts)]
        found.append((entry, fitting))
        if not fitting:
            known, way = ("two", "twice") if len(entry.texts) == 1 else ("one", "once")
            names = ", ".join(task.name for task in tasks)
            said = f"{NUMBERS[len(entry.texts)]}, and all that {model} knows takes {known} ({names})"
            problems.append(f"{entry.given}: {said}" + (f"; give --text {way}" if entry.given == "--text" else ""))
    refuse(problems[:MAX_PROBLEMS])
    return found

"""What this process logs, or prints as text in one piece, carries no secret, whoever says it: libraries too."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from orchestrator.redaction import redacted


def guard_logs() -> None:
    """Let no library's log line of this process carry a secret."""
    make = logging.getLogRecordFactory()
    if getattr(make, "redacts", False):
        return

    def redacting(*arguments: Any, **named: Any) -> logging.LogRecord:
        record = make(*arguments, **named)
        record.msg, record.args = _message(record), ()
        try:
            if record.exc_info and record.exc_info[0] is not None:
                record.exc_text = redacted(logging.Formatter().formatException(record.exc_info))
            if record.stack_info:
                record.stack_info = redacted(record.stack_info)
        except Exception:  # noqa: BLE001  (as in _message)
            record.exc_text = record.stack_info = "(what it failed with cannot be told)"
        record.exc_info = None
        return record

    redacting.redacts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(redacting)


def _message(record: logging.LogRecord) -> str:
    """Return a log record's message without secrets; never raise, for a log call does not.

    Where format and arguments do not fit, which logging would say on stderr, both stand beside each other.
    """
    for told in (record.getMessage, lambda: f"{record.msg} {record.args!r}"):
        try:
            return redacted(told())
        except Exception:  # noqa: BLE001, S112  (whatever an argument's __str__ raises)
            continue
    return f"(a line of {record.pathname}:{record.lineno} that cannot be told)"


def guard_output() -> None:
    """Let nothing that this process prints carry a secret, whoever prints it: libraries and a person's own code too."""
    sys.stdout, sys.stderr = _guarded(sys.stdout), _guarded(sys.stderr)


@contextmanager
def guarded_output() -> Iterator[None]:
    """Do so for the block's length."""
    before = sys.stdout, sys.stderr
    guard_output()
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class _Guarded:
    """A text stream as it was, but for the secrets in what is written to it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        return self._stream.write(redacted(text) if isinstance(text, str) else text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)


def _guarded(stream: TextIO) -> TextIO:
    return stream if stream is None or isinstance(stream, _Guarded) else cast("TextIO", _Guarded(stream))

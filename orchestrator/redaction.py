"""No secret leaves the process: what is printed, stored or sent has passwords and tokens taken out.

Known by their looks (a URI's user and password, keys of clouds and hubs), and by their place: whatever the environment
holds under a name such as AWS_SECRET_ACCESS_KEY is a secret wherever it turns up.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TextIO, cast
from urllib.parse import quote, quote_plus, urlsplit

STARS = "***"
LOOKS = re.compile(
    r"(?P<uri>://)[^/@\s'\"]+(?=@)"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\bhf_[A-Za-z0-9]{20,}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}\b"
    r"|\bgithub_pat_[A-Za-z0-9_]{20,}\b"
    r"|\bglpat-[A-Za-z0-9_-]{16,}"
    r"|\bxox[a-z]-[A-Za-z0-9-]{10,}"
    r"|\bAIza[A-Za-z0-9_-]{30,}"
    r"|\bsk-[A-Za-z0-9_-]{20,}\b"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+"
    r"|(?P<pem>-----BEGIN [A-Z ]*PRIVATE KEY-----)[\s\S]*?(?=-----END|$)"
    r"|(?P<scheme>\b[Bb]earer\s+|(?i:authorization)['\":= ]{1,5}(?i:basic)\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|(?P<query>[?&](?:token|sig|signature|password|secret|key|api_key|access_token|X-Amz-Signature)=)[^&\s'\"]+"
    r"|(?P<option>--[a-z-]{0,40}(?:password|passwd|secret|token|api-key|access-key)[= ])[^\s'\"]+"
    r"|(?P<field>\b[A-Za-z0-9_]{0,64}(?:TOKEN|_token|(?i:password|passwd|secret|api_?key|(?:access|private|secret)_key))"
    r"\\?['\"]?\s*[=:]\s*\\?['\"]?)[^\s'\"&,;]{4,}"
)
"""What a secret looks like, or what stands before one."""
NAMES = re.compile(
    r"PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIAL|CONNECTION_STRING|_PWD$|_PASS$"
    r"|(^|_)(API_?KEY|ACCESS_KEY|PRIVATE_KEY|KEY|PAT|AUTH)$",
    re.IGNORECASE,
)
"""Names of environment variables that hold secrets."""
PLACES = re.compile(r"(_PATH|_FILE|_DIR|_MODE|_TIMEOUT)$", re.IGNORECASE)
"""Names that hold where a secret is, not it."""
SHORTEST = 6
"""Characters: a shorter value would be taken out of innocent words."""
SHORTEST_LINE = 16
"""The same of a line of a value that has several."""


def redacted(text: str) -> str:
    """Return a text with every secret that is known in it replaced by three stars."""
    for secret in _secrets():
        text = text.replace(secret, STARS)
    return LOOKS.sub(lambda found: f"{next((each for each in found.groups() if each), '')}{STARS}", text)


def bare(uri: str) -> str:
    """Return a URI without the user and password that may stand in it: a link to be opened, a host to be asked."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else uri


def guard_logs() -> None:
    """Let no library's log line of this process carry a secret."""
    make = logging.getLogRecordFactory()
    if getattr(make, "redacts", False):
        return

    def redacting(*arguments: Any, **named: Any) -> logging.LogRecord:
        record = make(*arguments, **named)
        record.msg, record.args = redacted(record.getMessage()), ()
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text, record.exc_info = redacted(logging.Formatter().formatException(record.exc_info)), None
        return record

    redacting.redacts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(redacting)


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


def _secrets() -> tuple[str, ...]:
    """Return what the environment's secrets look like, the longest first."""
    return _forms(
        frozenset(
            value
            for name, value in os.environ.items()
            if NAMES.search(name) and not PLACES.search(name) and len(value) >= SHORTEST and not value.isdigit()
        )
    )


@lru_cache(maxsize=4)
def _forms(values: frozenset[str]) -> tuple[str, ...]:
    """Return values as they stand in texts: as they are, quoted by Python, JSON or a URI, and line by line."""
    found = set(values)
    for value in values:
        found |= {
            value.strip(),
            repr(value)[1:-1],
            json.dumps(value)[1:-1],
            json.dumps(value, ensure_ascii=False)[1:-1],
        }
        found |= {quote(value), quote(value, safe=""), quote_plus(value)}
        lines = value.split("\n")
        found |= {line.strip() for line in lines if len(lines) > 1 and len(line.strip()) >= SHORTEST_LINE}
    return tuple(sorted((form for form in found if len(form) >= SHORTEST), key=len, reverse=True))

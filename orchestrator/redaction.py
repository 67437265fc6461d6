"""No secret leaves the process: what is printed, stored or sent has passwords and tokens taken out.

Known by their looks (a URI's user and password, keys of clouds and hubs), and by their place: whatever the environment
holds under a name such as AWS_SECRET_ACCESS_KEY is a secret wherever it turns up.
"""

import logging
import os
import re
from typing import Any

STARS = "***"
LOOKS = re.compile(
    r"(?P<uri>://)[^/@\s'\"]+(?=@)"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\bhf_[A-Za-z0-9]{20,}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}\b"
    r"|\bgithub_pat_[A-Za-z0-9_]{20,}\b"
    r"|\bsk-[A-Za-z0-9_-]{20,}\b"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+"
    r"|(?P<bearer>\b[Bb]earer\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|(?P<query>[?&](?:token|sig|signature|password|secret|key|api_key|access_token|X-Amz-Signature)=)[^&\s'\"]+"
    r"|(?P<field>\b[A-Za-z0-9_]*(?:PASSWORD|SECRET|TOKEN|API_KEY|ACCESS_KEY|password|secret_key|api_key)"
    r"['\"]?\s*[=:]\s*['\"]?)[^\s'\"&,;]{4,}"
)
"""What a secret looks like, or what stands before one."""
NAMES = re.compile(
    r"PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|(^|_)(API_?KEY|ACCESS_KEY|PRIVATE_KEY|KEY|PAT|AUTH)$", re.IGNORECASE
)
"""Names of environment variables that hold secrets."""
PLACES = re.compile(r"(_PATH|_FILE|_DIR|_MODE|_TIMEOUT)$", re.IGNORECASE)
"""Names that hold where a secret is, not it."""
SHORTEST = 6
"""Characters: a shorter value would be taken out of innocent words."""


def redacted(text: str) -> str:
    """Return a text with every secret that is known in it replaced by three stars."""
    for secret in _secrets():
        text = text.replace(secret, STARS)
    return LOOKS.sub(lambda found: f"{next((each for each in found.groups() if each), '')}{STARS}", text)


def masked(uri: str) -> str:
    """Return a URI as it may be shown."""
    return redacted(uri)


def guard_logs() -> None:
    """Let no library's log line of this process carry a secret."""
    make = logging.getLogRecordFactory()
    if getattr(make, "redacts", False):
        return

    def redacting(*arguments: Any, **named: Any) -> logging.LogRecord:
        record = make(*arguments, **named)
        record.msg, record.args = redacted(record.getMessage()), ()
        return record

    redacting.redacts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(redacting)


def _secrets() -> list[str]:
    """Return the values of the environment's secrets, the longest first."""
    found = {
        value
        for name, value in os.environ.items()
        if NAMES.search(name) and not PLACES.search(name) and len(value) >= SHORTEST and not value.isdigit()
    }
    return sorted(found, key=len, reverse=True)

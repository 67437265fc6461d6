"""No secret leaves the process: what is printed, stored or sent has passwords and tokens taken out.

Known by their looks (keys of clouds and hubs), by their place (a URI's user and password, a field, header or option of
such a name), and by the environment: what it holds under a name such as AWS_SECRET_ACCESS_KEY is a secret wherever it
turns up. Where that value is weak, a plain word of fewer than twelve letters, it is taken out as a whole word alone:
with POSTGRES_PASSWORD=postgres, "postgresql" stays. A value that is a word of this project (ORDINARY, as "sentiment")
is taken out by its place alone, in "password=sentiment": so easy a password is given up, lest leaderboards and the
commands that resume a sweep have stars. What somebody named a sweep or a task is not known here: a name that equals a
weak secret is starred.
"""

import json
import os
import re
from functools import lru_cache
from urllib.parse import quote, quote_plus

STARS = "***"
_URI = re.compile(r"://((?:(?!://)[^\s'\"])+)")
_URI_QUERY = re.compile(r"\?[\w.-]+=")
_HOST_END = re.compile(r"[/?#]")
_HOST_AND_PORT = re.compile(r"\[[^\]@]*\](:\d{0,5})?|[^:@]*:\d{1,5}")
_BETWEEN = r"\\{0,7}['\"]?\s*[=:]\s*"
"""What stands between a field's name and its value; backslashes where the text was quoted before."""
_QUOTED = r"(?P<quote>\\{0,7}['\"])(?:[^\\'\"\n]|(?!(?P=quote))\\*+['\"]|\\++(?!['\"]))++(?=(?P=quote))"
_NEXT = r"\\(?![nrt][\w-]{1,64}\\{0,7}['\"]?\s?[=:])"
"""A backslash, unless it stands for the end of a quoted text's line and another field follows."""
_OPTION = r"--[a-z_-]{0,40}(?:password|passwd|passphrase|secret|token|(?:api|access)[_-]key)"
LOOKS = re.compile(
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\bhf_[A-Za-z0-9]{20,}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}\b"
    r"|\bgithub_pat_[A-Za-z0-9_]{20,}\b"
    r"|\bglpat-[A-Za-z0-9_-]{16,}"
    r"|\bxox[a-z]-[A-Za-z0-9-]{10,}"
    r"|\bAIza[A-Za-z0-9_-]{30,}"
    r"|\bsk-[A-Za-z0-9_-]{20,}\b"
    r"|(?<![\w-])eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+"
    r"|(?P<pem>-----BEGIN [A-Z ]*PRIVATE KEY-----)[\s\S]*?(?=-----END|$)"
    r"|(?P<scheme>\b[Bb]earer\s+|(?i:authorization)['\":= \\]{1,9}(?i:basic|token)\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|(?P<query>[?&](?:token|sig|signature|password|secret|key|api_key|access_token|X-Amz-Signature)=)"
    rf"(?:[^&\s'\"\\]|{_NEXT})+"
    rf"|(?P<argument>(?<='){_OPTION}=)[^'\n]+"
    rf"|(?:(?P<option>(?<![a-z-]){_OPTION}[= ])"
    r"|(?P<field>"
    r"(?:TOKEN|[_-][Tt]oken|[A-Z0-9]_(?:KEY|PAT|AUTH|PASS)"
    r"|(?i:passw(?:or)?d|passphrase|secret|api[_-]?key|(?:access|account|private|secret)[_-]?key))" + _BETWEEN +
    rf"|;\s?(?i:pwd)\s*=\s*|(?i:pwd){_BETWEEN}(?!\\{{0,7}}['\"]?/)))"
    rf"(?:{_QUOTED}|(?P<half>\\{{0,7}}['\"])?"
    rf"(?(option)(?:[^\s'\"\\]|{_NEXT})+|(?:[^\s'\"&,;\\]|{_NEXT}){{4,}}))"
)  # fmt: skip
"""What a secret looks like, or in groups what stands before one. PWD with a path is the shell's current folder."""
NAMES = re.compile(
    r"PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKENS?\d*(_|$)|CREDENTIAL|CONNECTION_STRING|_PWD$|_PASS$"
    r"|(^|_)(API_?KEY|ACCESS_KEY|PRIVATE_KEY|KEY|PAT|AUTH)$",
    re.IGNORECASE,
)
"""Names of environment variables that hold secrets."""
PLACES = re.compile(r"(_PATH|_FILE|_DIR|_CACHE|_MODE|_TYPE|_TIMEOUT)$", re.IGNORECASE)
"""Names that hold where a secret is, or of what kind, not it."""
SHORTEST = 6
"""Characters: a shorter value would be taken out of innocent words."""
SHORTEST_LINE = 16
"""The same of a line of a value that has several."""
WEAK = re.compile(r"[A-Za-z]?[a-z]{0,10}|[A-Z]{0,11}")
"""A value that may be part of an innocent word."""
ORDINARY = frozenset({
    "sentiment", "paraphrase", "similarity", "dropout", "encoder", "encoding", "epochs", "layers", "learning",
    "sampling", "weight", "weights", "unfrozen", "activation", "pooler", "precision", "prefix", "normalisation",
    "proportional", "uniform", "annealed", "separate", "cosine", "tokens", "batches", "orchestrator", "search",
    "spaces", "search_spaces", "predict", "export", "rebuild", "doctor", "python", "trials", "tracking", "baseline",
    "config", "leaderboard", "question", "checkpoint", "checkpoints", "accuracy", "pearson", "objective", "random",
    "laptop", "running", "completed", "pruned", "failed", "interrupted", "mlflow", "optuna", "sqlite",
    "authorization", "bearer", "secret", "password", "default", "enabled", "disabled", "common", "examples", "format",
    "losses",
})  # fmt: skip
"""Words of this project: as values they are no secrets, whatever their variable's name is."""


def redacted(text: str) -> str:
    """Return a text with every secret that is known in it replaced by three stars."""
    secrets, weak = _secrets()
    for secret in secrets:
        text = text.replace(secret, STARS)
    text = _URI.sub(_without_user, text)
    text = LOOKS.sub(lambda found: f"{''.join(filter(None, found.groups()))}{STARS}", text)
    return weak.sub(STARS, text) if weak else text


def bare(uri: str) -> str:
    """Return a URI without the user and password that may stand in it: a link to be opened, a host to be asked."""
    scheme, mark, rest = uri.partition("://")
    return f"{scheme}{mark}{rest[_user_end(scheme, rest) + 1 :]}"


def _without_user(found: re.Match[str]) -> str:
    end = _user_end(found.string[max(0, found.start() - 5) : found.start()], found[1])
    return f"://{STARS}{found[1][end:]}" if end > 0 else found[0]


def _user_end(scheme: str, rest: str) -> int:
    """Return where in what follows a URI's :// the @ stands that ends user and password, -1 where there are none.

    A password that was not escaped may hold @, / and #: where a colon stands before the first of them, the last @
    before a query is meant, though a path should hold it. An @ in the path of a URI without a password is left, and
    so is one after a web address's port.
    """
    rest = _URI_QUERY.split(rest, maxsplit=1)[0]
    host = _HOST_END.split(rest, maxsplit=1)[0]
    if ":" not in host.partition("@")[0]:
        return host.rfind("@")
    if scheme.lower().endswith(("http", "https")) and _HOST_AND_PORT.fullmatch(host):
        return -1
    return rest.rfind("@")


def _secrets() -> tuple[tuple[str, ...], re.Pattern[str] | None]:
    """Return what the environment's secrets look like, the longest first, and what finds the weak ones."""
    values = frozenset(
        value
        for name, value in os.environ.items()
        if NAMES.search(name) and not PLACES.search(name) and len(value) >= SHORTEST and not value.isdigit()
    )
    values = frozenset(value for value in values if value.strip().casefold() not in ORDINARY)
    weak = frozenset(value for value in values if WEAK.fullmatch(value.strip()))
    return _forms(values - weak), _whole_words(weak)


@lru_cache(maxsize=4)
def _whole_words(values: frozenset[str]) -> re.Pattern[str] | None:
    """Return what finds values that are no part of a longer word; n of a quoted line's end is none, nor is %3D."""
    words = "|".join(sorted(value.strip() for value in values if len(value.strip()) >= SHORTEST))
    before = r"(?:(?<!\w)|(?<=\\[nrt])|(?<=%[0-9A-Fa-f][0-9A-Fa-f]))"
    return re.compile(rf"{before}(?:{words})(?!\w)", re.ASCII) if words else None


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
        octets = value.encode(errors="surrogateescape")  # the environment may hold what is no UTF-8
        found |= {quote(octets), quote(octets, safe=""), quote_plus(octets)}
        lines = value.split("\n")
        found |= {line.strip() for line in lines if len(lines) > 1 and len(line.strip()) >= SHORTEST_LINE}
    return tuple(sorted((form for form in found if len(form) >= SHORTEST), key=len, reverse=True))

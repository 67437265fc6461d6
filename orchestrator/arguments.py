"""What a person writes on the command line, read into a Request; what is wrong with it is kept there, to be told."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.table_file import escaped
from orchestrator.errors import refuse
from orchestrator.paths import NAME_PATTERN, RESERVED
from orchestrator.request import Request

PYTHON_CONSTANTS = {"True": True, "False": False, "None": None}
"""As a search-space file has them."""


def request(
    *, file: Path, name: str | None, out: str, pairs: Sequence[str], fields: dict[str, Any], **others: Any
) -> Request:
    """Return what is asked for: `pairs` are FIELD=VALUE, `fields` config fields that have options of their own.

    Raises SweepError where a path holds a line's end or the like: no line could tell of it.
    """
    places = {"search space": str(file), "--out": out, "--data": others["data"], "--encoder": others["encoder"]}
    refuse(
        f"{option} '{escaped(place)}': has a line's end or a control character in its name; rename it"
        for option, place in places.items()
        if place and not place.isprintable()
    )
    problems: list[str] = []
    called = file.stem if name is None else name
    if wrong := _wrong_name(called):
        problems.append(f"--name {called!r}: {wrong}")
        called = "unnamed"
    settings = {key: value for key, value in fields.items() if value is not None} | _settings(pairs, problems)
    for option in [option for option, value in others.items() if value == ""]:
        problems.append(f"--{option.replace('_', '-')} '': is empty; leave it out, or name something")
        others[option] = None
    for option, value in others.items():
        if isinstance(value, float) and not math.isfinite(value):
            problems.append(f"--{option.replace('_', '-')} {value}: expected a number that ends")
            others[option] = None if option != "prefix_cache_gb" else 0.0
    folder = _folder(out, problems)
    return Request(
        file=file, name=called, out=folder or Path.cwd(), out_is_known=folder is not None, settings=settings,
        problems=tuple(problems), **others,
    )  # fmt: skip


def _folder(out: str, problems: list[str]) -> Path | None:
    """Return the folder for results, None where that is impossible."""
    if out == "":
        problems.append("--out '': is empty; leave it out, or name a folder")
        return None
    try:
        whole = str(Path(out).resolve())
    except (OSError, RuntimeError, ValueError) as error:  # the second, of a link that leads to itself
        problems.append(f"--out {out!r}: leads nowhere ({error}); name another folder")
        return None
    if set(whole) & set("?%"):
        problems.append(f"--out {out!r}: a database's URI cannot hold its ? or %; name another folder")
        return None
    return Path(out)


def _wrong_name(name: str) -> str | None:
    if not NAME_PATTERN.fullmatch(name):
        return "expected 1 to 64 of A-Z a-z 0-9 . _ -, not starting with . or -"
    return "OUT has something of its own of that name; take another" if name in RESERVED else None


def _settings(pairs: Sequence[str], problems: list[str]) -> dict[str, Any]:
    """Return FIELD=VALUE pairs with values read as JSON, or as Python writes it, where they are that; else as text."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        field, equals, text = pair.partition("=")
        if not equals or not field:
            problems.append(f"--set {pair!r}: expected FIELD=VALUE, as in --set learning_rate=1e-4")
        elif field in settings:
            problems.append(f"--set {field} is given twice")
        else:
            try:
                settings[field] = json.loads(text)
            except (ValueError, RecursionError):
                settings[field] = PYTHON_CONSTANTS.get(text, text)
    return settings

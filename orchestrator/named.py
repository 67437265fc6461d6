"""A sweep that somebody names: whether there is one. Nothing heavy is loaded for it."""

from difflib import get_close_matches
from pathlib import Path

from orchestrator.errors import SweepError
from orchestrator.paths import NAME_PATTERN, SweepPaths


def require_sweep(name: str, out: Path) -> None:
    """Raise SweepError where OUT has no sweep of that name, with the names of those it has."""
    if NAME_PATTERN.fullmatch(name) and SweepPaths(out, name).plan.is_file():
        return
    found = sorted(plan.parent.name for plan in out.glob("*/plan.json"))
    close = get_close_matches(Path(name).stem, found, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    there = f"there are {', '.join(found[:20])}" if found else "no sweep is there"
    raise SweepError(f"{name!r}: no such sweep in {out}; {hint}{there}; --out names another folder")

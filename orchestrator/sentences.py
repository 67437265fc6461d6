"""What a leaderboard says beside its ranking, in sentences: what sharing does to the tasks, which parameters matter."""

from collections.abc import Mapping
from typing import Any

from evidence.importance import Finding
from evidence.sharing import Outcome
from orchestrator.tables import titles

PAIRS_SHOWN = 6
"""Of a task alone and shared, that get a line."""
WORTH_SAYING = 0.001
"""Of a score: what the third digit shows."""


def on_sharing(board: Mapping[str, Any]) -> list[str]:
    """Say of each task that was trained alone what sharing costs it or brings it; a line a pair."""
    lines = []
    for found in board.get("transfer", ()):
        several = sum(other["task"] == found["task"] for other in board.get("transfer", ())) > 1
        alone, shared = (f" (trial {found[side]:04d})" if several else "" for side in ("alone", "shared"))
        costs = found["difference"] < 0
        low, high = (-found["high"], -found["low"]) if costs else (found["low"], found["high"])
        noise = ", which may be noise" if found["verdict"] == Outcome.NOISE else ""
        lines.append(
            f"Trained alone{alone}, {found['task']} reaches {found['alone_score']:.3f} and shared{shared} "
            f"{found['shared_score']:.3f}{_at_its_best(found)}: sharing {'costs' if costs else 'brings'} it "
            f"{abs(found['difference']):.3f}{noise} ({low:.3f} to {high:.3f})."
        )
    more = len(lines) - PAIRS_SHOWN
    return [*lines[:PAIRS_SHOWN], *([f"{more} more such pairs are in leaderboard.json."] if more > 0 else [])]


def _at_its_best(found: Mapping[str, Any]) -> str:
    """Return what the shared model reaches where this task's score chooses its epoch too, if that is more."""
    own = found["shared_own_best"]
    if own is None or own["score"] < found["shared_score"] + WORTH_SAYING:
        return ""
    return f" ({own['score']:.3f} at its own best epoch, {own['epoch']})"


def on_importance(board: Mapping[str, Any]) -> list[str]:
    """Say which parameters move the score by more than noise, in a line; none where nothing varies."""
    named = dict(zip(board["varies"], titles(board["varies"], ()), strict=True))
    said = {finding: [e for e in board.get("importances", ()) if e["finding"] == finding] for finding in Finding}
    parts = [
        f"{named[e['parameter']]} moves the score by {e['effect']:.3f}, noise alone by up to {e['floor']:.3f}"
        for e in said[Finding.MATTERS]
    ]
    if together := said[Finding.NOT_APART]:
        effects = " and ".join(f"{named[e['parameter']]} ({e['effect']:.3f})" for e in together)
        parts.append(f"{effects} cannot be told apart from what varies with {'it' if len(together) == 1 else 'them'}")
    if quiet := said[Finding.NOISE]:
        parts.append(f"{' and '.join(named[e['parameter']] for e in quiet)} within noise")
    known = "" if board.get("seed_sd") is not None else " (beyond the noise of examples; that of seeds is not known)"
    return [f"What matters{known}: {'; '.join(parts)}."] if parts else []

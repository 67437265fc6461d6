"""A sweep's description in MLflow: the three lines that stand before "Show more" say who, by how much, and where."""

from collections.abc import Mapping
from typing import Any

from orchestrator.confirmation import alias_said, champion_row
from orchestrator.mlflow_client import BEST_DEV, CHAMPION
from orchestrator.show import named, verdict
from orchestrator.show_confirmation import sentence

BREAK = "  \n"
"""Ends a line and not a paragraph, in Markdown."""


def description(
    board: Mapping[str, Any], majority: float | None, link: str, *, ended: bool, fallback: str | None = None
) -> str:
    """Return the description of a sweep that has ended, or of one that still runs, in Markdown.

    `link` opens the leaderboard's saved view, `fallback` the same runs without it.
    """
    said = verdict(board, majority).splitlines()
    found = board["confirmation"]
    champion = champion_row(found) if found else None
    if champion is None:
        who, by, more = said[0], said[1] if len(said) > 1 else "", said[2:]
    else:
        row = next((row for row in board["rows"] if row["trial"] == champion["search_trial"]), None)
        who = f"{named(board, row)} is" if row else "Nothing was shown to be better: the baseline is"
        elsewhere = alias_said(found)
        who += f" {'ahead' if elsewhere else 'champion'}, {champion['mean']:.4f} over {champion['seeds']} fresh seeds"
        who += f"; {elsewhere}." if elsewhere else "."
        best = next((row for row in found["rows"] if not row["is_baseline"]), champion)
        by, more = sentence(board["varies"], champion if row else best), said
    if not ended:
        over = sum(trial["state"] != "running" for trial in board["trials"])
        who = f"So far ({over} trials have ended): {who}"
    alias = CHAMPION if champion and alias_said(found) is None else BEST_DEV
    model = f"models:/{board['sweep']}@{alias}"
    where = f"Checkpoint `{model}` · [leaderboard]({link}) · report.html under Artifacts"
    plain = [f"[The same runs without the saved view]({fallback}), should MLflow not know it."] if fallback else []
    return BREAK.join([f"**{who}**", by, where]) + "\n\n" + BREAK.join([board["question"], *more, *plain])

"""A sweep's leaderboard written anew to its folder and to MLflow: after a confirmation, or where that was lost."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator import show
from orchestrator.console import say
from orchestrator.idle import IdleSweep
from orchestrator.judgement import Judge
from orchestrator.leaderboard import groups, leaderboard, read_trials, write_leaderboard
from orchestrator.mlflow_client import first_line
from orchestrator.paths import SweepPaths
from orchestrator.report_page import draw_report
from orchestrator.tracking import Projection


@dataclass(frozen=True, kw_only=True)
class Published:
    """What was published."""

    projection: Projection
    board: Mapping[str, Any]
    notes: list[str]
    """What a person should know of it."""


def publish(sweep: IdleSweep, tracking_uri: str | None) -> Published:
    """Write a sweep's leaderboard and report where it has ended, and bring MLflow up to date with it.

    The folder comes first: whatever MLflow does, it is written. Raises UnreachableError where MLflow does not answer.
    """
    trials, ended = read_trials(sweep.study, sweep.paths), not sweep.study.is_open()
    majority = show.majority_score(sweep.plan) if ended else None
    judgement = Judge(sweep.plan, sweep.paths).judge(groups(sweep.plan, trials))
    board = leaderboard(sweep.plan, sweep.paths, trials, _known_runs(sweep.paths), judgement)
    if ended:
        write_leaderboard(sweep.paths, board)
        draw(sweep.paths, board, majority)
    projection = Projection(sweep.plan, sweep.paths, tracking_uri)
    projection.sync(trials)
    board = leaderboard(sweep.plan, sweep.paths, trials, projection.runs, judgement)
    if ended:
        write_leaderboard(sweep.paths, board)
        draw(sweep.paths, board, majority, projection.link)
        projection.finish(board, majority)
    return Published(projection=projection, board=board, notes=judgement.notes())


def _known_runs(paths: SweepPaths) -> dict[int, str]:
    """Return the trials' runs in MLflow as the last leaderboard has them."""
    try:
        board = json.loads(paths.leaderboard.read_text(encoding="utf-8"))
        return {row["trial"]: row["mlflow_run"] for row in board["trials"] if row["mlflow_run"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def draw(paths: SweepPaths, board: Mapping[str, Any], majority: float | None, link: str | None = None) -> None:
    """Draw the sweep's report; where that fails, a line says so, and nothing is lost."""
    if undrawn := attempt(lambda: draw_report(paths, board, majority, link)):
        say(f"warning: no report was drawn ({undrawn}); python -m orchestrator.report {paths.name}", to=sys.stderr)


def attempt(action: Callable[[], object]) -> str | None:
    """Do what shows the sweep, in MLflow or in a report; return what went wrong, which costs the sweep nothing."""
    try:
        action()
    except Exception as error:  # noqa: BLE001  (whatever MLflow raises)
        return first_line(error)
    return None

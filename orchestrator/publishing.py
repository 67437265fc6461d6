"""A sweep's leaderboard written anew to its folder and to MLflow: after a confirmation, or where that was lost."""

from collections.abc import Mapping
from typing import Any

from orchestrator import show
from orchestrator.idle import IdleSweep
from orchestrator.leaderboard import groups, leaderboard, read_trials, write_leaderboard
from orchestrator.tracking import Projection


def publish(sweep: IdleSweep, tracking_uri: str | None) -> tuple[Projection, Mapping[str, Any]]:
    """Bring MLflow up to date with a sweep and write its leaderboard where it has ended; return both."""
    projection = Projection(sweep.plan, sweep.paths, tracking_uri)
    trials = read_trials(sweep.study, sweep.paths)
    projection.sync(trials)
    judgement = projection.judge.judge(groups(sweep.plan, trials))
    board = leaderboard(sweep.plan, sweep.paths, trials, projection.runs, judgement)
    if not sweep.study.is_open():
        write_leaderboard(sweep.paths, board)
        projection.finish(board, show.verdict(board, show.majority_score(sweep.plan)))
    return projection, board

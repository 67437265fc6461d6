"""Which trials' weights a sweep keeps: those of its best, and of every registered model. Predictions always stay."""

from collections.abc import Collection, Mapping
from typing import Any

from model.checkpoint import open_checkpoint, release_weights
from model.files import DamagedFileError, remove, remove_abandoned
from orchestrator.paths import SweepPaths, TrialPaths
from orchestrator.trial_files import read_verdict, tidy


def kept_trials(board: Mapping[str, Any], keep: int, registered: Collection[int]) -> set[int]:
    """Return the trials whose weights stay: the first `keep` that completed, and every registered one.

    The leaderboard has the ranked ones first, then those of other tasks.
    """
    completed = [row["trial"] for row in board["trials"] if row["state"] == "completed" and row["checkpoint"]]
    return {*completed[:keep], *registered}


def release(paths: SweepPaths, board: Mapping[str, Any], kept: Collection[int]) -> int:
    """Remove the weights of trials that have ended and are not kept; return the bytes that came free."""
    freed = 0
    for row in board["trials"]:
        if row["trial"] in kept or row["checkpoint"] is None:
            continue
        try:
            checkpoint = open_checkpoint(paths.trial(row["trial"]).root / row["checkpoint"])
            freed += release_weights(checkpoint)
        except DamagedFileError:  # nothing that could be released
            continue
    return freed


def remove_leftovers(paths: SweepPaths) -> None:
    """Remove what killed processes left half-written: of this machine everywhere, in trials that have ended whoever's.

    What another machine writes into an open trial stays: after kill -9 of a driver its workers live on for a while.
    """
    trials = list(paths.root.glob("trials/*"))
    attempts = [attempt for trial in trials for attempt in trial.glob("attempt-*")]
    shared = [paths.out, paths.token_cache, paths.encoders, paths.prefix_cache]
    for folder in [*shared, paths.root, *trials, *attempts]:
        remove_abandoned(folder)
    for trial in trials:
        if (verdict := read_verdict(TrialPaths(trial))) is not None:
            tidy(TrialPaths(trial), verdict)
            for path in (*trial.glob(".*"), *trial.glob("attempt-*/.*"), *trial.glob("attempt-*/best-*/.*")):
                remove(path)

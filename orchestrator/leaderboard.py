"""The leaderboard: the trials of a sweep by rank, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model.config import config_to_dict
from model.files import write_json
from orchestrator.paths import SweepPaths
from orchestrator.plan import Plan
from orchestrator.study import TrialStudy
from orchestrator.trial_files import history, read_verdict


@dataclass(frozen=True)
class TrialRecord:
    """One trial, from the study and its folder."""

    number: int
    state: str
    """running, completed, pruned or failed."""
    config: dict[str, Any]
    history: list[dict[str, Any]]
    best: Mapping[str, Any] | None
    failure: str | None = None
    error: str | None = None
    trainable_params: int | None = None


def read_trials(study: TrialStudy, paths: SweepPaths, known: dict[int, TrialRecord] | None = None) -> list[TrialRecord]:
    """Return every trial that exists, in the order of their numbers.

    Whoever asks often passes the same dict each time: trials that have ended are kept in it, and not read again.
    """
    known = {} if known is None else known
    ended, failures = study.ended(), study.failures()
    records = []
    for number, config in sorted(study.configs().items()):
        if number in known:
            records.append(known[number])
            continue
        folder = paths.trial(number)
        verdict = (read_verdict(folder) if number in ended else None) or {}
        entries = verdict.get("history") or history(folder)
        best = max(entries, key=lambda entry: entry["dev_score"], default=None)
        records.append(
            TrialRecord(
                number=number,
                state=ended.get(number, "running"),
                config=config_to_dict(config),
                history=entries,
                best=verdict.get("best") or best,
                failure=verdict.get("failure") or failures.get(number, (None, None))[0],
                error=verdict.get("error") or failures.get(number, (None, None))[1],
                trainable_params=verdict.get("trainable_params"),
            )
        )
        if number in ended:
            known[number] = records[-1]
    return records


def leaderboard(
    plan: Plan, paths: SweepPaths, trials: Sequence[TrialRecord], runs: Mapping[int, str] | None = None
) -> dict[str, Any]:
    """Return the leaderboard of a sweep; `runs` names the trials' MLflow runs.

    Equal runs give equal values but for train_seconds, checkpoint and mlflow_run. A function of the trials,
    whatever order they ended in.
    """
    trials = sorted(trials, key=lambda trial: trial.number)
    ranked = sorted(
        (trial for trial in trials if trial.state == "completed" and trial.best),
        key=lambda trial: (-_best(trial)["dev_score"], trial.number),
    )
    # A pruned trial has a score, but of fewer epochs: it comes after those that were trained to their end, unranked.
    pruned = sorted((t for t in trials if t.state == "pruned"), key=lambda t: (-_best(t)["dev_score"], t.number))
    others = [trial for trial in trials if trial not in ranked and trial.state != "pruned"]
    top = _best(ranked[0])["dev_score"] if ranked else None
    return {
        "sweep": plan.name,
        "question": plan.question,
        "objective": "dev_score",
        "baseline": next((t.number for t in trials if t.config == plan.baseline), None),
        "varies": plan.varies,
        "rows": [
            *(_row(paths, trial, rank, top, runs or {}) for rank, trial in enumerate(ranked, start=1)),
            *(_row(paths, trial, None, top, runs or {}) for trial in pruned),
            *(_row(paths, trial, None, None, runs or {}) for trial in others),
        ],
    }


def write_leaderboard(paths: SweepPaths, board: Mapping[str, Any]) -> None:
    """Write leaderboard.json."""
    write_json(paths.leaderboard, board)


def _best(trial: TrialRecord) -> Mapping[str, Any]:
    assert trial.best is not None
    return trial.best


def _row(
    paths: SweepPaths, trial: TrialRecord, rank: int | None, top: float | None, runs: Mapping[int, str]
) -> dict[str, Any]:
    best = trial.best if trial.state in ("completed", "pruned") else None
    checkpoint = paths.trial(trial.number).root / best["checkpoint"] if best else None
    return {
        "rank": rank,
        "trial": trial.number,
        "state": trial.state,
        **({"failure": trial.failure, "error": trial.error} if trial.state == "failed" else {}),
        "config": trial.config,
        "best": best["dev_score"] if best else None,
        "gap": top - best["dev_score"] if best and top is not None else None,
        "best_epoch": best["epoch"] if best else None,
        **{task: best["scores"][task] if best else None for task in trial.config["tasks"]},
        "train_seconds": round(sum(entry["train_seconds"] for entry in trial.history), 2),
        "trainable_params": trial.trainable_params,
        "checkpoint": str(checkpoint) if checkpoint else None,
        "mlflow_run": runs.get(trial.number),
    }

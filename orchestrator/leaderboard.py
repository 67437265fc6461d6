"""The leaderboard: the trials of a sweep by rank, as plain values."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from model.config import config_to_dict
from model.files import write_json
from orchestrator.errors import SweepError
from orchestrator.openings import result_of
from orchestrator.paths import SweepPaths
from orchestrator.plan import Plan
from orchestrator.study import TrialStudy
from orchestrator.trial_files import history, read_verdict

if TYPE_CHECKING:
    from orchestrator.judgement import Judgement

log = logging.getLogger(__name__)
RANKED = ("completed", "pruned")
"""States of trials that have a score to show."""
JUDGED = (
    "ci_low", "ci_high", "difference", "difference_low", "difference_high", "p", "verdict", "expected",
    "p_beats_baseline",
)  # fmt: skip
"""Columns of a row that a judgement gives."""
CONFIRMED = {"confirmed": "verdict", "confirm_mean": "mean", "confirm_sd": "sd", "confirm_seeds": "seeds"}
"""Columns of a row that a confirmation gives, and their names there; its scores are on fresh seeds alone."""
OTHER_TASKS = "other tasks"
"""Verdict on a config with other tasks than the baseline: their dev scores are means over different things."""


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

    Whoever asks often passes the same dict each time: what is in it is not read again, until a trial has ended or the
    study has an epoch of it more.
    """
    known = {} if known is None else known
    ended, epochs = study.ended(), study.epochs()
    for number, record in list(known.items()):
        if record.state == "running" and (number in ended or epochs[number] > len(record.history)):
            del known[number]
    failures = study.failures(but=known)
    for number, config in study.configs(but=known).items():
        folder = paths.trial(number)
        verdict = (read_verdict(folder) if number in ended else None) or {}
        entries = [entry for entry in verdict.get("history") or history(folder) if _is_number(entry, number)]
        best = max(entries, key=lambda entry: entry["dev_score"], default=None)
        known[number] = TrialRecord(
            number=number,
            state=ended.get(number, "running"),
            config=config_to_dict(config),
            history=entries,
            best=verdict.get("best") or best,
            failure=verdict.get("failure") or failures.get(number, (None, None))[0],
            error=verdict.get("error") or failures.get(number, (None, None))[1],
            trainable_params=verdict.get("trainable_params"),
        )
    return [known[number] for number in sorted(known)]


def _is_number(entry: Mapping[str, Any], trial: int) -> bool:
    """Return whether an epoch's scores are numbers: what is not never enters, whatever was written there."""
    scores = (entry["dev_score"], *entry["scores"].values())
    if wrong := [score for score in scores if not math.isfinite(score)]:
        log.warning("trial %04d: epoch %s has a score of %s; it is left out", trial, entry["epoch"], wrong[0])
    return not wrong


@dataclass(frozen=True)
class Group:
    """The trials of one config: the repeats on other seeds where the sweep has them, and equal configs."""

    key: str
    trials: Sequence[TrialRecord]
    """By number."""
    is_baseline: bool
    comparable: bool = True
    """Whether it has the baseline's tasks; others are neither ranked nor judged."""

    @property
    def completed(self) -> list[TrialRecord]:
        """Return those that were trained to their end, one a seed: an equal one brings no news."""
        whole = {t.config["seed"]: t for t in reversed(self.trials) if t.state == "completed" and t.best}
        return sorted(whole.values(), key=lambda trial: trial.number)

    @property
    def shown(self) -> TrialRecord:
        """Return the trial that stands for the config: the first that completed, else the first."""
        return next(iter(self.completed), self.trials[0])

    @property
    def scores(self) -> list[float]:
        """Return the best dev scores of the completed trials."""
        return [_best(trial)["dev_score"] for trial in self.completed]


def own_best(group: Group) -> dict[str, dict[str, float]]:
    """Return each task's own best score over the epochs, {task: {"score", "epoch"}}, in the task's metric.

    Of several seeds it is the best of the mean over the seeds by epoch, and not the mean of their bests. The first
    epoch counts where two are equal; none where no trial has a score to show.
    """
    whole = group.completed or [trial for trial in (group.shown,) if trial.state in RANKED]
    by_epoch = [
        (entries[0]["epoch"], {task: mean(entry["scores"][task] for entry in entries) for task in entries[0]["scores"]})
        for entries in zip(*(trial.history for trial in whole), strict=False)
    ]
    found = {}
    for task in group.shown.config["tasks"] if by_epoch else ():
        epoch, scores = max(by_epoch, key=lambda each: each[1][task])
        found[task] = {"score": scores[task], "epoch": epoch}
    return found


def groups(plan: Plan, trials: Sequence[TrialRecord]) -> list[Group]:
    """Return the trials by config, in the order of their first ones."""
    found: dict[str, list[TrialRecord]] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        found.setdefault(config_key(trial.config, seedless=plan.seeds > 1), []).append(trial)
    baseline = config_key(plan.baseline, seedless=plan.seeds > 1)
    return [Group(key, members, key == baseline, comparable(plan, members[0].config)) for key, members in found.items()]


def comparable(plan: Plan, config: Mapping[str, Any]) -> bool:
    """Return whether a plain config has the baseline's tasks, in whatever order."""
    return set(config["tasks"]) == set(plan.baseline["tasks"])


def config_key(config: Mapping[str, Any], *, seedless: bool) -> str:
    """Return what trials of one config share: all of it, or all but the seed where configs are repeated."""
    return json.dumps({name: value for name, value in config.items() if name != "seed" or not seedless}, sort_keys=True)


def leaderboard(
    plan: Plan,
    paths: SweepPaths,
    trials: Sequence[TrialRecord],
    runs: Mapping[int, str] | None = None,
    judgement: "Judgement | None" = None,
) -> dict[str, Any]:
    """Return the leaderboard of a sweep: a row a config, and the trials behind them; `runs` are the trials' in MLflow.

    Equal runs give equal values but for train_seconds, checkpoint and mlflow_run. A function of the trials,
    whatever order they ended in. Without a judgement its columns are None. Configs with other tasks than the baseline
    come after those that are ranked, without rank and gap.
    """
    trials = sorted(trials, key=lambda trial: trial.number)
    configs = groups(plan, trials)
    ranked = sorted(
        (group for group in configs if group.completed and group.comparable),
        key=lambda group: (-mean(group.scores), group.shown.number),
    )
    others = [group for group in configs if group.completed and not group.comparable]
    # A pruned trial has a score, but of fewer epochs: it comes after those that were trained to their end, unranked.
    rest = [group for group in configs if not group.completed]
    pruned = sorted(
        (group for group in rest if group.shown.state == "pruned"),
        key=lambda group: (-_best(group.shown)["dev_score"], group.shown.number),
    )
    top = mean(ranked[0].scores) if ranked else None
    found = _read_json(paths.confirmed) if paths.stage == "search" else None
    by_key = {config_key(row["config"], seedless=True): row for row in (found or {}).get("rows", ())}

    def confirmed(group: Group) -> dict[str, Any]:
        row = by_key.get(config_key(group.shown.config, seedless=True), {})
        return {name: row.get(of) for name, of in CONFIRMED.items()}

    order = [
        *enumerate(ranked, start=1),
        *((None, group) for group in (*others, *pruned, *(g for g in rest if g.shown.state != "pruned"))),
    ]
    return {
        "sweep": plan.name,
        "question": plan.question,
        "objective": "dev_score",
        "baseline": next((group.shown.number for group in configs if group.is_baseline), None),
        "varies": plan.varies,
        "seeds": plan.seeds,
        "seed_sd": judgement.seed_sd if judgement else None,
        "transfer": list(judgement.transfer) if judgement else [],
        "importances": list(judgement.importances) if judgement else [],
        "rows": [_row(paths, group, rank, top, runs or {}, judgement) | confirmed(group) for rank, group in order],
        "trials": _trial_rows(plan, paths, trials, runs or {}),
        "confirmation": found,
        "test": _test(plan, paths),
    }


def _test(plan: Plan, paths: SweepPaths) -> dict[str, Any] | None:
    """Return what the test set said of a sweep; a record that is damaged costs no leaderboard."""
    if paths.stage != "search":
        return None
    try:
        return result_of(paths.openings, plan.sweep_id)
    except SweepError as error:
        log.warning("%s", error)
        return None


def _read_json(path: Path) -> dict[str, Any] | None:
    """Return the plain values of a file, None where it is not there."""
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return values


def write_leaderboard(paths: SweepPaths, board: Mapping[str, Any]) -> None:
    """Write leaderboard.json."""
    write_json(paths.leaderboard, board)


def _best(trial: TrialRecord) -> Mapping[str, Any]:
    assert trial.best is not None
    return trial.best


def _row(
    paths: SweepPaths,
    group: Group,
    rank: int | None,
    top: float | None,
    runs: Mapping[int, str],
    judgement: "Judgement | None",
) -> dict[str, Any]:
    shown = group.shown
    of_trial = _trial_row(paths, shown, rank, runs)
    whole = group.completed or [shown]
    best = mean(group.scores) if group.completed else of_trial["best"]
    judged = judgement.columns.get(group.key, {}) if judgement else {}
    if not group.comparable and best is not None:
        judged = {"verdict": OTHER_TASKS}
    several = len(group.scores) > 1
    luckiest = max(group.completed, key=lambda trial: (_best(trial)["dev_score"], -trial.number), default=shown)
    return of_trial | {
        "checkpoint": _checkpoint(paths, luckiest),
        "trials": [trial.number for trial in group.trials],
        "seeds": len(group.completed),
        "best": best,
        "gap": top - best if best is not None and top is not None and group.comparable else None,
        **{
            task: mean(_best(trial)["scores"][task] for trial in whole) if best is not None else None
            for task in shown.config["tasks"]
        },
        "own_best": own_best(group),
        **{name: judged.get(name) for name in JUDGED},
        "tied_with_best": group.key in judgement.tied_with_best
        if judgement and judgement.tied_with_best and "ci_low" in judged
        else None,
        "seed_mean": best if several else None,
        "seed_sd": stdev(group.scores) if several else None,
        "train_seconds": round(mean(_seconds(trial) for trial in whole), 2),
    }


def _trial_rows(
    plan: Plan, paths: SweepPaths, trials: Sequence[TrialRecord], runs: Mapping[int, str]
) -> list[dict[str, Any]]:
    """Return a row a trial: those that completed from the best down, then those of other tasks, then the rest."""
    completed = [trial for trial in trials if trial.state == "completed" and trial.best]
    ranked = sorted(
        (trial for trial in completed if comparable(plan, trial.config)),
        key=lambda trial: (-_best(trial)["dev_score"], trial.number),
    )
    others = [trial for trial in completed if not comparable(plan, trial.config)]
    rest = [trial for trial in trials if trial.state != "completed" or not trial.best]
    rows = [_trial_row(paths, trial, rank, runs) for rank, trial in enumerate(ranked, start=1)]
    return rows + [_trial_row(paths, trial, None, runs) for trial in (*others, *rest)]


def _trial_row(paths: SweepPaths, trial: TrialRecord, rank: int | None, runs: Mapping[int, str]) -> dict[str, Any]:
    best = trial.best if trial.state in RANKED else None
    return {
        "rank": rank,
        "trial": trial.number,
        "state": trial.state,
        **({"failure": trial.failure, "error": trial.error} if trial.state == "failed" else {}),
        "config": trial.config,
        "best": best["dev_score"] if best else None,
        "best_epoch": best["epoch"] if best else None,
        **{task: best["scores"][task] if best else None for task in trial.config["tasks"]},
        "train_seconds": _seconds(trial),
        "trainable_params": trial.trainable_params,
        "checkpoint": _checkpoint(paths, trial),
        "mlflow_run": runs.get(trial.number),
    }


def _checkpoint(paths: SweepPaths, trial: TrialRecord) -> str | None:
    """Return where a trial's best checkpoint lies, None where it has no score to show."""
    if not trial.best or trial.state not in RANKED:
        return None
    return str(paths.trial(trial.number).root / trial.best["checkpoint"])


def _seconds(trial: TrialRecord) -> float:
    return round(float(sum(entry["train_seconds"] for entry in trial.history)), 2)

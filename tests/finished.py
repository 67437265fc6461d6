"""Finished sweeps as they lie in OUT/NAME, made up: plan, leaderboard and verdicts, written by what writes them."""

from dataclasses import replace

from evidence.comparisons import Standing
from model.config import config_to_dict
from model.files import write_json
from model.tasks import TASKS, overall_score
from orchestrator.finished import Finished
from orchestrator.judgement import Judgement
from orchestrator.leaderboard import TrialRecord, groups, leaderboard, write_leaderboard
from orchestrator.openings import OPENED, SCORED, write_line
from orchestrator.plan import CONFIG_VERSION, PLAN_VERSION
from orchestrator.trial_files import write_verdict

DATA = {"source": "nowhere", "content": {}, "max_dev_examples": None}
TASK_NAMES = ("sentiment", "paraphrase", "similarity")

PAIR = {
    "task": "sentiment", "alone": 2, "shared": 0, "tasks": ["sentiment", "paraphrase"], "alone_score": 0.5,
    "shared_score": 0.45, "shared_own_best": None, "difference": -0.05, "low": -0.08, "high": -0.02, "verdict": "hurt",
}  # fmt: skip
"""A task alone and shared, as a leaderboard has it."""


def entry(epoch, scores, seconds=10.0, rate=1e-3):
    """Return an epoch of a history, of the tasks' scores in the study's order."""
    named = dict(zip(TASK_NAMES, scores, strict=True))
    return {
        "epoch": epoch, "dev_score": overall_score([TASKS[name] for name in named], named), "scores": named,
        "train_loss": 0.7, "learning_rate": rate * 0.9 ** (epoch - 1), "train_seconds": seconds,
        "evaluation_seconds": 1.0, "ended_at_seconds": 1e9,
    }  # fmt: skip


def trial(number, config, history, state="completed"):
    """Return the record of a trial with this history."""
    best = max(history, key=lambda each: each["dev_score"], default=None)
    return TrialRecord(
        number,
        state,
        config_to_dict(config),
        list(history),
        best and {**best, "checkpoint": f"attempt-1/best-{best['epoch']:04d}"},
        failure="diverged" if state == "failed" else None,
        error="the loss is nan" if state == "failed" else None,
        trainable_params=3_800_000,
    )


def finished(paths, plan, trials, **judged):
    """Return a sweep of these trials as its report reads it; judged by made-up verdicts, intervals of 0.02 a side.

    `judged` is what else is found: importances and transfer.
    """
    tasks = [TASKS[name].to_dict() for name in TASK_NAMES]
    version = PLAN_VERSION * 100 + CONFIG_VERSION
    plan = replace(plan, name=paths.name, version=version, tasks=tasks, data=DATA | plan.data, trials=len(trials))
    columns = {group.key: _columns(group) for group in groups(plan, trials) if group.completed}
    judgement = Judgement(columns=columns, **judged)
    return Finished(
        plan=plan,
        paths=paths,
        board=leaderboard(plan, paths, trials, {}, judgement),
        histories={each.number: each.history for each in trials},
        parameters={each.number: 22_900_000 for each in trials},
    )


def write_sweep(paths, plan, trials, **judged):
    """Write such a sweep to its folder; return its plan."""
    sweep = finished(paths, replace(plan, sweep_id=paths.name), trials, **judged)
    write_json(paths.plan, sweep.plan.to_dict())
    for each in trials:
        how = {"failure": each.failure, "error": each.error} if each.state == "failed" else {"best": each.best}
        said = {"state": each.state, "history": each.history, "parameters": sweep.parameters[each.number], **how}
        write_verdict(paths.trial(each.number), said)
    write_leaderboard(paths, sweep.board)
    return sweep.plan


def write_confirmation(paths, trials, verdicts, *, champion=None):
    """Write what three fresh seeds found of these trials, the baseline first; their scores are 0.6, 0.61 and 0.62."""
    rows = [_confirmed(place, each, said) for place, (each, said) in enumerate(zip(trials, verdicts, strict=True))]
    result = {
        "top": len(rows) - 1, "seeds": 3, "candidates": len(rows) - 1, "searched": 6, "unit": "core seconds",
        "decided": sum(row["verdict"] in ("better", "worse") for row in rows), "spent": 90.0, "spent_a_decision": 45.0,
        "rows": rows, "champion": champion, "crowned": True,
    }  # fmt: skip
    paths.confirmed.parent.mkdir(parents=True, exist_ok=True)
    write_json(paths.confirmed, result)


def write_test(paths, openings=1):
    """Write on the record what the test set said of a winner and the baseline, the same each time it was opened."""
    rows = [{"who": who, "trial": 1, "seeds": 3, "mean": mean} for who, mean in (("winner", 0.58), ("baseline", 0.57))]
    found = {"examples": 72, "rows": rows, "models": {}, "verdict": "tied"}
    found |= {"difference": 0.01, "difference_low": -0.02, "difference_high": 0.04}
    opening = {"sweep": paths.name, "sweep_id": paths.name, "test_set": "ab" * 32, "parts": {"sentiment": "ab" * 32}}
    for number in range(openings):
        name = f"{paths.name}-{number}"
        write_line(paths.openings, opening | {"event": OPENED, "id": name, "opened": "2026-11-26 12:00:00 +0000"})
        write_line(paths.openings, {"event": SCORED, "id": name, "found": found})


def _confirmed(place, record, verdict):
    is_baseline = verdict == "baseline"
    apart = None if is_baseline or verdict is None else 0.01 * place
    return {
        "config": record.config, "is_baseline": is_baseline, "search_trial": None if is_baseline else record.number,
        "trials": [place * 3 + n for n in range(3)], "failed": [], "seeds": 3, "completed_seeds": [1, 2, 3],
        "scores": [0.6, 0.61, 0.62],
        "mean": 0.61, "sd": 0.01, "paired_seeds": 3, "difference": apart,
        "difference_low": None if apart is None else apart - 0.005,
        "difference_high": None if apart is None else apart + 0.005,
        "e_value": 1.0, "verdict": verdict, "train_seconds": 30.0, "best_trial": place * 3,
    }  # fmt: skip


def _columns(group):
    best = group.completed[0].best["dev_score"]
    verdicts = [str(standing) for standing in Standing if standing != Standing.BASELINE]
    return {
        "ci_low": best - 0.02, "ci_high": best + 0.02, "difference": 0.0, "p": 0.5, "expected": best,
        "p_beats_baseline": 0.5,
        "verdict": "baseline" if group.is_baseline else verdicts[group.shown.number % len(verdicts)],
    }  # fmt: skip

"""Finished sweeps as they lie in OUT/NAME, made up: plan, leaderboard and verdicts, written by what writes them."""

from dataclasses import replace

from evidence.comparisons import Standing
from model.config import config_to_dict
from model.files import write_json
from model.tasks import TASKS, overall_score
from orchestrator.finished import Finished
from orchestrator.judgement import Judgement
from orchestrator.leaderboard import TrialRecord, groups, leaderboard, write_leaderboard
from orchestrator.plan import CONFIG_VERSION, PLAN_VERSION
from orchestrator.trial_files import write_verdict

TASK_NAMES = ("sentiment", "paraphrase", "similarity")


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


def finished(paths, plan, trials):
    """Return a sweep of these trials as its report reads it; judged by made-up verdicts, intervals of 0.02 a side."""
    tasks = [TASKS[name].to_dict() for name in TASK_NAMES]
    version = PLAN_VERSION * 100 + CONFIG_VERSION
    plan = replace(plan, name=paths.name, version=version, tasks=tasks, data={"source": "nowhere"}, trials=len(trials))
    judgement = Judgement(columns={group.key: _columns(group) for group in groups(plan, trials) if group.completed})
    return Finished(
        plan=plan,
        paths=paths,
        board=leaderboard(plan, paths, trials, {}, judgement),
        histories={each.number: each.history for each in trials},
        parameters={each.number: 22_900_000 for each in trials},
    )


def write_sweep(paths, plan, trials):
    """Write such a sweep to its folder; return its plan."""
    sweep = finished(paths, plan, trials)
    write_json(paths.plan, sweep.plan.to_dict())
    for each in trials:
        how = {"failure": each.failure, "error": each.error} if each.state == "failed" else {"best": each.best}
        said = {"state": each.state, "history": each.history, "parameters": sweep.parameters[each.number], **how}
        write_verdict(paths.trial(each.number), said)
    write_leaderboard(paths, sweep.board)
    return sweep.plan


def _columns(group):
    best = group.completed[0].best["dev_score"]
    verdicts = [str(standing) for standing in Standing if standing != Standing.BASELINE]
    return {
        "ci_low": best - 0.02, "ci_high": best + 0.02, "difference": 0.0, "p": 0.5, "expected": best,
        "p_beats_baseline": 0.5,
        "verdict": "baseline" if group.is_baseline else verdicts[group.shown.number % len(verdicts)],
    }  # fmt: skip

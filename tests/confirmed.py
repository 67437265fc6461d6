"""Sweeps and their confirmations as they lie in OUT/NAME, of made-up trials that are as skilled as a test says."""

import numpy as np

from model.files import write_json
from orchestrator.confirming import Confirmation, ConfirmRequest, asked_and_planned
from orchestrator.idle import IdleSweep
from orchestrator.judgement import Judge
from orchestrator.leaderboard import groups, leaderboard, read_trials, write_leaderboard
from orchestrator.study import TrialStudy
from orchestrator.trial_files import write_verdict
from tests.predicted import answers, predicted_trial


def searched(paths, plan, skills):
    """Train every trial of a sweep, as skilled as its number says, and write its leaderboard; return it at rest."""
    write_json(paths.plan, plan.to_dict())
    write_json(paths.data_report, {})
    study = TrialStudy(paths.study_uri, plan, None)
    _train(study, paths, lambda number, _: skills[number])
    trials, judge = read_trials(study, paths), Judge(plan, paths)
    write_leaderboard(paths, leaderboard(plan, paths, trials, {}, judge.judge(groups(plan, trials))))
    return IdleSweep(paths, plan, study)


def asked(search, **changes):
    """Ask for a confirmation as the command does, and write down what is asked; return it and its request."""
    request = ConfirmRequest(**{"name": search.paths.name, "out": search.paths.out, "top": 2, "seeds": 3, **changes})
    now, plan = asked_and_planned(request, search)
    there = search.paths.confirmation
    now.write(there.asked)
    write_json(there.plan, plan.to_dict())
    return Confirmation(search, now, plan), request


def confirmed(search, skills, *, failed=(), **changes):
    """Run a confirmation to its end, its configs as skilled as their weight decay in thousandths says; return both.

    Trials that `failed` diverged.
    """
    found, request = asked(search, **changes)

    def skill(number, config):
        return None if number in failed else skills[round(config.weight_decay * 1000)]

    _train(found.study, found.paths, skill)
    write_json(found.paths.confirmed, found.result())
    return found, request


def train_next(found, skill_of):
    """Train the next trial of a confirmation, as skilled as a function of its config says; return whether there was."""
    return _train_next(found.study, found.paths, lambda _, config: skill_of(config))


def _train(study, paths, skill_of):
    while _train_next(study, paths, skill_of):
        pass


def _train_next(study, paths, skill_of):
    if (proposal := study.next_proposal()) is None:
        return False
    number, config = proposal.number, proposal.config
    skill = skill_of(number, config)
    if skill is None:
        write_verdict(paths.trial(number), {"state": "failed", "failure": "diverged", "error": "nan"})
        study.end(number, "failed", failure="diverged")
        return True
    rng = np.random.default_rng((6, number))
    told = predicted_trial(paths, number, config, answers(skill + rng.normal(0, 0.002), rng))
    said = {"state": "completed", "history": told.history, "best": told.best, "trainable_params": 9}
    write_verdict(paths.trial(number), said)
    study.end(number, "completed", best=told.best["dev_score"])
    return True

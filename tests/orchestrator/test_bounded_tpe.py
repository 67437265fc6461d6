"""TPE on a bounded part of a long sweep: the same as Optuna's while a sweep is short, and bounded beyond."""

import random

import optuna
import pytest
from optuna.samplers import TPESampler
from optuna.samplers._tpe import sampler
from optuna.samplers._tpe.sampler import _split_trials, default_gamma
from optuna.trial import TrialState

from orchestrator import bounded_tpe
from orchestrator.bounded_tpe import GOOD, LEARNT, BoundedTPESampler, learnt_from


def study_of(count):
    """Return a study of so many trials: the closer to 0.3, the better; the early ones are the best."""
    study = optuna.create_study(direction="maximize")
    ranges = {"x": optuna.distributions.FloatDistribution(0, 1), "y": optuna.distributions.IntDistribution(0, 9)}
    for number in range(count):
        params = {"x": (0.3 + 0.0007 * number) % 1, "y": number % 10}
        value = -abs(params["x"] - 0.3)
        study.add_trial(optuna.trial.create_trial(params=params, distributions=ranges, value=value))
    return study


def proposals(study, kind, seeds=range(5)):
    """Return what a sampler of each seed proposes next."""
    found = []
    for seed in seeds:
        study.sampler = kind(seed=seed)
        trial = study.ask()
        found.append((trial.suggest_float("x", 0, 1), trial.suggest_int("y", 0, 9)))
    return found


def test_as_long_as_a_sweep_is_short_it_proposes_what_optunas_does():
    """The same values to the last bit, also before there are enough trials to learn from."""
    for count in (0, 5, 60):
        assert proposals(study_of(count), BoundedTPESampler) == proposals(study_of(count), TPESampler)


def test_of_a_long_sweep_it_learns_from_the_best_and_the_newest():
    """As many as LEARNT, by number, each once."""
    trials = study_of(3 * LEARNT).get_trials(deepcopy=False)

    chosen = learnt_from(trials)

    numbers = [trial.number for trial in chosen]
    assert len(numbers) == LEARNT
    assert numbers == sorted(set(numbers))
    best = sorted(trials, key=lambda trial: -trial.value)[:GOOD]
    assert {trial.number for trial in best} <= set(numbers)
    assert numbers[-900:] == list(range(3 * LEARNT - 900, 3 * LEARNT))


@pytest.mark.parametrize("completed", [200, 40, 10, 0])
def test_what_optuna_would_call_good_is_kept_also_where_trials_are_stopped_early(monkeypatch, completed):
    """Completed ones before those that were stopped, these by how far they came, whatever values they had."""
    monkeypatch.setattr(bounded_tpe, "LEARNT", 200)
    study, rng = study_of(0), random.Random(3)
    for number in range(600):
        done = completed > 0 and number % (600 // completed) == 0
        step, value = rng.randint(1, 5), rng.random()
        study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.COMPLETE if done else TrialState.PRUNED,
                value=value - 2 * done,
                intermediate_values={1: rng.random(), step: value},
            )
        )
    trials = study.get_trials(deepcopy=False)

    kept = learnt_from(trials)

    assert numbers(split_trials(study, kept)) == numbers(split_trials(study, trials))


def split_trials(study, trials):
    """Return what Optuna calls good."""
    return _split_trials(study, trials, GOOD)[0]


def numbers(trials):
    """Return the trials' numbers."""
    return [trial.number for trial in trials]


def test_what_optuna_calls_good_is_never_more_than_what_is_kept():
    """Else a part of the good ones would be missing."""
    assert max(default_gamma(count) for count in (10, 250, 251, 10_000, 10**6)) == GOOD


def test_beyond_the_bound_no_proposal_looks_at_more(monkeypatch):
    """However the parameters are proposed, together or each alone: else a proposal costs more with every trial."""
    monkeypatch.setattr(bounded_tpe, "LEARNT", 200)
    seen = []

    def split(study, trials, n_below):
        seen.append(len(trials))
        return _split_trials(study, trials, n_below)

    monkeypatch.setattr(sampler, "_split_trials", split)

    proposals(study_of(600), BoundedTPESampler, range(3))

    assert seen
    assert max(seen) == 200 + 2, "and those that run"


@pytest.mark.parametrize("bound", [200])
def test_beyond_the_bound_it_still_finds_where_it_is_good(monkeypatch, bound):
    """The good ones came early, and the newest alone would not tell where."""
    monkeypatch.setattr(bounded_tpe, "LEARNT", bound)
    study = study_of(900)

    near = [x for x, _ in proposals(study, BoundedTPESampler, range(20))]

    assert sum(abs(x - 0.3) < 0.1 for x in near) >= 15

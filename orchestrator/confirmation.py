"""What a confirmation trains, and what it finds: the best of a sweep and its baseline, again on fresh seeds.

A confirmation is a sweep within the sweep, with a plan that grows: a round trains the baseline and every candidate that
is not settled yet on one more seed. What a next round holds follows from the trials of those before it, so that
whoever goes on with a confirmation finds the same. The search's own scores are in none of its means.
"""

import json
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from evidence.confirm import Confirmation, KnownNoise, Outcome
from evidence.confirmations import example_error, in_rounds
from evidence.seeds import configs
from model.files import write_json
from orchestrator.errors import SweepError
from orchestrator.failures import Failure
from orchestrator.judgement import Judge, Scored
from orchestrator.leaderboard import Group, TrialRecord, comparable, config_key, groups
from orchestrator.plan import Plan
from orchestrator.spec import MOST_SEEDS

UNSTABLE = "unstable"
"""Verdict on a config whose training diverged on a fresh seed."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be confirmed: settled at the confirmation's start, but for the most seeds, which may be another."""

    sweep_id: str
    top: int
    seeds: int
    """At most so many a config."""
    first_seed: int
    """Above every seed of the search."""
    candidates: tuple[int, ...]
    """Trials that stand for the candidates in the search, the best first."""
    searched: int
    """Configs that the candidates were chosen from: all with a dev score, those too that were stopped early."""
    known: KnownNoise | None
    """What the search tells of the seeds' noise; None where it repeated none."""
    example_error: float = 0.0
    """Standard error that the dev examples gave the best candidate's lead over the baseline in the search."""

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, asdict(self))

    @staticmethod
    def read(path: Path) -> "Asked":
        """Return what `write` wrote. Raises SweepError."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            known = KnownNoise(**values["known"]) if values["known"] else None
            return Asked(**{**values, "candidates": tuple(values["candidates"]), "known": known})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SweepError(
                f"{path}: cannot be read ({error}); move {path.parent} away, and the confirmation starts afresh"
            ) from error


def ask(
    plan: Plan, board: Mapping[str, Any], trials: Sequence[TrialRecord], judge: Judge, top: int, seeds: int
) -> Asked:
    """Return what a confirmation of a finished sweep's best `top` is about. Raises SweepError where that is nothing."""
    searched = {key_of(each.config) for each in trials if each.history and comparable(plan, each.config)}
    distinct = {key_of(plan.baseline)}
    candidates = []
    for row in board["rows"]:
        key = key_of(row["config"])
        if row["rank"] is not None and key not in distinct:
            distinct.add(key)
            candidates.append(int(row["trial"]))
    if not candidates:
        raise SweepError(f"sweep {plan.name!r}: no config but the baseline has completed; there is nothing to confirm")
    first = 1 + max(int(trial.config["seed"]) for trial in trials)
    if first + MOST_SEEDS >= 2**32:
        raise SweepError(f"sweep {plan.name!r}: its seeds go up to {first - 1}; there is no fresh one below 2**32")
    best = next(trial.config for trial in trials if trial.number == candidates[0])
    known, error = _noise(judge.scored(groups(plan, trials)), key_of(best), key_of(plan.baseline))
    return Asked(
        sweep_id=plan.sweep_id, top=top, seeds=seeds, first_seed=first, candidates=tuple(candidates[:top]),
        searched=len(searched - {key_of(plan.baseline)}), known=known, example_error=error,
    )  # fmt: skip


def _noise(scored: Scored, best: str, baseline: str) -> tuple[KnownNoise | None, float]:
    """Return what a search tells of the seeds' noise, and of the examples' in the best config's lead."""
    if not scored.keys:
        return None, 0.0
    keys = [key_of(trial.config) for trial in scored.trials]
    found = configs(scored.scores, keys)
    known = KnownNoise(variance=found.seed_variance, degrees=found.degrees) if found.seed_variance else None
    first, second = ([place for place, key in enumerate(keys) if key == its] for its in (best, baseline))
    return known, example_error(scored.scores, first, second) if first and second else 0.0


def first_plan(search: Plan, searched: Sequence[TrialRecord], asked: Asked) -> Plan:
    """Return the confirmation's plan with its first round; all but the configs is the search's."""
    plan = replace(search, configs=[], space_code=None, sampler="tpe", early_stopping=None, trials=0, seeds=asked.seeds)
    first = next_plan(plan, searched, asked, set())
    assert first is not None
    return first


def next_plan(plan: Plan, searched: Sequence[TrialRecord], asked: Asked, done: Collection[Hashable]) -> Plan | None:
    """Return the plan with one more round, None where all is settled or the seeds are used up.

    A round is the first seed that the baseline or a candidate that is not `done` has not been trained on: candidates
    that were asked for later catch up. `searched` are the search's trials, of which `asked` names the candidates.
    """
    entering = [config for config in _entrants(plan, searched, asked) if key_of(config) not in done]
    if len(entering) < 2:
        return None
    planned = {(key_of(config), config["seed"]) for config in plan.configs}
    for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
        missing = [config | {"seed": seed} for config in entering if (key_of(config), seed) not in planned]
        if missing:
            configs = [*plan.configs, *missing]
            return replace(plan, configs=configs, trials=len(configs))
    return None


def _entrants(plan: Plan, searched: Sequence[TrialRecord], asked: Asked) -> list[dict[str, Any]]:
    """Return the baseline's config and the candidates'."""
    of_trial = {trial.number: trial.config for trial in searched}
    return [plan.baseline, *(of_trial[number] for number in asked.candidates)]


def key_of(config: Mapping[str, Any]) -> str:
    """Return what the trials of one config share."""
    return config_key(config, seedless=True)


@dataclass(frozen=True)
class Standing:
    """What the fresh seeds say of a candidate, so far or for good."""

    confirmation: Confirmation | None
    """None where it shares no seed with the baseline."""
    verdict: str
    """better, worse, undecided, or unstable: training diverged on a fresh seed."""

    @property
    def settled(self) -> bool:
        """Return whether nothing more is to be learnt of it."""
        return self.verdict != Outcome.UNDECIDED


def standings(plan: Plan, trials: Sequence[TrialRecord], judge: Judge, asked: Asked) -> dict[Hashable, Standing]:
    """Return how each candidate that was compared, or diverged, stands.

    Round by round: who is settled by the seeds of some round stays so, whatever later seeds of others would make of it.
    A config whose training diverged on a fresh seed is unstable and never better, whatever its other seeds say.
    """
    scored = judge.scored(groups(plan, trials))
    seeds = [int(trial.config["seed"]) for trial in scored.trials]
    diverged = {key_of(trial.config) for trial in trials if trial.failure == Failure.DIVERGED}
    said = in_rounds(
        scored.scores, scored.keys, seeds, key_of(plan.baseline), searched=asked.searched, known=asked.known
    )
    found = {key: Standing(confirmation, str(confirmation.outcome)) for key, confirmation in said.items()}
    for key in diverged - {key_of(plan.baseline)}:
        if key not in found or found[key].verdict != Outcome.WORSE:
            found[key] = Standing(said.get(key), UNSTABLE)
    return found


def settled(found: Mapping[Hashable, Standing]) -> set[Hashable]:
    """Return the candidates of which nothing more is to be learnt."""
    return {key for key, standing in found.items() if standing.settled}


def outcome(
    plan: Plan,
    searched: Sequence[TrialRecord],
    trials: Sequence[TrialRecord],
    found: Mapping[Hashable, Standing],
    asked: Asked,
) -> dict[str, Any]:
    """Return the confirmation's result as plain values: a row for the baseline and each candidate, and who is champion.

    The champion is the best of the candidates that are better than the baseline, by the seeds that all of these
    completed; where there is none it is the baseline.
    """
    by_key = {group.key: group for group in groups(plan, trials)}
    base, *candidates = (key_of(config) for config in _entrants(plan, searched, asked))
    entered = [(base, None), *zip(candidates, asked.candidates, strict=True)]
    rows = [
        _row(by_key[key], found.get(key), plan) | {"search_trial": number} for key, number in entered if key in by_key
    ]
    better = [row for row in rows if row["verdict"] == Outcome.BETTER]
    base_row = next((row for row in rows if row["is_baseline"] and row["seeds"]), None)
    chosen = _best_of(better) if better else base_row
    decided = len(settled(found))
    seconds = sum(row["train_seconds"] for row in rows)
    unit = "GPU seconds" if plan.gpus_per_trial else "core seconds"
    each = plan.gpus_per_trial or plan.cpus_per_trial
    return {
        "top": asked.top,
        "seeds": asked.seeds,
        "candidates": len(asked.candidates),
        "searched": asked.searched,
        "decided": decided,
        "unit": unit,
        "spent": round(seconds * each, 2),
        "spent_a_decision": round(seconds * each / decided, 2) if decided else None,
        "rows": rows,
        "champion": chosen["best_trial"] if chosen else None,
        "crowned": None,  # whether MLflow's alias names it: True, False, or None until MLflow was asked
    }


def _best_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the row with the best mean over the seeds that all have; where they share none, over each row's own."""
    by_seed = [dict(zip(row["completed_seeds"], row["scores"], strict=True)) for row in rows]
    shared = set.intersection(*map(set, by_seed))
    means = [mean(score for seed, score in of_row.items() if not shared or seed in shared) for of_row in by_seed]
    return rows[means.index(max(means))]


def alias_said(result: Mapping[str, Any]) -> str | None:
    """Return what is to be said of the alias where MLflow's does not name this champion; None where it does."""
    if result.get("crowned") is True:
        return None
    named = "stays with another model" if result.get("crowned") is False else "is not given yet"
    return f"the alias champion {named}"


def champion_row(result: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the row of the config that a result names champion, None where it names none."""
    number = result["champion"]
    return next((row for row in result["rows"] if number is not None and row["best_trial"] == number), None)


def _row(group: Group, standing: Standing | None, plan: Plan) -> dict[str, Any]:
    """Return a config's row: its mean over fresh seeds, and how it stands to the baseline."""
    whole, scores = group.completed, group.scores
    confirmation = standing.confirmation if standing else None
    best = max(whole, key=lambda trial: float((trial.best or {})["dev_score"]), default=None)
    tasks = [task.name for task in plan.ranked_tasks()]
    low, high = confirmation.interval if confirmation else (None, None)
    return {
        "config": group.trials[0].config,
        "is_baseline": group.is_baseline,
        "trials": [trial.number for trial in group.trials],
        "failed": [trial.number for trial in group.trials if trial.state == "failed"],
        "seeds": len(whole),
        "completed_seeds": [int(trial.config["seed"]) for trial in whole],
        "scores": scores,
        "mean": mean(scores) if scores else None,
        "sd": stdev(scores) if len(scores) > 1 else None,
        **{task: mean((trial.best or {})["scores"][task] for trial in whole) if whole else None for task in tasks},
        "paired_seeds": confirmation.seeds if confirmation else None,
        "difference": confirmation.mean if confirmation else None,
        "difference_low": _finite(low),
        "difference_high": _finite(high),
        "e_value": _finite(confirmation.e_value) if confirmation else None,
        "verdict": "baseline" if group.is_baseline else standing.verdict if standing else None,
        "train_seconds": round(sum(entry["train_seconds"] for t in group.trials for entry in t.history), 2),
        "best_trial": best.number if best else None,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and abs(value) != float("inf") else None

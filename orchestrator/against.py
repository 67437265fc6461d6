"""Does the ranking of a cheap sweep hold for the full one: two finished sweeps of the same configs, one cheaper.

Cheaper by whatever is one value in each of the two: frozen layers, fewer epochs, fewer examples.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from evidence.scores import Array
from evidence.seeds import Configs
from evidence.transfer import Transfer, transfer
from orchestrator.errors import SweepError
from orchestrator.judgement import Judge
from orchestrator.leaderboard import Group, TrialRecord, groups
from orchestrator.paths import SweepPaths
from orchestrator.plan import Plan, read_plan, shown
from orchestrator.progress import clock_text, value_text, varied_text
from orchestrator.tables import titles
from orchestrator.trial_files import read_verdict

FEW = 5
"""Configs; of fewer a ranking says little."""
Key = tuple[str, ...]
"""What pairs two configs: their values, as JSON, of the fields that vary within either sweep."""


@dataclass(frozen=True, kw_only=True)
class Against:
    """A cheap sweep's ranking against the full one's."""

    values: dict[str, Any]
    """Plain: cheap, full (names), pairs, varies, differs (field to the two values), tau, tau_interval, tau_of_repeats,
    regret, regret_interval (in overall score), cheap_choice and full_choice (trials of either sweep), time_share,
    seed_noise_unknown, and rows (config, and of each sweep trial, score, rank, seconds), by the full sweep's rank."""
    markdown: str
    """A heading, what can be said, and the table."""


def against(cheap: SweepPaths, full: SweepPaths) -> Against:
    """Return how a cheap sweep's ranking holds for the full one. Reads their folders and writes nothing.

    Configs are paired that have the same values in all fields that vary within either sweep; the other fields may
    differ from one sweep to the other, and are what makes it cheaper. Raises SweepError where a sweep is not finished,
    the two have other tasks or dev data, or share fewer than two configs.
    """
    one, other = _Finished(cheap), _Finished(full)
    require_same_measure(one.plan, other.plan)
    fields = _fields(one, other)
    cheap_keys, full_keys = one.keyed(fields), other.keyed(fields)
    both = [key for key in cheap_keys if key in full_keys]
    if len(both) < 2:
        raise SweepError(
            f"{one.name} and {other.name} share {len(both)} config{'s' * (len(both) != 1)}, and a ranking takes 2; "
            f"they differ in {_differing(fields, cheap_keys, full_keys)}"
        )
    cheap_T, cheap_noise_TT = one.scores([cheap_keys[key] for key in both])
    full_T, full_noise_TT = other.scores([full_keys[key] for key in both])
    found = transfer(cheap_T, full_T, cheap_noise_TT, full_noise_TT)
    rows: list[dict[str, Any]] = [
        {"config": {field: one.values(cheap_keys[key]).get(field) for field in fields}}
        | one.told("cheap", cheap_keys[key], cheap_T, place)
        | other.told("full", full_keys[key], full_T, place)
        for place, key in enumerate(both)
    ]
    chosen, best = rows[int(np.argmax(cheap_T))], rows[int(np.argmax(full_T))]
    rows.sort(key=lambda row: (row["full_rank"], row["full_trial"]))
    values = {
        "cheap": one.name,
        "full": other.name,
        "pairs": len(both),
        "varies": fields,
        "differs": _constants_that_differ(one, other, fields),
        **_plain(found),
        "cheap_choice": chosen["cheap_trial"],
        "full_choice": best["full_trial"],
        "time_share": sum(row["cheap_seconds"] for row in rows) / max(sum(row["full_seconds"] for row in rows), 1e-9),
        "seed_noise_unknown": one.found.seed_variance is None or other.found.seed_variance is None,
        "rows": rows,
    }
    return Against(values=values, markdown=_markdown(values, chosen, best))


class _Finished:
    """A finished sweep, as it lies in its folder; of its configs those that are ranked and have predictions."""

    def __init__(self, paths: SweepPaths) -> None:
        """Read plan, leaderboard and predictions."""
        self.name = paths.name
        if not paths.plan.is_file():
            raise SweepError(f"{paths.root}: no sweep lies there")
        self.plan = read_plan(paths.plan)
        try:
            board = json.loads(paths.leaderboard.read_text(encoding="utf-8"))
            self._seconds = {row["trial"]: float(row["train_seconds"]) for row in board["rows"]}
            trials = [_record(paths, row) for row in board["trials"]]
        except FileNotFoundError as error:
            raise SweepError(f"{paths.root}: has no leaderboard.json yet; the same command goes on with it") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SweepError(f"{paths.leaderboard}: no readable leaderboard ({error})") from error
        by_config = groups(self.plan, trials)
        judge = Judge(self.plan, paths)
        found = judge.configs(by_config)
        if found is None:
            raise SweepError(f"{paths.root}: no trial that completed has predictions to compare")
        self.found: Configs = found
        """Their scores and noise."""
        self.groups: list[Group] = [group for group in by_config if group.key in found.keys]

    @cached_property
    def _shown(self) -> dict[str, dict[str, Any]]:
        return {group.key: shown(self.plan, group.shown.config) for group in self.groups}

    def values(self, group: Group) -> dict[str, Any]:
        """Return a config's fields by their dotted names, with what its tasks bring along."""
        return self._shown[group.key]

    def keyed(self, fields: Sequence[str]) -> dict[Key, Group]:
        """Return the configs by their values of these fields."""
        found: dict[Key, Group] = {}
        for group in self.groups:
            key = tuple(json.dumps(self.values(group).get(field)) for field in fields)
            if key in found:
                numbers = " and ".join(f"{each.shown.number:04d}" for each in (found[key], group))
                raise SweepError(
                    f"{self.name}: trials {numbers} are one config but for seeds; which one is to be paired?"
                )
            found[key] = group
        return found

    def scores(self, chosen: Sequence[Group]) -> tuple[Array, Array]:
        """Return scores [T] and noise [T, T] of some configs."""
        at = [self.found.keys.index(group.key) for group in chosen]
        return self.found.overall_T[at], self.found.noise_TT[np.ix_(at, at)]

    def told(self, side: str, group: Group, scores_T: Array, place: int) -> dict[str, Any]:
        """Return what a row says of a config in this sweep; its rank is among the configs of both."""
        return {
            f"{side}_trial": group.shown.number,
            f"{side}_score": float(scores_T[place]),
            f"{side}_rank": 1 + int(np.sum(scores_T > scores_T[place])),
            f"{side}_seconds": self._seconds[group.shown.number],
        }


def _record(paths: SweepPaths, row: Mapping[str, Any]) -> TrialRecord:
    """Return a trial as the leaderboard and its folder tell of it."""
    verdict = read_verdict(paths.trial(row["trial"])) or {}
    return TrialRecord(row["trial"], row["state"], row["config"], verdict.get("history", []), verdict.get("best"))


def require_same_measure(cheap: Plan, full: Plan) -> None:
    """Raise SweepError where scores of the two sweeps are not of the same dev examples of the same tasks."""
    tasks = [{task.name: task for task in plan.ranked_tasks()} for plan in (cheap, full)]
    if tasks[0] != tasks[1]:
        named = [", ".join(each) for each in tasks]
        what = f"{named[0]} and {named[1]}" if named[0] != named[1] else f"{named[0]}, defined otherwise"
        raise SweepError(f"{cheap.name} and {full.name} have other tasks ({what}); their scores cannot be compared")
    for name in tasks[0]:
        contents = [plan.data["content"].get(f"{name}/dev") for plan in (cheap, full)]
        caps = [plan.data["max_dev_examples"] for plan in (cheap, full)]
        if contents[0] != contents[1] or caps[0] != caps[1]:
            what = f"--max-dev-examples {caps[0]} and {caps[1]}" if caps[0] != caps[1] else "other examples or labels"
            raise SweepError(
                f"{cheap.name} and {full.name} were scored on other dev data of {name} ({what}); "
                "a comparison takes the same"
            )


def _fields(cheap: _Finished, full: _Finished) -> list[str]:
    """Return the fields that vary within either sweep, in their order; a seed that is repeated is none of them."""
    found: dict[str, None] = {}
    for sweep in (cheap, full):
        flat = [sweep.values(group) for group in sweep.groups]
        paths = dict.fromkeys(path for values in flat for path in values)
        found |= {path: None for path in paths if any(values.get(path) != flat[0].get(path) for values in flat)}
    repeated = {"seed"} if cheap.plan.seeds > 1 or full.plan.seeds > 1 else set()
    return [path for path in found if path not in {"tasks", *repeated}]  # the tasks are the same in some order


def _constants_that_differ(cheap: _Finished, full: _Finished, fields: Sequence[str]) -> dict[str, list[Any]]:
    """Return what is one value in each sweep, and not the same in both."""
    one, other = cheap.values(cheap.groups[0]), full.values(full.groups[0])
    kept = [path for path in dict.fromkeys([*one, *other]) if path not in {*fields, "tasks", "seed"}]
    found = {path: [one.get(path), other.get(path)] for path in kept if one.get(path) != other.get(path)}
    if cheap.plan.encoder["weights"] != full.plan.encoder["weights"]:
        found["encoder"] = [cheap.plan.encoder["name"], full.plan.encoder["name"]]
    contents = [
        {name: value for name, value in plan.data["content"].items() if name.endswith("/train")}
        for plan in (cheap.plan, full.plan)
    ]
    if contents[0] != contents[1]:
        found["training data"] = [plan.data["source"] for plan in (cheap.plan, full.plan)]
    return found


def _differing(fields: Sequence[str], cheap: Mapping[Key, Group], full: Mapping[Key, Group]) -> str:
    """Return the fields whose values are not the same in both sweeps, with these, or that they combine otherwise."""
    said = []
    for place, field in enumerate(fields):
        one, other = (list(dict.fromkeys(key[place] for key in keys)) for keys in (cheap, full))
        if set(one) != set(other):
            texts = [", ".join(value_text(json.loads(value)) for value in each) for each in (one, other)]
            said.append(f"{field} ({' against '.join(texts)})")
    return ", ".join(said) or f"how they combine {', '.join(fields) or 'nothing: no field varies'}"


def _plain(found: Transfer) -> dict[str, Any]:
    return {
        "tau": found.tau,
        "tau_interval": list(found.tau_interval),
        "tau_of_repeats": found.tau_of_repeats,
        "regret": found.regret,
        "regret_interval": list(found.regret_interval),
    }


def _markdown(values: Mapping[str, Any], chosen: Mapping[str, Any], best: Mapping[str, Any]) -> str:
    cheap, full = values["cheap"], values["full"]
    head = [*titles(values["varies"], ()), cheap, "rank", "time", full, "rank", "time"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for row in values["rows"]:
        cells = [value_text(row["config"][field]) for field in values["varies"]]
        for side in ("cheap", "full"):
            cells += [f"{row[f'{side}_score']:.4f}", str(row[f"{side}_rank"]), clock_text(row[f"{side}_seconds"])]
        lines.append(f"| {' | '.join(cells)} |")
    said = [_cheaper(values), _agreement(values), _choice(values, chosen, best)]
    if values["seed_noise_unknown"]:
        said.append("Without repeated seeds in both, all this is of these very models.")
    return "\n".join([f"### Does the ranking of {cheap} hold for {full}?", "", *lines, "", " ".join(said)])


def _cheaper(values: Mapping[str, Any]) -> str:
    differs = "; ".join(
        f"{path} {value_text(one)} and {value_text(other)}" for path, (one, other) in values["differs"].items()
    )
    return (
        f"{values['pairs']} configs are in both sweeps, {values['cheap']} and {values['full']}, which differ in "
        f"{differs or 'nothing else'}; the former took {values['time_share']:.0%} of the latter's training time."
    )


def _agreement(values: Mapping[str, Any]) -> str:
    """Say how alike the rankings are, beside what noise leaves to be hoped for."""
    (low, high), tau = values["tau_interval"], values["tau"]
    said = f"The rankings agree by Kendall's tau {tau:.2f}"
    said += f" (95 %: {low:.2f} to {high:.2f})" if low < high else ""
    said += f"; two sweeps that truly rank alike would reach {values['tau_of_repeats']:.2f} with this noise."
    if values["pairs"] < FEW:
        return f"{said} Of {values['pairs']} configs that says little."
    if low > 0:
        return f"{said} So the cheap ranking says something of the full one."
    if high < 0:
        return f"{said} So the cheap ranking is turned round in the full one."
    return f"{said} So it is not shown that the cheap ranking says anything of the full one."


def _choice(values: Mapping[str, Any], chosen: Mapping[str, Any], best: Mapping[str, Any]) -> str:
    """Say what choosing by the cheap sweep costs in the full one."""
    low, high = values["regret_interval"]
    cost = f"{values['regret']:.4f} of dev score ({low:.4f} to {high:.4f})"
    if chosen is best:
        return (
            f"Both choose {_named(values, best)}; another config may truly be better, and the choice is expected to "
            f"cost {cost}."
        )
    return (
        f"{values['cheap']} chooses {_named(values, chosen)}, which is number {chosen['full_rank']} in "
        f"{values['full']}; that chooses {_named(values, best)}. Choosing by the cheap one is expected to cost {cost}."
    )


def _named(values: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    return varied_text(values["varies"], row["config"])

"""What the scores of a sweep are worth: intervals, verdicts and expectations, from the trials' predictions on dev.

The statistics are evidence/'s; here trials become configs and predictions become matrices.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import mean
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from evidence.comparisons import Comparison, Standing, compare, own_intervals
from evidence.expected import expected
from evidence.importance import importances
from evidence.scores import Answers, Scores, scores
from evidence.seeds import Configs, configs
from evidence.sharing import Sharing, sharing
from model.checkpoint import read_predictions
from model.files import DamagedFileError
from model.tasks import Task
from orchestrator.leaderboard import Group, TrialRecord, own_best
from orchestrator.paths import SweepPaths
from orchestrator.plan import Plan, shown
from orchestrator.sharing import Pair, sharing_pairs

EXAMPLES = ["id", "label"]
"""Columns that say what was predicted."""
MOST_PROBLEMS = 5
"""So many are told one by one."""
MOST_JUDGED = 3_000
"""Configs that are judged together: the noise of each beside each other is a square matrix, and its root takes their
number to the third power. Beyond that a sweep has ranks alone."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Of a sweep's configs, by their keys; a config without whole predictions has no entry."""

    columns: Mapping[Hashable, Mapping[str, Any]] = field(default_factory=dict)
    """The leaderboard's columns: ci_low, ci_high, difference, p, verdict, expected, p_beats_baseline."""
    seed_sd: float | None = None
    """Standard deviation between seeds of one config, pooled; None where no config was repeated."""
    tied_with_best: frozenset[Hashable] = frozenset()
    """Configs that the best one is not better than, itself among them; none where the best has no entry."""
    transfer: Sequence[Mapping[str, Any]] = ()
    """Of each task that a config trains alone: its scores alone and shared, with what sharing does to it."""
    importances: Sequence[Mapping[str, Any]] = ()
    """Of each parameter that varies: how much it moves the score, and noise alone; the largest effect first."""
    problems: Sequence[str] = ()
    """Why configs are without an entry."""

    def notes(self) -> list[str]:
        """Return the problems for a person: the first one by one, the others counted."""
        more = len(self.problems) - MOST_PROBLEMS
        return [*self.problems[:MOST_PROBLEMS], *([f"no verdict on {more} more trials"] if more > 0 else [])]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Trials whose predictions are known, each of a config, and their scores on the same examples."""

    keys: list[Hashable]
    trials: list[TrialRecord]
    scores: Scores


NO_SCORES = Scores(overall_T=np.zeros(0), covariance_TT=np.zeros((0, 0)), resolution=0.0)


class Judge:
    """Judges one sweep as it grows: predictions are read once."""

    def __init__(self, plan: Plan, paths: SweepPaths) -> None:
        """Read nothing yet."""
        self._plan, self._paths = plan, paths
        self._examples: dict[str, pa.Table] = {}
        """By task: columns that say what was predicted, the same for all trials of a sweep."""
        self._predictions: dict[int, Mapping[str, NDArray[Any]]] = {}
        """By trial and task."""
        self._problems: dict[int, str] = {}

    def judge(self, groups: Sequence[Group]) -> Judgement:
        """Return what is to be said of the configs that have completed trials."""
        if (many := sum(bool(group.completed) for group in groups)) > MOST_JUDGED:
            said = f"no verdicts: {many:,} configs were trained to their end, and at most {MOST_JUDGED:,} are judged"
            return Judgement(problems=[f"{said} together; early_stopping leaves fewer"])
        found = self.configs(groups)
        wrong = [
            self._problems[trial.number]
            for group in groups
            for trial in group.completed
            if trial.number in self._problems
        ]
        baseline = next((group.key for group in groups if group.is_baseline), None)
        judged = Judgement()
        if found is not None:
            judged = replace(_judged(found, baseline), importances=self._importances(groups, found))
            best = max((g for g in groups if g.comparable and g.completed), key=lambda group: mean(group.scores))
            if best.key not in found.keys:
                judged = replace(judged, tied_with_best=frozenset())
        return replace(judged, transfer=self._transfer(groups), problems=wrong)

    def configs(self, groups: Sequence[Group]) -> Configs | None:
        """Return scores and noise of the configs that are ranked, by the groups' keys; None without predictions."""
        scored = self.scored(groups)
        return configs(scored.scores, scored.keys) if scored.keys else None

    def scored(self, groups: Sequence[Group]) -> Scored:
        """Return the completed trials with the baseline's tasks whose predictions can be used, with their scores."""
        for trial in (trial for group in groups for trial in group.completed):
            if trial.number not in self._predictions:
                assert trial.best is not None
                self._read(trial.number, trial.best["checkpoint"], trial.config["tasks"])
        ranked = [(group, trial) for group in groups if group.comparable for trial in group.completed]
        known = [(group.key, trial) for group, trial in ranked if trial.number in self._predictions]
        if not known:
            return Scored(keys=[], trials=[], scores=NO_SCORES)
        numbers = [trial.number for _, trial in known]
        found = scores([self._answers(task, numbers) for task in self._plan.ranked_tasks()])
        return Scored(keys=[key for key, _ in known], trials=[trial for _, trial in known], scores=found)

    def _importances(self, groups: Sequence[Group], found: Configs) -> list[dict[str, Any]]:
        """Return how much each parameter that the sweep varies matters; a seed is noise and none of them."""
        by_key = {group.key: shown(self._plan, group.shown.config) for group in groups}
        varied = [path for path in self._plan.varies if path not in ("tasks", "seed")]
        levels = {path: [by_key[str(key)].get(path) for key in found.keys] for path in varied}
        return [asdict(entry) | {"finding": str(entry.finding)} for entry in importances(levels, found)]

    def _transfer(self, groups: Sequence[Group]) -> list[dict[str, Any]]:
        """Return what sharing does to each task that was trained alone."""
        tasks = {task.name: task for task in self._plan.task_list()}
        pairs = []
        for pair in sharing_pairs(self._plan, groups):
            alone, shared = self._known(pair.alone), self._known(pair.shared)
            if alone and shared:
                pairs.append((pair, alone, shared))
        return [
            _of_pair(
                pair,
                sharing(
                    self._answers(tasks[pair.task], [*alone, *shared]),
                    [False] * len(alone) + [True] * len(shared),
                    comparisons=len(pairs),
                ),
            )
            for pair, alone, shared in pairs
        ]

    def _known(self, group: Group) -> list[int]:
        """Return the completed trials of a config whose predictions are known."""
        return [trial.number for trial in group.completed if trial.number in self._predictions]

    def _read(self, number: int, checkpoint: str, tasks: Sequence[str]) -> None:
        """Keep a trial's predictions, or why there are none."""
        try:
            table = read_predictions(self._paths.trial(number).root / checkpoint)
        except (DamagedFileError, OSError, pa.ArrowException) as error:
            self._problems[number] = f"no verdict on trial {number:04d}: {error}"
            return
        found = {task: table.filter(pc.field("task") == task) for task in tasks}
        examples = {task: part.select(EXAMPLES) for task, part in found.items()}
        wrong = _unusable(found)
        if wrong is None and not all(part.equals(self._examples.get(task, part)) for task, part in examples.items()):
            wrong = "it was scored on other examples than the first"
        if wrong is None:
            self._examples = examples | self._examples
            self._predictions[number] = {task: _compact(part["prediction"].to_numpy()) for task, part in found.items()}
            self._problems.pop(number, None)
        else:
            self._problems[number] = f"no verdict on trial {number:04d}: {wrong}"

    def _answers(self, task: Task, numbers: Sequence[int]) -> Answers:
        return Answers(
            task=task,
            labels_N=self._examples[task.name]["label"].to_numpy(),
            predictions_NT=np.column_stack([self._predictions[number][task.name] for number in numbers]).astype(float),
        )


def _compact(values: NDArray[Any]) -> NDArray[Any]:
    """Return the same numbers, a byte each where they are classes: a sweep's driver keeps those of every trial."""
    with np.errstate(invalid="ignore"):  # beyond a byte
        classes = values.astype(np.int8)
    return classes if np.array_equal(classes, values) else values


def _unusable(found: Mapping[str, pa.Table]) -> str | None:
    """Return what is wrong with a trial's tables whatever the others hold: a task without examples, no numbers."""
    if missing := [task for task, part in found.items() if not len(part)]:
        return f"its predictions have no example of {', '.join(missing)}"
    for column in ("label", "prediction"):
        values = np.concatenate([part[column].to_numpy() for part in found.values()])
        if bad := np.count_nonzero(~np.isfinite(values)):
            return f"{bad} of its {len(values)} {column}s are no numbers"
    return None


def _judged(found: Configs, baseline: Hashable | None) -> Judgement:
    """Return what the statistics say of configs; without a baseline, of each alone."""
    columns: dict[Hashable, dict[str, Any]] = {
        key: {"ci_low": float(low), "ci_high": float(high)}
        for key, low, high in zip(found.keys, *own_intervals(found), strict=True)
    }
    if baseline in found.keys:
        foreseen = expected(found.overall_T, found.noise_TT, found.keys.index(baseline))
        for place, comparison in enumerate(compare(found, baseline)):
            columns[comparison.key] |= _against_baseline(comparison) | {
                "expected": float(foreseen.overall_T[place]),
                "p_beats_baseline": float(foreseen.beats_baseline_T[place]),
            }
    best = found.keys[int(np.argmax(found.overall_T))]
    tied = {c.key for c in compare(found, best) if c.standing in (Standing.TIED, Standing.BASELINE)}
    seed_sd = None if found.seed_variance is None else float(np.sqrt(found.seed_variance))
    return Judgement(columns=columns, seed_sd=seed_sd, tied_with_best=frozenset(tied))


def _of_pair(pair: Pair, found: Sharing) -> dict[str, Any]:
    low, high = found.interval
    return {
        "task": pair.task,
        "alone": pair.alone.shown.number,
        "shared": pair.shared.shown.number,
        "tasks": list(pair.shared.shown.config["tasks"]),
        "alone_score": found.alone,
        "shared_score": found.shared,
        "shared_own_best": own_best(pair.shared).get(pair.task),
        "difference": found.difference,
        "low": low,
        "high": high,
        "verdict": str(found.outcome),
    }


def _against_baseline(comparison: Comparison) -> dict[str, Any]:
    low, high = comparison.joint_interval
    return {
        "difference": comparison.difference,
        "difference_low": low,
        "difference_high": high,
        "p": comparison.p,
        "verdict": str(comparison.standing),
    }

"""What the scores of a sweep are worth: intervals, verdicts and expectations, from the trials' predictions on dev.

The statistics are evidence/'s; here trials become configs and predictions become matrices.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import mean
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import stats

from evidence.comparisons import ALPHA, Comparison, Standing, compare
from evidence.expected import expected
from evidence.scores import Answers, Array, scores
from evidence.seeds import Configs, configs
from model.checkpoint import read_predictions
from model.files import DamagedFileError
from model.tasks import Task
from orchestrator.leaderboard import Group
from orchestrator.paths import SweepPaths
from orchestrator.plan import Plan

EXAMPLES = ["task", "id", "label"]
"""Columns that say what was predicted, the same for all trials of a sweep."""
MOST_PROBLEMS = 5
"""So many are told one by one."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Of a sweep's configs, by their keys; a config without whole predictions has no entry."""

    columns: Mapping[Hashable, Mapping[str, Any]] = field(default_factory=dict)
    """The leaderboard's columns: ci_low, ci_high, difference, p, verdict, expected, p_beats_baseline."""
    seed_sd: float | None = None
    """Standard deviation between seeds of one config, pooled; None where no config was repeated."""
    tied_with_best: frozenset[Hashable] = frozenset()
    """Configs that the best one is not better than, itself among them; none where the best has no entry."""
    problems: Sequence[str] = ()
    """Why configs are without an entry."""

    def notes(self) -> list[str]:
        """Return the problems for a person: the first one by one, the others counted."""
        more = len(self.problems) - MOST_PROBLEMS
        return [*self.problems[:MOST_PROBLEMS], *([f"no verdict on {more} more trials"] if more > 0 else [])]


class Judge:
    """Judges one sweep as it grows: predictions are read once."""

    def __init__(self, plan: Plan, paths: SweepPaths) -> None:
        """Read nothing yet."""
        self._tasks = plan.task_list()
        self._paths = paths
        self._examples: pa.Table | None = None
        self._predictions: dict[int, Array] = {}
        self._problems: dict[int, str] = {}

    def judge(self, groups: Sequence[Group]) -> Judgement:
        """Return what is to be said of the configs that have completed trials."""
        trials = [(group.key, trial) for group in groups for trial in group.completed]
        for _, trial in trials:
            if trial.number not in self._predictions:
                assert trial.best is not None
                self._read(trial.number, trial.best["checkpoint"])
        known = [(key, trial.number) for key, trial in trials if trial.number in self._predictions]
        wrong = [self._problems[trial.number] for _, trial in trials if trial.number in self._problems]
        if not known or self._examples is None:
            return Judgement(problems=wrong)
        found = configs(scores(self._answers([number for _, number in known])), [key for key, _ in known])
        baseline = next((group.key for group in groups if group.is_baseline), None)
        judged = replace(_judged(found, baseline), problems=wrong)
        best = max((group for group in groups if group.completed), key=lambda group: mean(group.scores))
        return judged if best.key in found.keys else replace(judged, tied_with_best=frozenset())

    def _read(self, number: int, checkpoint: str) -> None:
        """Keep a trial's predictions, or why there are none."""
        try:
            table = read_predictions(self._paths.trial(number).root / checkpoint)
        except (DamagedFileError, OSError, pa.ArrowException) as error:
            self._problems[number] = f"no verdict on trial {number:04d}: {error}"
            return
        examples = table.select(EXAMPLES)
        if (wrong := self._unusable(table)) is None and self._examples is None:
            self._examples = examples
        if wrong is None and not examples.equals(self._examples):
            wrong = "it was scored on other examples than the first"
        if wrong is None:
            self._predictions[number] = table["prediction"].to_numpy()
            self._problems.pop(number, None)
        else:
            self._problems[number] = f"no verdict on trial {number:04d}: {wrong}"

    def _unusable(self, table: pa.Table) -> str | None:
        """Return what is wrong with a trial's table whatever the others hold: a task without examples, no numbers."""
        there = set(table["task"].unique().to_pylist())
        if missing := [task.name for task in self._tasks if task.name not in there]:
            return f"its predictions have no example of {', '.join(missing)}"
        for column in ("label", "prediction"):
            if bad := np.count_nonzero(~np.isfinite(table[column].to_numpy())):
                return f"{bad} of its {len(table)} {column}s are no numbers"
        return None

    def _answers(self, numbers: Sequence[int]) -> list[Answers]:
        assert self._examples is not None
        of_task = self._examples["task"].to_numpy(zero_copy_only=False)
        labels = self._examples["label"].to_numpy()
        predictions_NT = np.column_stack([self._predictions[number] for number in numbers])
        return [_of(task, of_task == task.name, labels, predictions_NT) for task in self._tasks]


def _of(task: Task, mask: "np.typing.NDArray[np.bool_]", labels: Array, predictions_NT: Array) -> Answers:
    return Answers(task=task, labels_N=labels[mask], predictions_NT=predictions_NT[mask])


def _judged(found: Configs, baseline: Hashable | None) -> Judgement:
    """Return what the statistics say of configs; without a baseline, of each alone."""
    noise = np.sqrt(np.maximum(np.diag(found.noise_TT), 0.0))
    degrees = found.degrees if found.seed_variance else np.inf
    half = stats.t.ppf(1 - ALPHA / 2, degrees) * noise
    columns: dict[Hashable, dict[str, Any]] = {
        key: {"ci_low": float(low), "ci_high": float(high)}
        for key, low, high in zip(found.keys, found.overall_T - half, found.overall_T + half, strict=True)
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


def _against_baseline(comparison: Comparison) -> dict[str, Any]:
    low, high = comparison.joint_interval
    return {
        "difference": comparison.difference,
        "difference_low": low,
        "difference_high": high,
        "p": comparison.p,
        "verdict": str(comparison.standing),
    }

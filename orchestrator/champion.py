"""Who is champion: the model that a confirmation found, unless an earlier champion on the same dev data is as good."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from evidence.confirm import Confirmation, Outcome, confirm_unpaired
from evidence.confirmations import example_error, share
from evidence.scores import Answers, scores
from model.checkpoint import read_predictions
from model.files import DamagedFileError, content_hash
from orchestrator.confirmation import champion_row, key_of
from orchestrator.errors import SweepError
from orchestrator.leaderboard import TrialRecord
from orchestrator.mlflow_client import CHAMPION, fetch_model
from orchestrator.paths import SweepPaths
from orchestrator.plan import Plan
from orchestrator.progress import interval_text
from orchestrator.tracking import Projection


@dataclass(frozen=True)
class Crowning:
    """What came of it."""

    said: str
    """Who has the alias now and why, in a sentence or two."""
    crowned: bool
    """Whether that is the confirmation's own champion."""


def crown(
    projection: Projection, plan: Plan, paths: SweepPaths, result: Mapping[str, Any], trials: Sequence[TrialRecord]
) -> Crowning:
    """Give the alias to the confirmation's champion, unless one of an earlier sweep is as good.

    Whoever was better than that one when it was crowned stays so, whatever later seeds say, and so is whoever is
    better than it: a config of the same confirmation that is neither answers to the earlier champion once more.
    """
    row = champion_row(result)
    if row is None:
        return Crowning("The baseline completed on no fresh seed: there is no champion.", crowned=False)
    number = row["best_trial"]
    best = next(trial for trial in trials if trial.number == number).best
    assert best is not None
    claim = _Claim(plan, row, paths.trial(number).root / best["checkpoint"], result["searched"])
    name = f"{plan.name}@{CHAMPION}"
    present = projection.models.champion()
    is_own = present is not None and present.tags.get("sweep_id") == plan.sweep_id
    earlier = present
    if present is not None and is_own:
        earlier = projection.models.version(present.tags["replaced"]) if "replaced" in present.tags else None
    if present is not None and earlier is not None and not (is_own and claim.is_settled_beside(present.tags)):
        beside = f"version {earlier.version}{', which it replaced' if is_own else ''}"
        why = claim.fails(f"{plan.name}/{earlier.version}", beside, earlier.tags, projection.uri)
        if why is not None:
            other = ", another config of this confirmation" if is_own else ""
            return Crowning(f"{name} stays version {present.version}{other}: {why}", crowned=False)
    replaced = {"replaced": str(earlier.version)} if earlier is not None else {}
    try:
        version = projection.models.crown(projection.runs[number], claim.tags(number) | replaced)
    except SweepError as error:  # its weights were released while another had the alias
        return Crowning(str(error), crowned=False)
    who = "the baseline, for nothing was shown to be better" if row["is_baseline"] else "better than the baseline"
    return Crowning(f"{name} is version {version}, trial {number:04d} of the confirmation: {who}.", crowned=True)


def dev_data(plan: Plan) -> str:
    """Return a hash of what a plan's trials are scored on."""
    content = {name: value for name, value in plan.data["content"].items() if name.endswith("/dev")}
    return content_hash([content, plan.data["max_dev_examples"]])


@dataclass(frozen=True)
class _Claim:
    """What a confirmation's champion has to show."""

    plan: Plan
    row: Mapping[str, Any]
    """Of the confirmation."""
    checkpoint: Path
    searched: int
    """Configs that it was chosen from."""

    @property
    def config(self) -> str:
        """Return what the trials of its config share, as a hash."""
        return content_hash(key_of(self.row["config"]))

    def tags(self, trial: int) -> dict[str, str]:
        """Return what it was confirmed by, as tags of its version: what a later one is held against."""
        return {
            "sweep_id": self.plan.sweep_id,
            "stage": "confirm",
            "trial": str(trial),
            "config": self.config,
            "tasks": _tasks(self.plan),
            "dev_data": dev_data(self.plan),
            "seeds": str(self.row["seeds"]),
            "scores": json.dumps(self.row["scores"]),
            "verdict": str(self.row["verdict"]),
        }

    def is_settled_beside(self, present: Mapping[str, str]) -> bool:
        """Return whether a champion of the same confirmation, with these tags, is this config or one it is better than.

        That one was settled as better than the earlier champion when it was crowned.
        """
        is_better = self.row["verdict"] == Outcome.BETTER and present.get("verdict") == "baseline"
        return is_better or present.get("config") == self.config

    def fails(self, earlier: str, called: str, tags: Mapping[str, str], uri: str) -> str | None:
        """Return why an earlier champion, NAME/VERSION with these tags, does not give way to it; None where it does."""
        by_hand = f"remove the alias {CHAMPION} in MLflow if it is to go"
        if other := _of_another_kind(tags, self.plan):
            return f"{other}; {by_hand}"
        with tempfile.TemporaryDirectory() as temporary:
            try:
                theirs = read_predictions(fetch_model(earlier, uri, Path(temporary)))
                found = self._beside(theirs, json.loads(tags["scores"]))
            except (SweepError, DamagedFileError, OSError, ValueError, pa.ArrowException) as error:
                return f"the two cannot be compared ({error}); {by_hand}"
        if found.outcome is Outcome.BETTER:
            return None
        return (
            f"this one's mean over {self.row['seeds']} fresh seeds is {found.mean:+.4f} beside that of {called} "
            f"({interval_text(*found.interval)}), and only a better one replaces it"
        )

    def _beside(self, theirs: pa.Table, old: Sequence[float]) -> Confirmation:
        """Return what its scores say beside an old one's. Raises ValueError where they are of other examples.

        It was chosen from `searched` configs, the old one's luck with the examples is as old as it is.
        """
        ours, examples = read_predictions(self.checkpoint), ["task", "id", "label"]
        if not ours.select(examples).equals(theirs.select(examples)):
            raise ValueError("they were scored on other examples")
        of_task, labels = ours["task"].to_numpy(zero_copy_only=False), ours["label"].to_numpy()
        both_NT = np.column_stack([ours["prediction"].to_numpy(), theirs["prediction"].to_numpy()])
        answers = [
            Answers(task=task, labels_N=labels[of_task == task.name], predictions_NT=both_NT[of_task == task.name])
            for task in self.plan.ranked_tasks()
        ]
        error = example_error(scores(answers), [0], [1])
        new = np.array(self.row["scores"])
        return confirm_unpaired(new, np.array(old), alpha=share(self.searched), example_error=error)


def _tasks(plan: Plan) -> str:
    return ", ".join(task.name for task in plan.ranked_tasks())


def _of_another_kind(tags: Mapping[str, str], plan: Plan) -> str | None:
    """Return why an earlier champion's scores cannot be held beside this sweep's, None where they can."""
    if "scores" not in tags:
        return "it was not given by a confirmation"
    if tags.get("tasks") != _tasks(plan):
        return f"it was confirmed on other tasks ({tags.get('tasks')}; here {_tasks(plan)})"
    return "it was confirmed on other dev data" if tags.get("dev_data") != dev_data(plan) else None

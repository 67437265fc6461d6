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
from orchestrator.confirmation import champion_row
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
    """Give the alias to the confirmation's champion, unless one of an earlier sweep is as good."""
    row = champion_row(result)
    if row is None:
        return Crowning("The baseline completed on no fresh seed: there is no champion.", crowned=False)
    number = row["best_trial"]
    trial = next(trial for trial in trials if trial.number == number)
    assert trial.best is not None
    folder = paths.trial(number).root / trial.best["checkpoint"]
    name = f"{plan.name}@{CHAMPION}"
    before = projection.models.champion()
    rival = before
    if before is not None and before.tags.get("sweep_id") == plan.sweep_id:  # with more seeds another may have won
        rival = projection.models.version(before.tags["replaced"]) if "replaced" in before.tags else None
    if before is not None and rival is not None:
        theirs = f"{plan.name}/{rival.version}"
        kept = _keeps(dict(rival.tags), theirs, plan, row, folder, projection.uri, result["searched"])
        if kept is not None:
            return Crowning(f"{name} stays version {before.version}: {kept}", crowned=False)
    replaced = {"replaced": str(rival.version)} if rival is not None else {}
    version = projection.models.crown(projection.runs[number], _tags(plan, row, number) | replaced)
    who = "the baseline, for nothing was shown to be better" if row["is_baseline"] else "better than the baseline"
    return Crowning(f"{name} is version {version}, trial {number:04d} of the confirmation: {who}.", crowned=True)


def dev_data(plan: Plan) -> str:
    """Return a hash of what a plan's trials are scored on."""
    content = {name: value for name, value in plan.data["content"].items() if name.endswith("/dev")}
    return content_hash([content, plan.data["max_dev_examples"]])


def _tags(plan: Plan, row: Mapping[str, Any], number: int) -> dict[str, str]:
    """Return what a champion was confirmed by, as tags of its version: what a later one is held against."""
    return {
        "sweep_id": plan.sweep_id,
        "stage": "confirm",
        "trial": str(number),
        "tasks": ", ".join(task.name for task in plan.ranked_tasks()),
        "dev_data": dev_data(plan),
        "seeds": str(row["seeds"]),
        "scores": json.dumps(row["scores"]),
        "verdict": str(row["verdict"]),
    }


def _keeps(
    tags: Mapping[str, str],
    model: str,
    plan: Plan,
    row: Mapping[str, Any],
    folder: Path,
    uri: str,
    searched: int,
) -> str | None:
    """Return why the present champion stays, None where it gives way."""
    by_hand = f"remove the alias {CHAMPION} in MLflow if it is to go"
    if other := _of_another_kind(tags, plan):
        return f"{other}; {by_hand}"
    with tempfile.TemporaryDirectory() as temporary:
        try:
            theirs = read_predictions(fetch_model(model, uri, Path(temporary)))
            theirs_S = json.loads(tags["scores"])
            found = _beside(plan, read_predictions(folder), theirs, row["scores"], theirs_S, searched)
        except (SweepError, DamagedFileError, OSError, ValueError, pa.ArrowException) as error:
            return f"the two cannot be compared ({error}); {by_hand}"
    if found.outcome is Outcome.BETTER:
        return None
    return (
        f"this one's mean over {row['seeds']} fresh seeds is {found.mean:+.4f} beside its own "
        f"({interval_text(*found.interval)}), and only a better one replaces it"
    )


def _of_another_kind(tags: Mapping[str, str], plan: Plan) -> str | None:
    """Return why the present champion's scores cannot be held beside this sweep's, None where they can."""
    tasks = ", ".join(task.name for task in plan.ranked_tasks())
    if "scores" not in tags:
        return "it was not given by a confirmation"
    if tags.get("tasks") != tasks:
        return f"it was confirmed on other tasks ({tags.get('tasks')}; here {tasks})"
    return "it was confirmed on other dev data" if tags.get("dev_data") != dev_data(plan) else None


def _beside(
    plan: Plan, ours: pa.Table, theirs: pa.Table, new: Sequence[float], old: Sequence[float], searched: int
) -> Confirmation:
    """Return what a new config's scores say beside an old one's. Raises ValueError where they are of other examples.

    The new one was chosen from `searched` configs, the old one's luck with the examples is as old as it is.
    """
    examples = ["task", "id", "label"]
    if not ours.select(examples).equals(theirs.select(examples)):
        raise ValueError("they were scored on other examples")
    of_task, labels = ours["task"].to_numpy(zero_copy_only=False), ours["label"].to_numpy()
    both_NT = np.column_stack([ours["prediction"].to_numpy(), theirs["prediction"].to_numpy()])
    answers = [
        Answers(task=task, labels_N=labels[of_task == task.name], predictions_NT=both_NT[of_task == task.name])
        for task in plan.ranked_tasks()
    ]
    error = example_error(scores(answers), [0], [1])
    return confirm_unpaired(np.array(new), np.array(old), alpha=share(searched), example_error=error)

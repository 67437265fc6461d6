"""The test set, opened: winner and baseline scored on it together, once, on the record.

The one door to what trials cannot read. An opening is written down before anything is scored, in a record that all
sweeps of OUT share; whoever opens the same data again finds it counted, and so does everybody who reads the result.
"""

import json
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from evidence.comparisons import Standing, compare
from evidence.confirm import Outcome
from evidence.scores import Answers, Array, scores
from evidence.seeds import configs
from model.checkpoint import Checkpoint, load_model, open_checkpoint
from model.data import Split
from model.encoder_files import EncoderSource
from model.encoder_store import encoder_of
from model.evaluation import labels_from
from model.files import DamagedFileError, content_hash
from model.sealed import open_test
from model.table_file import DataError
from model.tasks import Task, overall_score
from model.training import tokenized
from orchestrator import errors, show_confirmation
from orchestrator.confirmation import Asked
from orchestrator.confirming import ConfirmRequest, finished_sweep
from orchestrator.console import console as console_for
from orchestrator.console import say
from orchestrator.errors import SweepError
from orchestrator.folders import private_files
from orchestrator.idle import IdleSweep
from orchestrator.openings import OPENED, SCORED, read_lines, result_of, unscored, write_line
from orchestrator.paths import TrialPaths
from orchestrator.plan import Plan, read_plan
from orchestrator.publishing import attempt, publish
from orchestrator.show_confirmation import LEADER
from orchestrator.study import study_of
from orchestrator.trial_files import read_verdict


def open_test_set(request: ConfirmRequest) -> int:
    """Score winner and baseline on the sealed test set; return the exit code. Raises SweepError."""
    console = console_for(stderr=request.as_json, quiet=request.quiet)
    with private_files(), finished_sweep(request) as search:
        contestants = _contestants(search, _confirmed(search))
        tests = _test_sets(search.plan)
        record = search.paths.openings
        found = result_of(record, search.plan.sweep_id)
        models = {each.who: list(each.checkpoints) for each in contestants}
        if found is None or found["models"] != models:
            console.print(f"opening the test set: {sum(map(len, models.values()))} models are scored, on the record")
            opening = _on_record(search, tests)
            scored = _of_opening(tests) | {"models": models} | _scored(search, contestants, tests)
            write_line(record, {"event": SCORED, "id": opening["id"], "found": scored})
            found = result_of(record, search.plan.sweep_id)
            assert found is not None
        else:
            console.print("these models were scored before: this is what the record says, and no further opening")
        for line in show_confirmation.test_lines(found):
            console.print(line, soft_wrap=True)
        console.print(f"record       {record}", soft_wrap=True)
        if request.as_json:
            say(json.dumps({"event": "opened", **found}))
        if trouble := attempt(lambda: publish(search, request.tracking_uri)):
            say(f"error: MLflow is not up to date ({trouble}); rebuild brings it up to date", to=sys.stderr)
            return errors.UNREACHABLE
    return errors.DONE


def _confirmed(search: IdleSweep) -> Mapping[str, Any]:
    """Return what the confirmation found. Raises SweepError where there is none that is done."""
    try:
        result: Mapping[str, Any] = json.loads(search.paths.confirmed.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if search.paths.asked.exists():
            begun = Asked.read(search.paths.asked)
            raise SweepError(
                f"sweep {search.plan.name!r}: its confirmation is not finished; first: python -m orchestrator.confirm "
                f"{search.plan.name} --top {begun.top} --seeds {begun.seeds}"
            ) from error
        raise SweepError(
            f"sweep {search.plan.name!r} has no confirmation, and the test set is opened for its winner; first: "
            f"python -m orchestrator.confirm {search.plan.name} --top 2 --seeds 5"
        ) from error
    confirmation = study_of(search.paths.confirmation, read_plan(search.paths.confirmation.plan), None)
    if confirmation.is_open():
        raise SweepError(
            f"sweep {search.plan.name!r}: its confirmation has trials to run; run its command to the end first"
        )
    if result["champion"] is None:
        raise SweepError(
            f"sweep {search.plan.name!r}: no trial of its confirmation completed; there is nothing to score"
        )
    return result


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A config that is scored: the winner, or the baseline."""

    who: str
    row: Mapping[str, Any]
    """Of the confirmation."""
    checkpoints: Mapping[int, Checkpoint]
    """Of its trials on fresh seeds."""


def _contestants(search: IdleSweep, result: Mapping[str, Any]) -> list[Contestant]:
    """Return winner and baseline; of a confirmation without a winner, the best candidate leads. Raises SweepError.

    All is checked here: nothing goes on the record that cannot be scored.
    """
    whole = [row for row in result["rows"] if row["mean"] is not None]
    base = [row for row in whole if row["is_baseline"]]
    others = [row for row in whole if not row["is_baseline"]]
    others.sort(key=lambda row: (row["verdict"] != Outcome.BETTER, -row["mean"]))
    found = []
    for row in [*others[:1], *base]:
        who = "baseline" if row["is_baseline"] else "winner" if row["verdict"] == Outcome.BETTER else LEADER
        numbers = [number for number in row["trials"] if number not in row["failed"]]
        try:
            checkpoints = {number: _checkpoint(search.paths.confirmation.trial(number)) for number in numbers}
        except (DamagedFileError, ValueError) as error:
            raise SweepError(f"{error}; the test set was not opened") from error
        found.append(Contestant(who=who, row=row, checkpoints=checkpoints))
    return found


def _checkpoint(folder: TrialPaths) -> Checkpoint:
    """Return a trial's best checkpoint. Raises DamagedFileError, or ValueError where its weights were released."""
    verdict = read_verdict(folder)
    if verdict is None:
        raise DamagedFileError(f"{folder.verdict}: says nothing of how the trial ended")
    checkpoint = open_checkpoint(folder.root / verdict["best"]["checkpoint"])
    _ = checkpoint.weights
    return checkpoint


def _test_sets(plan: Plan) -> dict[str, Split]:
    """Return the test set of each task that has one. Raises SweepError."""
    sealed = plan.data["sealed"]
    lacking = [task.name for task in plan.ranked_tasks() if sealed[task.name]["origin"] == "none"]
    if lacking:
        raise SweepError(
            f"sweep {plan.name!r} has no test set of {', '.join(lacking)}: no labelled test file lay there when it was "
            "planned, and a tenth of so few training examples would tell nothing"
        )
    try:
        return {task.name: open_test(plan.data["source"], task, sealed[task.name]) for task in plan.ranked_tasks()}
    except DataError as error:
        raise SweepError(str(error)) from error


def _on_record(search: IdleSweep, tests: Mapping[str, Split]) -> dict[str, Any]:
    """Write this opening down, and return it; one of this sweep that was never scored is gone on with."""
    record, parts = search.paths.openings, {name: split.content_hash() for name, split in tests.items()}
    if (begun := unscored(read_lines(record), search.plan.sweep_id)) is not None:
        return begun
    opening = {
        "event": OPENED,
        "id": uuid.uuid4().hex,
        "opened": time.strftime("%F %T %z"),
        "sweep": search.plan.name,
        "sweep_id": search.plan.sweep_id,
        "test_set": content_hash(parts),
        "parts": parts,
    }
    write_line(record, opening)
    return opening


def _of_opening(tests: Mapping[str, Split]) -> dict[str, Any]:
    """Return what was opened."""
    return {
        "examples": sum(len(split) for split in tests.values()),
        "sources": {name: Path(split.source).name for name, split in tests.items()},
    }


def _scored(search: IdleSweep, contestants: Sequence[Contestant], tests: Mapping[str, Split]) -> dict[str, Any]:
    """Return the scores of every fresh seed of winner and baseline, and how the two stand to each other."""
    plan, tasks = search.plan, search.plan.ranked_tasks()
    source = encoder_of(plan.encoder, plan.encoder["given"], search.paths.encoders)
    trials = [(each, number) for each in contestants for number in each.checkpoints]
    predicted = [_predictions(each.checkpoints[number], source, tasks, tests) for each, number in trials]
    answers = [_answers(task, tests[task.name], [of_trial[task.name] for of_trial in predicted]) for task in tasks]
    by_task = {entry.task.name: entry.scores_T().tolist() for entry in answers}
    overall = [overall_score(tasks, {name: of[place] for name, of in by_task.items()}) for place in range(len(trials))]
    rows = []
    for contestant in contestants:
        places = [place for place, (each, _) in enumerate(trials) if each is contestant]
        own = [overall[place] for place in places]
        rows.append(
            {
                "who": contestant.who,
                "trial": contestant.row["search_trial"],
                "seeds": len(places),
                "mean": mean(own),
                "sd": stdev(own) if len(own) > 1 else None,
                "scores": own,
                **{name: mean(of[place] for place in places) for name, of in by_task.items()},
            }
        )
    if len(contestants) < 2:
        return {"rows": rows}
    compared = compare(configs(scores(answers), [each.who for each, _ in trials]), "baseline")
    first = next(each for each in compared if each.standing is not Standing.BASELINE)
    low, high = first.interval
    return {
        "rows": rows,
        "difference": first.difference,
        "difference_low": low,
        "difference_high": high,
        "verdict": str(first.standing),
    }


def _answers(task: Task, test: Split, predictions: Sequence[Array]) -> Answers:
    assert test.labels is not None
    return Answers(task=task, labels_N=test.labels, predictions_NT=np.column_stack(predictions))


def _predictions(
    checkpoint: Checkpoint, source: EncoderSource, tasks: Sequence[Task], tests: Mapping[str, Split]
) -> dict[str, Array]:
    """Return a model's predicted labels of each task's test set."""
    model, tokenizer = load_model(checkpoint, source), source.tokenizer()
    examples = {
        task.name: tokenized(tests[task.name], checkpoint.config, tokenizer, source.tokenizer_sha256) for task in tasks
    }
    return {task.name: labels_from(task, model.predict(task, examples[task.name])) for task in tasks}

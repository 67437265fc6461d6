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
from rich.console import Console

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
from orchestrator.confirmation import Asked, champion_row
from orchestrator.confirming import ConfirmRequest, begun, finished_sweep
from orchestrator.console import console as console_for
from orchestrator.console import say
from orchestrator.errors import SweepError
from orchestrator.folders import private_files
from orchestrator.idle import IdleSweep
from orchestrator.openings import OPENED, SCORED, read_lines, result_of, unscored, write_line
from orchestrator.paths import TrialPaths
from orchestrator.plan import Plan
from orchestrator.publishing import attempt, publish
from orchestrator.show_confirmation import LEADER
from orchestrator.trial_files import read_verdict


def open_test_set(request: ConfirmRequest) -> int:
    """Score winner and baseline on the sealed test set; return the exit code. Raises SweepError."""
    console = console_for(stderr=request.as_json, quiet=request.quiet)
    with private_files(), finished_sweep(request) as search:
        entered = contestants(search, _confirmed(search))
        tests = _test_sets(search.plan)
        record = search.paths.openings
        found = result_of(record, search.plan.sweep_id)
        models = {
            each.who: [checkpoint.predictions_sha256 for checkpoint in each.checkpoints.values()] for each in entered
        }
        if found is None or found["models"] != models:
            _require_weights(entered)
            console.print(f"opening the test set: {sum(map(len, models.values()))} models are scored, on the record")
            opening = _on_record(search, tests)
            scored = _of_opening(tests) | {"models": models} | _scored(search, entered, tests, console)
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
    """Return what the confirmation found. Raises SweepError where there is none that is at its end and written down."""
    name = search.plan.name
    if not search.paths.asked.exists():
        raise SweepError(
            f"sweep {name!r} has no confirmation, and the test set is opened for its winner; first: "
            f"python -m orchestrator.confirm {name} --top 2 --seeds 5"
        )
    found = begun(search)
    result = found.result() if found else None
    if result is None or not _is_written(search.paths.confirmed, result):
        asked = Asked.read(search.paths.asked)
        raise SweepError(
            f"sweep {name!r}: its confirmation is not finished; first: python -m orchestrator.confirm {name} "
            f"--top {asked.top} --seeds {asked.seeds}"
        )
    if result["champion"] is None:
        raise SweepError(f"sweep {name!r}: no trial of its confirmation completed; there is nothing to score")
    return result


def _is_written(file: Path, result: Mapping[str, Any]) -> bool:
    """Return whether a confirmation's file says what decides in this result.

    The last digits of what is computed from it may be another machine's.
    """

    def decides(found: Mapping[str, Any]) -> list[Any]:
        rows = [[row["trials"], row["failed"], row["scores"], row["verdict"]] for row in found["rows"]]
        return [found["seeds"], found["champion"], rows]

    try:
        return decides(json.loads(file.read_text(encoding="utf-8"))) == decides(result)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A config that is scored: the winner, or the baseline."""

    who: str
    row: Mapping[str, Any]
    """Of the confirmation."""
    checkpoints: Mapping[int, Checkpoint]
    """Of its trials on fresh seeds."""


def contestants(search: IdleSweep, result: Mapping[str, Any]) -> list[Contestant]:
    """Return winner and baseline; of a confirmation without a winner the best that is undecided stands in for it.

    Raises SweepError.
    """
    base = [row for row in result["rows"] if row["is_baseline"] and row["mean"] is not None]
    champion = champion_row(result)
    if champion is not None and not champion["is_baseline"]:
        first = [("winner", champion)]
    else:
        open_ = [row for row in result["rows"] if row["verdict"] == Outcome.UNDECIDED]
        first = [(LEADER, max(open_, key=lambda row: float(row["mean"])))] if open_ else []
    found = []
    for who, row in [*first, *(("baseline", row) for row in base)]:
        numbers = [number for number in row["trials"] if number not in row["failed"]]
        try:
            checkpoints = {number: _checkpoint(search.paths.confirmation.trial(number)) for number in numbers}
        except DamagedFileError as error:
            raise SweepError(f"{error}; the test set was not opened") from error
        found.append(Contestant(who=who, row=row, checkpoints=checkpoints))
    return found


def _require_weights(entered: Sequence[Contestant]) -> None:
    """Raise SweepError where a model has no weights any more: nothing goes on the record that cannot be scored."""
    try:
        for each in entered:
            for checkpoint in each.checkpoints.values():
                _ = checkpoint.weights
    except ValueError as error:
        raise SweepError(f"{error}; the test set was not opened") from error


def _checkpoint(folder: TrialPaths) -> Checkpoint:
    """Return a trial's best checkpoint. Raises DamagedFileError."""
    verdict = read_verdict(folder)
    if verdict is None:
        raise DamagedFileError(f"{folder.verdict}: says nothing of how the trial ended")
    return open_checkpoint(folder.root / verdict["best"]["checkpoint"])


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
    if (unfinished := unscored(read_lines(record), search.plan.sweep_id)) is not None:
        return unfinished
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


def _scored(
    search: IdleSweep, contestants: Sequence[Contestant], tests: Mapping[str, Split], console: Console
) -> dict[str, Any]:
    """Return the scores of every fresh seed of winner and baseline, and how the two stand to each other."""
    plan, tasks = search.plan, search.plan.ranked_tasks()
    source = encoder_of(plan.encoder, plan.encoder["given"], search.paths.encoders)
    trials = [(each, number) for each in contestants for number in each.checkpoints]
    predicted = []
    for each, number in trials:
        predicted.append(_predictions(each.checkpoints[number], source, tasks, tests))
        console.print(f"  {len(predicted)}/{len(trials)}  {each.who}, trial {number:04d} of the confirmation")
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

"""The test set, opened: winner and baseline scored on it together, once, on the record.

The one door to what trials cannot read. An opening is written down before anything is scored, in a record that all
sweeps of OUT share; whoever opens the same data again finds it counted, and so does everybody who reads the result.
"""

import json
import os
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from evidence.comparisons import Standing, compare
from evidence.scores import Answers, scores
from evidence.seeds import configs
from model.checkpoint import load_model, open_checkpoint
from model.data import Split
from model.encoder_store import encoder_of
from model.evaluation import labels_from
from model.files import content_hash, flush_folder, write_json
from model.sealed import open_test
from model.table_file import DataError
from model.tasks import Task, overall_score
from model.training import tokenized
from orchestrator import errors, show_confirmation
from orchestrator.confirmation import key_of
from orchestrator.confirming import ConfirmRequest, finished_sweep
from orchestrator.console import console as console_for
from orchestrator.console import say
from orchestrator.errors import SweepError
from orchestrator.folders import private_files
from orchestrator.idle import IdleSweep
from orchestrator.mlflow_client import first_line
from orchestrator.paths import SweepPaths
from orchestrator.plan import Plan, read_plan
from orchestrator.publishing import publish
from orchestrator.trial_files import read_verdict


def open_test_set(request: ConfirmRequest) -> int:
    """Score winner and baseline on the sealed test set; return the exit code. Raises SweepError."""
    console = console_for(stderr=request.as_json, quiet=request.quiet)
    with private_files(), finished_sweep(request) as search:
        result = _confirmed(search)
        tests = _test_sets(search.plan)
        opening = _on_record(search, tests)
        found = _scored(search, result, tests, opening)
        write_json(search.paths.opened, found)
        trouble = None
        try:
            publish(search, request.tracking_uri)
        except SweepError:
            raise
        except Exception as error:  # noqa: BLE001  (whatever MLflow raises)
            trouble = first_line(error)
        for line in show_confirmation.test_lines(found):
            console.print(line, soft_wrap=True)
        console.print(f"record       {search.paths.openings}", soft_wrap=True)
        if request.as_json:
            say(json.dumps({"event": "opened", **found}))
        if trouble:
            say(f"error: MLflow is not up to date ({trouble}); rebuild brings it up to date", to=sys.stderr)
            return errors.UNREACHABLE
    return errors.DONE


def _confirmed(search: IdleSweep) -> Mapping[str, Any]:
    """Return what the confirmation found. Raises SweepError where there is none that is done."""
    try:
        result: Mapping[str, Any] = json.loads(search.paths.confirmed.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SweepError(
            f"sweep {search.plan.name!r} has no confirmation, and the test set is opened for its winner; first: "
            f"python -m orchestrator.confirm {search.plan.name} --top 2 --seeds 5"
        ) from error
    if result["champion"] is None:
        raise SweepError(
            f"sweep {search.plan.name!r}: no trial of its confirmation completed; there is nothing to score"
        )
    return result


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
    known = read_openings(record)
    done = _scored_openings(search.paths)
    for entry in known:
        if entry["sweep_id"] == search.plan.sweep_id and entry["id"] not in done:
            return entry
    entry = {
        "id": uuid.uuid4().hex,
        "opened": time.strftime("%F %T %z"),
        "sweep": search.plan.name,
        "sweep_id": search.plan.sweep_id,
        "test_set": content_hash(parts),
        "parts": parts,
    }
    write_opening(record, entry)
    return entry


def write_opening(record: Path, entry: Mapping[str, Any]) -> None:
    """Add a line to the record, and see it to the disk; after one that was cut off, on a line of its own."""
    line = json.dumps(entry, sort_keys=True) + "\n"
    with record.open("a+b") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            line = line if file.read() == b"\n" else f"\n{line}"
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())
    flush_folder(record.parent)


def read_openings(record: Path) -> list[dict[str, Any]]:
    """Return every opening so far. A line that a killed process left unfinished is none: nothing was scored then."""
    found = []
    try:
        lines = record.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def _scored_openings(paths: SweepPaths) -> set[str]:
    """Return the openings of this sweep of which somebody has read a score."""
    try:
        return set(json.loads(paths.opened.read_text(encoding="utf-8"))["ids"])
    except FileNotFoundError:
        return set()


def _scored(
    search: IdleSweep, result: Mapping[str, Any], tests: Mapping[str, Split], opening: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the scores of winner and baseline, every fresh seed of each, and how they stand to each other."""
    plan = read_plan(search.paths.confirmation.plan)
    tasks = search.plan.ranked_tasks()
    rows = _rows(result)
    numbers = [number for row in rows for number in row["trials"] if number not in row["failed"]]
    predicted = [_predictions(search, plan, number, tasks, tests) for number in numbers]
    answers = []
    for task in tasks:
        labels = tests[task.name].labels
        assert labels is not None
        answers.append(
            Answers(
                task=task,
                labels_N=labels,
                predictions_NT=np.column_stack([of_trial[task.name] for of_trial in predicted]),
            )
        )
    keys = [key_of(row["config"]) for row in rows for number in row["trials"] if number not in row["failed"]]
    by_task = {entry.task.name: entry.scores_T() for entry in answers}
    overall = [
        overall_score(tasks, {name: float(of_task[place]) for name, of_task in by_task.items()})
        for place in range(len(numbers))
    ]
    found = {
        "ids": sorted({*_scored_openings(search.paths), str(opening["id"])}),
        "opened": opening["opened"],
        "test_set": opening["test_set"],
        "openings": _times(read_openings(search.paths.openings), opening),
        "examples": sum(len(split) for split in tests.values()),
        "sources": {name: Path(split.source).name for name, split in tests.items()},
        "rows": [],
    }
    for row in rows:
        places = [place for place, key in enumerate(keys) if key == key_of(row["config"])]
        of_row = [overall[place] for place in places]
        found["rows"].append(
            {
                "who": "baseline" if row["is_baseline"] else "winner" if row["verdict"] == "better" else "leader",
                "trial": row["search_trial"],
                "seeds": len(places),
                "mean": mean(of_row),
                "sd": stdev(of_row) if len(of_row) > 1 else None,
                "scores": of_row,
                "champion": overall[numbers.index(row["best_trial"])],
                **{name: float(np.mean(of_task[places])) for name, of_task in by_task.items()},
            }
        )
    if len(rows) == 2:
        compared = compare(configs(scores(answers), keys), key_of(rows[1]["config"]))
        first = next(each for each in compared if each.standing is not Standing.BASELINE)
        low, high = first.interval
        verdict = str(first.standing)
        found |= {"difference": first.difference, "difference_low": low, "difference_high": high, "verdict": verdict}
    return found


def _rows(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the winner's row and the baseline's; of a confirmation without a winner, that of the best candidate."""
    whole = [row for row in result["rows"] if row["mean"] is not None]
    base = [row for row in whole if row["is_baseline"]]
    others = sorted(
        (row for row in whole if not row["is_baseline"]), key=lambda row: (row["verdict"] != "better", -row["mean"])
    )
    return [*others[:1], *base]


def _times(known: Sequence[Mapping[str, Any]], opening: Mapping[str, Any]) -> int:
    """Return how often any task's test data of this opening were opened, this time among them."""
    parts = set(opening["parts"].values())
    return max(sum(part in entry["parts"].values() for entry in known) for part in parts)


def _predictions(
    search: IdleSweep, plan: Plan, number: int, tasks: Sequence[Task], tests: Mapping[str, Split]
) -> dict[str, Any]:
    """Return a trial's predicted labels for each task's test set."""
    folder = search.paths.confirmation.trial(number)
    verdict = read_verdict(folder)
    assert verdict is not None
    checkpoint = open_checkpoint(folder.root / verdict["best"]["checkpoint"])
    source = encoder_of(plan.encoder, plan.encoder["given"], search.paths.encoders)
    model, tokenizer = load_model(checkpoint, source), source.tokenizer()
    return {
        task.name: labels_from(
            task,
            model.predict(task, tokenized(tests[task.name], checkpoint.config, tokenizer, source.tokenizer_sha256)),
        )
        for task in tasks
    }

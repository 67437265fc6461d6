"""One run of the sweep command: plan, lock, study, tracking, trials, leaderboard, in this order."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from model.data_report import concerns
from model.data_report import report as data_report
from model.encoder_store import keep_encoder
from model.failpoints import reach
from model.files import flush_folder, write_json
from orchestrator import errors, show
from orchestrator.console import say
from orchestrator.examination import Examined, examine, require
from orchestrator.hold import hold
from orchestrator.interruptible import interruptible, same_command, stopped
from orchestrator.leaderboard import groups, leaderboard, read_trials, write_leaderboard
from orchestrator.lease import leased
from orchestrator.open_sweep import OpenSweep, run_trials
from orchestrator.paths import SweepPaths
from orchestrator.plan import Draft, concurrency, settle
from orchestrator.publishing import attempt, draw
from orchestrator.readiness import SECOND_STAGE, refuse_other_resources, tracking
from orchestrator.request import Request
from orchestrator.resources import Machine
from orchestrator.retention import remove_leftovers
from orchestrator.signals import Signals
from orchestrator.spec import LoadedSweep
from orchestrator.store import require_same_store
from orchestrator.study import study_of
from orchestrator.study_place import note_study, told_where_lost
from orchestrator.tracking import Projection

MODULE = "orchestrator.sweep"


@dataclass(frozen=True, kw_only=True)
class Command:
    """One run of the command: what was asked for, and all that is known before the sweep's folder is touched."""

    request: Request
    loaded: LoadedSweep
    machine: Machine
    why: str
    """Why this profile."""
    drafted: Draft
    paths: SweepPaths
    console: Console
    signals: Signals


def run(examined: Examined) -> int:
    """Do what was asked for and found in order so far; return the exit code. Raises SweepError for what is not."""
    request = examined.request
    return interruptible(MODULE, lambda *shown: _run(examined, *shown), as_json=request.as_json, quiet=request.quiet)


def _run(examined: Examined, console: Console, signals: Signals) -> int:
    """Examine what is left; show the sweep, or hold its name and run it."""
    request, paths = examined.request, examined.paths
    checks = [check for check in SECOND_STAGE if not (request.dry_run and check[1] is tracking)]
    findings = []
    for finding in examine(examined, checks):
        findings.append(finding)
        signals.take()  # ray.init has taken them
    require(findings)
    machine, drafted, loaded = examined.machine, examined.drafted, examined.loaded
    assert machine is not None
    assert drafted is not None
    assert loaded is not None
    if request.dry_run:
        at_once = examined.at_once
        console.print(show.header(drafted.plan, machine, at_once, examined.why), soft_wrap=True)
        kept, cache_limit = request.keep_checkpoints, request.cache_bytes
        show.dry_run(console, drafted, paths, at_once, keep=kept, cache_limit=cache_limit)
        return errors.DONE
    with hold(paths):
        return _drive(
            Command(
                request=request,
                loaded=loaded,
                machine=machine,
                why=examined.why,
                drafted=drafted,
                paths=paths,
                console=console,
                signals=signals,
            )
        )


def _drive(command: Command) -> int:
    """Run the sweep whose name is held, or what is left of it."""
    request, paths, drafted = command.request, command.paths, command.drafted
    remove_leftovers(paths)
    if request.new:
        _put_aside(paths)
    note_study(paths, request.study_uri)
    plan = settle(paths.plan, drafted.plan)
    reach("sweep: planned")
    require_same_store(paths, request.tracking_uri)
    refuse_other_resources(plan, command.machine, request.cpus_per_trial)
    keep_encoder(drafted.encoder, paths.encoders)
    notes = _concerns(paths, drafted)
    study = study_of(paths, plan, command.loaded.sweep.space)
    with told_where_lost(paths.study_uri), leased(study) as lease:
        sweep = OpenSweep(
            plan=plan,
            paths=paths,
            study=study,
            lease=lease,
            projection=Projection(plan, paths, request.tracking_uri, request.keep_checkpoints),
            machine=command.machine,
            at_once=concurrency(plan, command.machine, request.concurrent),
            signals=command.signals,
            manner=request,
        )
        return _run_leased(command, sweep, notes)


def _run_leased(command: Command, sweep: OpenSweep, notes: Sequence[str]) -> int:
    """Run the trials that are left, and say what came of it."""
    console = command.console
    console.print(show.header(sweep.plan, command.machine, sweep.at_once, command.why), soft_wrap=True)
    for line in notes:
        console.print(f"  note  {line}", soft_wrap=True)
    console.print(show.place(command.paths, sweep.projection.link, command.request.tracking_uri), soft_wrap=True)
    trouble = run_trials(sweep)
    if trouble is not None:
        say(f"error: the sweep was stopped: {trouble}", to=sys.stderr)
        say(
            f"what is saved stays; when that is mended, the same command continues:\n  {same_command(MODULE)}",
            to=sys.stderr,
        )
        return errors.FAILED
    return stopped(MODULE, console) if command.signals.asked else _finish(command, sweep)


def _concerns(paths: SweepPaths, drafted: Draft) -> list[str]:
    """Return what a person may want to mend in the data, from the data report; write that where there is none."""
    try:
        return concerns(json.loads(paths.data_report.read_text(encoding="utf-8")), drafted.corpus)
    except (FileNotFoundError, ValueError, KeyError):  # the latter two: it was changed, or is of another version
        found = data_report(drafted.corpus, drafted.encoder.tokenizer())
        write_json(paths.data_report, found)
        return concerns(found, drafted.corpus)


def _finish(command: Command, sweep: OpenSweep) -> int:
    """Bring everything up to date, write and print the leaderboard."""
    plan, study, projection, paths = sweep.plan, sweep.study, sweep.projection, sweep.paths
    console, request = command.console, command.request
    remove_leftovers(paths)
    trials = read_trials(study, paths)
    trouble = attempt(projection.refresh) or attempt(lambda: projection.sync(trials))
    judgement = projection.judge.judge(groups(plan, trials))
    board = leaderboard(plan, paths, trials, projection.runs, judgement)
    write_leaderboard(paths, board)
    majority = show.majority_score(plan, command.drafted.corpus)
    where = show.place(paths, projection.link, request.tracking_uri)
    open_trials = plan.trials - len(study.ended())
    if open_trials <= 0:
        draw(paths, board, majority, projection.link)
    show.final(console, plan, paths, board, majority, where)
    for note in judgement.notes():
        console.print(f"note  {note}", soft_wrap=True)
    if open_trials > 0:
        console.print(f"{open_trials} of {plan.trials} trials are still to run; the same command runs them")
        return errors.DONE if request.local else errors.FAILED
    if request.as_json:
        say(json.dumps({"event": "finished", "leaderboard": str(paths.leaderboard), "mlflow": projection.link}))
    trouble = trouble or attempt(lambda: projection.finish(board, majority))
    trouble = trouble or attempt(lambda: projection.settle(trials))
    if trouble:
        say(f"error: MLflow is not up to date ({trouble}); the same command brings it up to date", to=sys.stderr)
        return errors.UNREACHABLE
    return errors.TRIALS_FAILED if "failed" in study.ended().values() else errors.DONE


def _put_aside(paths: SweepPaths) -> None:
    """Move an earlier sweep of this name out of the way; nothing is deleted."""
    if paths.root.exists():
        name = f"{paths.name}.until-{time.strftime('%Y%m%d-%H%M%S')}"
        taken = len(list(paths.out.glob(f"{name}*")))  # within the second
        reach("sweep: put aside")
        paths.root.rename(paths.out / (f"{name}-{taken + 1}" if taken else name))
        flush_folder(paths.out)

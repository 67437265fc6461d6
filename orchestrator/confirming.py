"""One run of the confirm command: rounds of fresh seeds until all is settled, then who is champion."""

import json
import sys
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from model.failpoints import reach
from model.files import write_json
from model.table_file import DataError
from orchestrator import confirmation, errors, ray_environment, show_confirmation
from orchestrator.champion import crown
from orchestrator.confirmation import Asked, Standing
from orchestrator.console import say
from orchestrator.errors import SweepError, refuse
from orchestrator.failures import InputChangedError
from orchestrator.idle import IdleSweep, idle_sweep
from orchestrator.interruptible import interruptible, same_command, stopped
from orchestrator.judgement import Judge
from orchestrator.leaderboard import TrialRecord, leaderboard, read_trials
from orchestrator.lease import leased
from orchestrator.material import planned_corpus
from orchestrator.open_sweep import OpenSweep, run_trials
from orchestrator.openings import result_of
from orchestrator.plan import Plan, absolute, concurrency, read_plan
from orchestrator.publishing import attempt, publish
from orchestrator.readiness import refuse_other_resources
from orchestrator.request import Manner
from orchestrator.resources import NodeWish, find_machine
from orchestrator.retention import remove_leftovers
from orchestrator.signals import Signals
from orchestrator.study import study_of
from orchestrator.study_place import told_where_lost
from orchestrator.tracking import Projection

MODULE = "orchestrator.confirm"
ADVICE = "confirm it when that one ends"


@dataclass(frozen=True, kw_only=True)
class ConfirmRequest(Manner):
    """What a person asks for."""

    name: str
    out: Path
    top: int
    seeds: int
    tracking_uri: str | None = None
    data: str | None = None
    """Where the data lie now, if they moved."""


class Confirmation:
    """The confirmation of a finished sweep: what is asked, and its trials so far."""

    def __init__(self, search: IdleSweep, asked: Asked, plan: Plan) -> None:
        """Open its records."""
        self.search, self.asked, self.plan = search, asked, plan
        self.paths = search.paths.confirmation
        self.judge = Judge(plan, self.paths)
        self._searched = read_trials(search.study, search.paths)
        # What a round holds is no point of a space: its trials have configs, and no params.
        self.study = study_of(self.paths, replace(plan, varies=[]), None, self._extended)

    def trials(self) -> list[TrialRecord]:
        """Return its trials so far."""
        return read_trials(self.study, self.paths)

    def _extended(self) -> Plan | None:
        """Write down and return the plan with one more round; None where there is to be none."""
        more = self._next(confirmation.standings(self.plan, self.trials(), self.judge, self.asked))
        if more is None:
            return None
        reach("confirmation: next round")
        write_json(self.paths.plan, more.to_dict())
        reach("confirmation: next round is planned")
        self.plan = more
        return replace(more, varies=[])

    def result(self) -> dict[str, Any] | None:
        """Return what it found at its end; None while a trial or a round is left.

        With more seeds than before, one that was at its end goes on.
        """
        if len(self.study.ended()) < len(self.plan.configs):
            return None
        trials = self.trials()
        found = confirmation.standings(self.plan, trials, self.judge, self.asked)
        if self._next(found) is not None:
            return None
        return confirmation.outcome(self.plan, self._searched, trials, found, self.asked)

    def _next(self, found: Mapping[Hashable, Standing]) -> Plan | None:
        """Return the plan with one more round; None where there is to be none."""
        return confirmation.next_plan(self.plan, self._searched, self.asked, confirmation.settled(found))


def run(request: ConfirmRequest) -> int:
    """Confirm, or go on with it; return the exit code. Raises SweepError for what is not in order."""

    def work(console: Console, signals: Signals) -> int:
        with finished_sweep(request) as search:
            return _confirm(request, search, console, signals)

    return interruptible(MODULE, work, as_json=request.as_json, quiet=request.quiet)


@contextmanager
def finished_sweep(request: ConfirmRequest) -> Iterator[IdleSweep]:
    """Open a finished sweep whose data are still there. Raises SweepError."""
    with idle_sweep(request.name, request.out, request.tracking_uri, ADVICE) as search:
        ended = len(search.study.ended())
        if search.study.is_open() or not search.paths.leaderboard.exists():
            raise SweepError(
                f"sweep {request.name!r}: {ended} of {search.plan.trials} trials have ended; a confirmation is of a "
                "finished sweep: run its command again first"
            )
        plan = search.plan
        if request.data is not None:
            plan = replace(plan, data={**plan.data, "source": absolute(request.data)})
        try:
            planned_corpus(plan.data, plan.task_list())
        except (DataError, InputChangedError) as error:
            raise SweepError(f"{error}; --data DIR names the sweep's data where they lie now") from error
        yield replace(search, plan=plan)


def _confirm(request: ConfirmRequest, search: IdleSweep, console: Console, signals: Signals) -> int:
    asked, plan = asked_and_planned(request, search)
    if request.address is not None:
        ray_environment.prepare(request.out, request.address)
    wish = NodeWish(plan.cpus_per_trial, plan.gpus_per_trial, request.wait_for_nodes)
    machine = find_machine(request.address, wish, lambda line: console.print(line, soft_wrap=True))
    signals.take()  # ray.init has taken them
    refuse_other_resources(plan, machine, None)
    paths = search.paths.confirmation
    asked.write(paths.asked)
    reach("confirmation: asked")
    write_json(paths.plan, plan.to_dict())
    reach("confirmation: planned")
    remove_leftovers(paths)
    found = Confirmation(search, asked, plan)
    most = asked.seeds * (1 + len(asked.candidates))
    with told_where_lost(paths.study_uri), leased(found.study, ADVICE) as lease:
        projection = Projection(plan, paths, request.tracking_uri)
        at_once = concurrency(replace(plan, trials=most), machine, request.concurrent)
        shown = replace(plan, trials=most, name=f"{plan.name} confirm", varies=[*plan.varies, "seed"])
        sweep = OpenSweep(
            plan=shown, paths=paths, study=found.study, lease=lease, projection=projection, machine=machine,
            at_once=at_once, signals=signals, manner=request,
        )  # fmt: skip
        console.print(show_confirmation.header(search.plan, asked, at_once, machine), soft_wrap=True)
        trouble = run_trials(sweep)
        if trouble is not None:
            say(f"error: the confirmation was stopped: {trouble}", to=sys.stderr)
            say(f"what is saved stays; the same command continues:\n  {same_command(MODULE)}", to=sys.stderr)
            return errors.FAILED
        if signals.asked:
            return stopped(MODULE, console)
        return _finish(request, found, projection, console)


def asked_and_planned(request: ConfirmRequest, search: IdleSweep) -> tuple[Asked, Plan]:
    """Return what is asked and the plan so far: those of the confirmation that was begun, or new ones.

    Changes nothing. Raises SweepError where one was begun that is of something else.
    """
    paths = search.paths
    trials = read_trials(search.study, paths)
    if not paths.asked.exists():
        board = leaderboard(search.plan, paths, trials)  # of the study: the file may be of an earlier day
        now = confirmation.ask(search.plan, board, trials, Judge(search.plan, paths), request.top, request.seeds)
        return now, confirmation.first_plan(search.plan, trials, now)
    before = _asked_before(search)
    if request.top != before.top:
        raise SweepError(
            f"--top {request.top}: this confirmation was begun with --top {before.top}, and those candidates stay; "
            "--seeds may be another"
        )
    asked = replace(before, seeds=request.seeds)
    if not paths.confirmation.plan.exists():
        return asked, confirmation.first_plan(search.plan, trials, asked)
    plan = read_plan(paths.confirmation.plan)
    seed = 1 + max(int(config["seed"]) for config in plan.configs) - asked.first_seed
    if request.seeds < seed:
        refuse([f"--seeds {request.seeds}: this confirmation has begun its seed {seed}; say {seed} or more"])
    return asked, replace(plan, seeds=request.seeds, data=search.plan.data, encoder=search.plan.encoder)


def _finish(request: ConfirmRequest, found: Confirmation, projection: Projection, console: Console) -> int:
    """Write down what was found, name the champion, bring the sweep's leaderboard and MLflow up to date."""
    result = found.result()
    assert result is not None, "no trial and no round is left"
    write_json(found.paths.confirmed, result)
    reach("confirmation: written")
    trials, more = found.trials(), list[str]()
    trouble = attempt(
        lambda: more.append(publish_confirmation(found.search, found.plan, projection, result, trials))
    ) or attempt(lambda: more.extend(_published(found.search, request.tracking_uri)))
    if result["decided"] < result["candidates"]:
        more.append(
            "More fresh seeds may settle what is not, unless it takes more dev examples: "
            f"python -m orchestrator.confirm {found.plan.name} --top "
            f"{found.asked.top} --seeds {2 * found.asked.seeds}"
        )
    show_confirmation.final(console, found.plan, result, more, found.paths.confirmed)
    if request.as_json:
        say(json.dumps({"event": "confirmed", "confirmation": str(found.paths.confirmed), "mlflow": projection.link}))
    if trouble:
        say(f"error: MLflow is not up to date ({trouble}); the same command brings it up to date", to=sys.stderr)
        return errors.UNREACHABLE
    return errors.TRIALS_FAILED if any(trial.state == "failed" for trial in trials) else errors.DONE


def _published(search: IdleSweep, tracking_uri: str | None) -> list[str]:
    """Publish the sweep's leaderboard; return what it tells of the test set."""
    return show_confirmation.test_lines(publish(search, tracking_uri).board["test"])


def publish_confirmation(
    search: IdleSweep,
    plan: Plan,
    projection: Projection,
    result: Mapping[str, Any],
    trials: Sequence[TrialRecord],
) -> str:
    """Bring MLflow up to date with a confirmation and name the champion there; return who that is.

    Whether the alias names the confirmation's own is written down beside what it found.
    """
    projection.refresh()
    projection.sync(trials)
    champion = crown(projection, plan, search.paths.confirmation, result, trials)
    write_json(search.paths.confirmed, {**result, "crowned": champion.crowned})
    projection.describe("\n".join([*show_confirmation.sentences(plan.varies, result), champion.said]), done=True)
    return champion.said


def published_again(search: IdleSweep, tracking_uri: str | None) -> int:
    """Write a confirmation into MLflow anew where there is one; return how many trials it has."""
    found = begun(search)
    if found is None:
        return 0
    projection, trials = Projection(found.plan, found.paths, tracking_uri), found.trials()
    if (result := found.result()) is not None:
        publish_confirmation(search, found.plan, projection, result, trials)
    else:
        projection.refresh()
        projection.sync(trials)
    return len(trials)


def release_confirmed(search: IdleSweep, tracking_uri: str | None, keep: int) -> str:
    """Let go of the weights of a confirmation's trials but the best `keep` and registered ones; say what stays.

    While the test set is sealed, or a verdict is open that more seeds may settle, all stay: winner and baseline are
    scored on it with every fresh seed.
    """
    found = begun(search)
    result = found.result() if found else None
    if found is None or result is None:
        return "all, while it goes on"
    if result_of(search.paths.openings, search.plan.sweep_id) is None:
        return "all, while the test set is sealed"
    if result["decided"] < result["candidates"]:
        return "all, while more seeds may settle what is not: the test set may be opened for another winner"
    remove_leftovers(found.paths)
    Projection(found.plan, found.paths, tracking_uri, keep).sync(found.trials())
    return f"the best {keep}, and registered ones"


def begun(search: IdleSweep) -> Confirmation | None:
    """Return the confirmation of a sweep, None where none was begun.

    Raises SweepError where it cannot be read, or is of another sweep.
    """
    if not (search.paths.asked.exists() and search.paths.confirmation.plan.exists()):
        return None
    return Confirmation(search, _asked_before(search), read_plan(search.paths.confirmation.plan))


def _asked_before(search: IdleSweep) -> Asked:
    """Return what the sweep's confirmation was begun with. Raises SweepError."""
    paths = search.paths
    asked = Asked.read(paths.asked)
    if asked.sweep_id != search.plan.sweep_id:
        raise SweepError(f"{paths.asked}: is of another sweep; move {paths.confirmation.root} away")
    return asked

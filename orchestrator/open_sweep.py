"""A sweep, or the confirmation of one, that this process alone works on: its trials are run to their end."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from model.heap import bound_driver_heap
from orchestrator import ray_environment
from orchestrator.driver import Driver
from orchestrator.leaderboard import TrialRecord, read_trials
from orchestrator.lease import LeaseKeeper
from orchestrator.paths import SweepPaths
from orchestrator.plan import Plan
from orchestrator.progress import Progress, mode_for
from orchestrator.request import Manner
from orchestrator.resources import Machine
from orchestrator.signals import Signals
from orchestrator.study import TrialStudy
from orchestrator.tracking import Projection
from orchestrator.tracking_thread import ProjectionThread
from orchestrator.trial import Execution, run_trial


@dataclass(frozen=True, kw_only=True)
class OpenSweep:
    """Its records, which nobody else writes, and what its trials run on."""

    plan: Plan
    paths: SweepPaths
    study: TrialStudy
    lease: LeaseKeeper
    projection: Projection
    machine: Machine
    at_once: int
    """So many trials."""
    signals: Signals
    manner: Manner


def run_trials(sweep: OpenSweep) -> str | None:
    """Run what is left of the sweep; return the trouble that ended it, if any did."""
    bound_driver_heap()
    plan, paths, study, lease, manner = sweep.plan, sweep.paths, sweep.study, sweep.lease, sweep.manner
    with Progress(plan, mode_for(as_json=manner.as_json, quiet=manner.quiet)) as progress:
        for trial in read_trials(study, paths):
            if trial.state != "running":
                progress.already_ended(trial.number, {"best": trial.best if trial.state != "failed" else None})
        if not study.has_more():
            return None
        known: dict[int, TrialRecord] = {}
        thread = ProjectionThread(sweep.projection, lambda: read_trials(study, paths, known))

        def publish(event: dict[str, Any]) -> None:
            progress.publish(event)
            thread.wake()
            if (news := thread.news()) is not None:
                progress.publish({"event": "note", "trial": event["trial"], "about": "MLflow", "text": news})

        driver = Driver(study, paths, publish)
        lease.on_lost = driver.stop
        if lease.lost is not None:
            driver.stop(lease.lost)
        execution = Execution(manner.cache_bytes, hang_s=manner.hang_after)
        try:
            if manner.local:
                _run_first(driver, plan, paths, execution)
            else:
                # Before Ray is imported; it writes a token under OUT, so not before all is known to be right.
                ray_environment.prepare(paths.out, manner.address)
                from orchestrator import runner

                with runner.cluster(manner.address, sweep.machine), _uploads(sweep):
                    runner.run(
                        plan,
                        paths,
                        driver,
                        execution,
                        sweep.at_once,
                        sweep.signals,
                        machine=sweep.machine,
                        asked=manner.concurrent,
                    )
        finally:
            thread.close()
        if lease.lost is not None:
            raise lease.lost
        return driver.trouble


@contextmanager
def _uploads(sweep: OpenSweep) -> Iterator[None]:
    """Let the workers of a cluster send what goes to a bucket while trials run; what is left then the driver sends."""
    if not sweep.machine.is_cluster:
        yield
        return
    from orchestrator.uploads import WorkerUploads

    models, uploads = sweep.projection.models, WorkerUploads()
    models.sender = uploads
    try:
        yield
    finally:
        models.sender = None
        uploads.close()


def _run_first(driver: Driver, plan: Plan, paths: SweepPaths, execution: Execution) -> None:
    """Run the first trial that is open in this process, where a debugger sees it."""
    proposed = driver.propose()
    if proposed is not None:
        proposal, attempt = proposed
        reports = run_trial(plan, paths, proposal.number, proposal.config, attempt, execution)
        for report in reports:
            if driver.record(report) == "stop":
                reports.close()

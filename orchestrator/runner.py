"""Ray: where it runs, and one call of Tune that only executes.

Import it after orchestrator.ray_environment.prepare.
"""

import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import ray
from ray import tune
from ray.tune.execution.class_cache import ENV_VARS_TO_PROPAGATE

from orchestrator.connection import any_holds, connect, room
from orchestrator.driver import Driver
from orchestrator.errors import FAILED
from orchestrator.failures import Failure
from orchestrator.head_watch import watch_head
from orchestrator.node_types import Growth
from orchestrator.nodes import others_may_do
from orchestrator.paths import SweepPaths
from orchestrator.plan import Plan
from orchestrator.processes import guardian
from orchestrator.resources import Machine, Share
from orchestrator.scheduler import StudyScheduler
from orchestrator.searcher import StudySearcher
from orchestrator.signals import STOP_S, Signals, blocked, leave
from orchestrator.trial import Execution
from orchestrator.trial_files import STARTED, write_end
from orchestrator.worker import SweepTrial

DRIVER_REPORT_S = 0.05
"""Seconds between two reports of all trials together: each costs the driver some 5 ms."""
SILENCE_S = 10.0
"""Seconds that a process is given, beyond what its own watchdog waits, before the driver gives it up."""
BEGIN_S = 30.0
"""Seconds in which some trial's process has to begin; after that a person is told what is waited for."""
FOLLOW_S = 5.0
"""How often nodes are looked for that have joined."""
WATCH_S, PAUSE_S = 0.5, 5.0
"""How often silence is looked for; a look that comes so late says that this process stood still itself."""


@contextmanager
def cluster(address: str | None, machine: Machine) -> Iterator[None]:
    """Hold a connection to Ray: a cluster of this process alone, or the one behind the address."""
    with guardian() if address is None else nullcontext():
        if address is None:
            with blocked():  # its processes inherit that, as Ray itself has it for SIGINT: the driver ends them
                # An explicit "local", or Ray joins whatever cluster it finds on the machine.
                ray.init(
                    address="local",
                    num_cpus=int(machine.cpus),
                    num_gpus=int(machine.gpus),
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
        else:
            connect(address)
        try:
            yield
        finally:
            ray.shutdown()


def run(
    plan: Plan,
    paths: SweepPaths,
    driver: Driver,
    execution: Execution,
    at_once: int,
    signals: Signals,
    *,
    machine: Machine,
    asked: int | None = None,
) -> None:
    """Run the sweep's trials until the study's total is reached, a signal asks to stop, or the driver is in trouble.

    At most `at_once` trials; on a cluster, unless so many were `asked` for, as many as nodes that join hold.
    """
    grows = machine.is_cluster and asked is None
    share = Share(plan.cpus_per_trial, plan.gpus_per_trial, plan.threads)
    # Tune would hand the driver's AWS keys to the trials' processes by a message that Ray logs in a file for all.
    ENV_VARS_TO_PROPAGATE.difference_update([name for name in ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")])
    execution = replace(execution, report_s=max(execution.report_s, at_once * DRIVER_REPORT_S))
    usable = _usable(machine, share, driver) if machine.is_cluster else None
    searcher = StudySearcher(driver, paths, execution, at_once, lambda: signals.asked, usable)
    tuner = tune.Tuner(
        tune.with_resources(SweepTrial, lambda config: _request(share, config["on"])),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=StudyScheduler(driver, searcher),
            num_samples=-1,
            max_concurrent_trials=plan.trials if grows else at_once,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(paths.ray),
            verbose=0,
            # Whoever dies comes back to the driver, which starts the trial again within its class's budget.
            failure_config=tune.FailureConfig(max_failures=0),
            # With reused actors a finished trial would fail in save() and be started again.
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False, checkpoint_frequency=0),
        ),
    )
    logging.getLogger("ray.tune.tune").setLevel(
        logging.CRITICAL
    )  # an attempt that died is an error to it, whatever came
    signal.signal(signal.SIGUSR1, lambda *_: None)  # until Tune has its own handler, the default would kill us
    signals.gently = _stop_tune
    signals.take()
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(driver, paths, execution, share, signals, over), daemon=True)
    watch.start()
    if grows:
        threading.Thread(target=_follow, args=(searcher, share, over), daemon=True).start()
    if machine.is_cluster:
        threading.Thread(target=watch_head, args=(ray.get_runtime_context().gcs_address, over), daemon=True).start()
    try:
        if not signals.asked:
            tuner.fit()
    finally:
        signals.gently = None
        over.set()
        watch.join()


def _usable(machine: Machine, share: Share, driver: Driver) -> Callable[[Collection[str]], bool]:
    """Return what says whether a trial may find a node beside those with these ids: one that is up, or may come."""
    nodes = sum(node.holds(share.cpus, share.gpus) > 0 for node in machine.nodes)

    def usable(avoided: Collection[str]) -> bool:
        come = machine.may_grow and others_may_do(len(avoided), nodes, trained=driver.has_trained)
        return come or any_holds(share, avoided)

    return usable


def _request(share: Share, on: dict[str, str]) -> tune.PlacementGroupFactory:
    """Return what Ray is asked for, on a node with such labels."""
    bundle = {"CPU": share.cpus} | ({"GPU": share.gpus} if share.gpus else {})
    labels = {"bundle_label_selector": [on]} if on else {}
    return tune.PlacementGroupFactory([bundle], **labels)


def _follow(searcher: StudySearcher, share: Share, over: threading.Event) -> None:
    """Let more trials run where nodes join."""
    while not over.wait(FOLLOW_S):
        with suppress(Exception):  # Ray may be about to tell everybody that it has gone
            searcher.at_once = max(searcher.at_once, room("", Growth()).holds(share.cpus, share.gpus))


def _stop_tune() -> None:
    """Stop Tune in its own way, with trials left as they are."""
    os.kill(os.getpid(), signal.SIGUSR1)


def _tell_what_is_wanted(driver: Driver, share: Share) -> None:
    """Say what a trial needs, and what of that is free."""
    with suppress(Exception):  # a word to a person, and no more
        free, there = ray.available_resources(), ray.cluster_resources()
        parts = [
            f"{free.get(name, 0):g} of {there.get(name, 0):g} {name}s are free, a trial needs {each:g} on one node"
            for name, each in (("GPU", share.gpus), ("CPU", share.cpus))
            if each
        ]
        waits = "they begin as soon as that is free, or once processes that have it have loaded"
        driver.waiting(f"no trial has begun in {BEGIN_S:.0f} s: {'; '.join(parts)}; {waits}")


def _watch(
    driver: Driver, paths: SweepPaths, execution: Execution, share: Share, signals: Signals, over: threading.Event
) -> None:
    """Kill processes of which nothing is heard any more; see to it that a sweep that is to stop does."""
    looked, troubled, told = time.monotonic(), None, False
    began: float | None = time.monotonic()
    while not over.wait(WATCH_S):
        if signals.asked and not told:
            told = True
            driver.stopping()
        if signals.asked or driver.trouble is not None:
            _stop_tune()  # again and again: Tune hears nothing before it has its handler, a second after it began
        if driver.trouble is not None:
            troubled = troubled or time.monotonic()
            if time.monotonic() - troubled > STOP_S:
                leave(FAILED, f"the sweep has not stopped in {STOP_S:.0f} s, and is ended: {driver.trouble}")
        paused, looked = time.monotonic() - looked > PAUSE_S, time.monotonic()
        if paused:  # the whole process stood still: what was reported meanwhile has not been read yet
            driver.pardon()
        for number, attempt in driver.silent(execution.hang_s + SILENCE_S):
            kill_attempt(paths.trial(number).attempt(attempt))
        if not driver.unbegun():
            began = time.monotonic()
        elif began is not None and time.monotonic() - began > BEGIN_S:
            began = None  # told once
            asking = threading.Thread(target=_tell_what_is_wanted, args=(driver, share), daemon=True)
            asking.start()  # Ray may be the one that does not answer


def kill_attempt(attempt: Path) -> None:
    """Kill the process that works on an attempt, on this machine; say in its folder why."""
    try:
        who = json.loads((attempt / STARTED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if who["host"] == socket.gethostname():
        with suppress(OSError):
            write_end(attempt, Failure.HANG, "nothing was heard of its process, not even that it hangs")
        with suppress(OSError):
            os.kill(who["pid"], signal.SIGKILL)

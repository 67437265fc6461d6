"""Ray: where it runs, and one call of Tune that only executes.

Import it after orchestrator.ray_environment.prepare.
"""

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray import tune

from orchestrator.driver import Driver
from orchestrator.errors import INTERRUPTED, SweepError, UnreachableError
from orchestrator.paths import SweepPaths
from orchestrator.plan import Plan
from orchestrator.resources import Machine
from orchestrator.searcher import StudySearcher
from orchestrator.trial import Execution
from orchestrator.worker import SweepTrial

CONNECT_TIMEOUT_S = 20
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def cluster(address: str | None, machine: Machine) -> Iterator[None]:
    """Hold a connection to Ray: a cluster of this process alone, or the one behind the address."""
    if address is None:
        # An explicit "local", or Ray joins whatever cluster it finds on the machine.
        ray.init(
            address="local",
            num_cpus=machine.cpus,
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


def connect(address: str) -> Machine:
    """Connect to a Ray head and return what its cluster has. Raises UnreachableError."""
    host, _, port = address.rpartition(":")
    if address != "auto":
        try:
            socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S).close()
        except (OSError, ValueError) as error:
            raise UnreachableError(
                f"no Ray head at {address} ({error}); expected HOST:PORT of ray start --head"
            ) from error
        if not _is_loopback(host) and os.environ["RAY_AUTH_MODE"] != "token":
            raise SweepError(
                f"Ray at {address} is not on this machine and RAY_AUTH_MODE is not 'token': whoever reaches it "
                "runs code on every node; start it with a token (ray_cluster.yaml does) and set RAY_AUTH_MODE=token"
            )
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:
            raise UnreachableError(f"Ray at {address} refused: {str(error).splitlines()[0]}") from error
    found = ray.cluster_resources()
    return Machine(int(found.get("CPU", 0)), found.get("GPU", 0.0), f"Ray at {address}")


def run(plan: Plan, paths: SweepPaths, driver: Driver, execution: Execution, at_once: int) -> bool:
    """Run the sweep's trials until the study's total is reached; return whether a signal stopped them before."""
    signal.signal(signal.SIGUSR1, lambda *_: None)  # until Tune has its own handler, the default would kill us
    before = {number: signal.getsignal(number) for number in STOPPING}
    stopped = _stop_on_signals()
    tuner = tune.Tuner(
        tune.with_resources(SweepTrial, {"cpu": plan.cpus_per_trial, "gpu": plan.gpus_per_trial}),
        tune_config=tune.TuneConfig(
            search_alg=StudySearcher(driver, plan, paths, execution),
            num_samples=-1,
            max_concurrent_trials=at_once,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(paths.ray),
            verbose=0,
            # Where a worker dies, Tune starts the trial again and its folder resumes it; the budget is there too.
            failure_config=tune.FailureConfig(max_failures=-1),
            # With reused actors a finished trial would fail in save() and be started again.
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False, checkpoint_frequency=0),
        ),
    )
    try:
        tuner.fit()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return bool(stopped)


def _stop_on_signals() -> list[int]:
    """Stop Tune at the first Ctrl-C, TERM or HUP and leave at the second; return the list that signals go to."""
    stopped: list[int] = []

    def handle(number: int, frame: object) -> None:
        del frame
        if stopped:
            os._exit(INTERRUPTED)
        stopped.append(number)
        os.kill(os.getpid(), signal.SIGUSR1)  # Tune's own way to stop, with trials left as they are

    for number in STOPPING:
        signal.signal(number, handle)
    return stopped


def _is_loopback(host: str) -> bool:
    return host in {"127.0.0.1", "localhost", "::1", "[::1]"}

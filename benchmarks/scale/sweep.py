"""One simulated sweep: the project's own code over made-up machines.

Real are orchestrator's driver, searcher, scheduler, runner.run, study with SQLite and its lease, trial, tracking with
an MLflow store in SQLite, judgement, leaderboard and progress, and Ray Tune's own controller. Made up are the machines,
Ray below Tune's controller, the training, the clock, and the time that a flush of the disk takes.
"""

import io
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

from benchmarks.scale.clock import Clock
from benchmarks.scale.fleet import Fleet
from benchmarks.scale.meters import Meters
from model.config import CONFIG_VERSION, TrialConfig, config_to_dict
from model.files import make_folder, write_json
from model.tasks import TASKS
from orchestrator import errors, ray_environment
from orchestrator.driver import Driver
from orchestrator.leaderboard import TrialRecord, groups, leaderboard, read_trials, write_leaderboard
from orchestrator.lease import leased
from orchestrator.paths import SweepPaths
from orchestrator.plan import PLAN_VERSION, Plan
from orchestrator.progress import Progress
from orchestrator.resources import Machine, Node
from orchestrator.signals import Signals
from orchestrator.study import TrialStudy
from orchestrator.trial import Execution
from search_spaces.joint import SWEEP

if TYPE_CHECKING:
    from benchmarks.scale.cluster import SimulatedActors
    from benchmarks.scale.tabulated import Gpu, TabulatedProcess

NAME = "scale"
ENDS = ("completed", "pruned", "failed")
SAMPLED_AT = (100, 300, 500, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000, 10_000)
"""Trials that have ended when a sample is taken."""
VARIES = [
    "unfrozen_layers", "learning_rate", "heads.common_layers", "heads.task_layers", "heads.dropout",
    "pair_encoding.paraphrase", "pair_encoding.similarity",
]  # fmt: skip
MIDNIGHT_S = 1.8e9
"""Seconds since 1970 at which the simulated time begins."""
NEVER = float("inf")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is simulated."""

    trials: int
    epochs: int
    epoch_s: float
    """Mean of an epoch."""
    dev: int
    """Examples a task."""
    sampler: str
    halving: dict[str, int] | None
    keep: int = 10
    """Trials whose weights are kept."""


def plan_of(setting: Setting) -> Plan:
    """Return the plan of search_spaces/joint.py with so many trials."""
    baseline = config_to_dict(replace(TrialConfig(), epochs=setting.epochs))
    content = {f"{name}/dev": "0" * 64 for name in TASKS}
    return Plan(
        version=PLAN_VERSION * 100 + CONFIG_VERSION, sweep_id=f"{time.time_ns()}", name=NAME, question=SWEEP.question,
        profile="study", configs=[], baseline=baseline, space_code="0" * 64, sampler=setting.sampler,
        early_stopping=setting.halving, trials=setting.trials, seed=0, varies=VARIES,
        settings={"epochs": setting.epochs}, tasks=[task.to_dict() for task in TASKS.values()],
        encoder={"name": "simulated", "given": "simulated"},
        data={"source": "simulated", "max_dev_examples": None, "content": content},
        cpus_per_trial=1.0, gpus_per_trial=0.0, threads=1, seeds=1,
    )  # fmt: skip


class Sweep:
    """Runs it, once, in a folder of its own."""

    def __init__(self, out: Path, setting: Setting, fleet: Fleet) -> None:
        """Set Ray's environment: what imports Ray comes after it."""
        make_folder(out)
        ray_environment.prepare(out, None)
        self.setting, self.fleet, self.clock = setting, fleet, Clock()
        self.paths, self.plan, self.meters = SweepPaths(out, NAME), plan_of(setting), Meters(self.clock)
        self.actors: SimulatedActors
        self.trials: list[TrialRecord] = []
        """As they stand in the end, in study and folders."""
        self.runs_in_mlflow = 0
        self.ends: dict[int, str] = {}
        self.attempts = self.doubled = 0
        """The latter are trials that ended twice."""
        self.handed_out_s = 0.0
        """When the last new trial was."""
        self.syncs: list[tuple[float, float]] = []
        """When each sync of the projection began, and what it took."""
        self._begun: set[int] = set()
        self._known: dict[int, TrialRecord] = {}
        self._due_s, self._woken = 0.0, False
        """Of the projection's next sync: not before, and not without news."""

    def run(self) -> dict[str, float]:
        """Run it to its end; return the seconds of CPU that the end took."""
        from benchmarks.scale.tabulated import tabulated
        from orchestrator import mlflow_client, runner, tracking

        paths, plan, clock = self.paths, self.plan, self.clock
        write_json(paths.plan, plan.to_dict())
        write_json(paths.data_report, {})
        self.study = study = TrialStudy(paths.study_uri, plan, SWEEP.space)
        with ExitStack() as stack:
            enter = stack.enter_context
            enter(leased(study, errors.ADVICE))
            enter(tabulated(self.setting.dev, MIDNIGHT_S))
            enter(clock.counting_flushes())
            enter(mock.patch.object(tracking, "time", _module_time(clock)))
            enter(mock.patch.object(tracking, "connect", lambda uri: self.meters.client(mlflow_client.connect(uri))))
            enter(self.meters.counting(study._storage.engine))  # noqa: SLF001
            self.projection = tracking.Projection(plan, paths, None, self.setting.keep)
            with _output(paths.root / "output.log"):
                progress = enter(Progress(plan, "lines", clock.monotonic))
                driver = Driver(study, paths, lambda event: self._publish(progress, event), clock.monotonic)
                signals = enter(Signals())
                machine = Machine((Node(2, 0.0),), "simulated")
                enter(runner.cluster(None, machine))
                enter(self._in_place_of_ray())
                at_once = self.fleet.gpus
                runner.run(plan, paths, driver, Execution(0, hang_s=1e9), at_once, signals, machine=machine)
            if clock.who == "driver":
                clock.end()
            assert driver.trouble is None, driver.trouble
            self._sample()
            return self._finish()

    @contextmanager
    def _in_place_of_ray(self) -> Iterator[None]:
        """Give Tune's controller our machines, and our time."""
        from ray.tune.execution import experiment_state, tune_controller

        from benchmarks.scale.cluster import SimulatedActors
        from benchmarks.scale.tabulated import TabulatedProcess

        def process_on(gpu: "Gpu") -> "TabulatedProcess":
            return TabulatedProcess(self.plan, self.paths, gpu, self.setting.epoch_s)

        def actors(resource_manager: object) -> "SimulatedActors":
            del resource_manager
            self.actors = SimulatedActors(self.clock, self.fleet, process_on, self._beside)
            return self.actors

        shim = _module_time(self.clock)
        with (
            mock.patch.object(tune_controller, "RayActorManager", actors),
            mock.patch.object(tune_controller, "time", shim),
            mock.patch.object(experiment_state, "time", shim),
        ):
            yield

    def _publish(self, progress: Progress, event: dict[str, Any]) -> None:
        """Do as orchestrator/open_sweep.py does with an event, and count it."""
        progress.publish(event)
        self._woken, kind = True, event["event"]
        self.meters.reports[kind] += 1
        if kind == "started":
            self.attempts += 1
            if event["trial"] not in self._begun:  # another attempt comes at the end too, when machines idle
                self._begun.add(event["trial"])
                self.handed_out_s = self.clock.now_s
        elif kind in ENDS:
            self.doubled += event["trial"] in self.ends
            self.ends[event["trial"]] = kind
            if len(self.ends) in SAMPLED_AT:
                self._sample()

    def _sample(self) -> None:
        there_s, trained_s = self.actors.used(self.clock.now_s)
        self.meters.sample(len(self.ends), trained_s / there_s)
        print(f"{len(self.ends):6,} ended: {self.meters.samples[-1]}", file=sys.stderr, flush=True)

    def _beside(self, until_s: float) -> float:
        """Do what the projection's thread does until then; return when it goes on, if nothing happens before."""
        from orchestrator.tracking_thread import FETCH_INTERVAL_S

        if not self._woken:
            return NEVER
        if self._due_s > until_s:
            return self._due_s
        clock = self.clock
        clock.now_s = max(clock.now_s, self._due_s)
        self._woken = False
        clock.begin("projection")
        self.projection.sync(read_trials(self.study, self.paths, self._known), soon=True)
        took_s = clock.end()
        self.syncs.append((clock.now_s, took_s))
        clock.shared_until_s = clock.now_s + took_s
        self._due_s = clock.shared_until_s + FETCH_INTERVAL_S
        return NEVER

    def _finish(self) -> dict[str, float]:
        """Do what a sweep does at its end, as orchestrator/session.py has it, and time it."""
        found: dict[str, float] = {}
        started = time.thread_time()

        def note(what: str) -> None:
            found[what] = time.thread_time() - started

        with self.clock.beside("projection"):
            self.trials = trials = read_trials(self.study, self.paths)
            note("trials read")
            self.projection.refresh()
            note("MLflow found again")
            self.projection.sync(trials)
            note("last sync")
            judgement = self.projection.judge.judge(groups(self.plan, trials))
            note("judged once more")
            board = leaderboard(self.plan, self.paths, trials, self.projection.runs, judgement)
            write_leaderboard(self.paths, board)
            note("leaderboard written")
            self.projection.finish(board, None)
            note("all")
        self.runs_in_mlflow = len(self.projection._search("trial"))  # noqa: SLF001
        return found


def _module_time(clock: Clock) -> SimpleNamespace:
    """Return what takes the place of the module time."""
    return SimpleNamespace(monotonic=clock.monotonic, time=clock.time, sleep=time.sleep, strftime=time.strftime)


@contextmanager
def _output(file: Path) -> Iterator[None]:
    """Let what the sweep prints go to a file."""
    with file.open("w", encoding="utf-8") as shown, redirect_stdout(io.TextIOWrapper(shown.buffer, write_through=True)):
        yield

"""One simulated sweep: the project's driver, searcher, scheduler, study, tracking and leaderboard over made-up machines.

Real are orchestrator's driver.py, searcher.py, scheduler.py, runner.run, study.py with SQLite and its lease, trial.py,
tracking.py with an MLflow store in SQLite, judgement.py, leaderboard.py, progress.py, and Ray Tune's own controller.
Made up are the machines, Ray below Tune's controller, the training, and the clock.
"""

import io
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from model.config import CONFIG_VERSION, TrialConfig, config_to_dict
from model.files import make_folder, write_json
from model.tasks import TASKS
from orchestrator import ray_environment
from orchestrator.driver import Driver
from orchestrator.leaderboard import TrialRecord, groups, leaderboard, read_trials, write_leaderboard
from orchestrator.lease import ADVICE, leased
from orchestrator.paths import SweepPaths
from orchestrator.plan import PLAN_VERSION, Plan
from orchestrator.progress import Progress
from orchestrator.resources import Machine, Node
from orchestrator.signals import Signals
from orchestrator.study import TrialStudy
from orchestrator.trial import Execution
from search_spaces.joint import SWEEP

NAME = "scale"
ENDS = ("completed", "pruned", "failed")
VARIES = [
    "unfrozen_layers", "learning_rate", "heads.common_layers", "heads.task_layers", "heads.dropout",
    "pair_encoding.paraphrase", "pair_encoding.similarity",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is simulated."""

    trials: int
    epochs: int
    epoch_s: float
    dev: int
    """Examples a task."""
    sampler: str
    halving: dict[str, int] | None
    keep: int = 10


def plan_of(setting: Setting) -> Plan:
    """Return the plan of search_spaces/joint.py with so many trials."""
    baseline = config_to_dict(replace(TrialConfig(), epochs=setting.epochs))
    return Plan(
        version=PLAN_VERSION * 100 + CONFIG_VERSION, sweep_id=f"{time.time_ns()}", name=NAME, question=SWEEP.question,
        profile="study", configs=[], baseline=baseline, space_code="0" * 64, sampler=setting.sampler,
        early_stopping=setting.halving, trials=setting.trials, seed=0, varies=VARIES,
        settings={"epochs": setting.epochs}, tasks=[task.to_dict() for task in TASKS.values()],
        encoder={"name": "simulated", "given": "simulated"},
        data={
            "source": "simulated", "max_dev_examples": None, "content": {f"{name}/dev": "0" * 64 for name in TASKS},
        },
        cpus_per_trial=1.0, gpus_per_trial=0.0, threads=1, seeds=1,
    )  # fmt: skip


class Sweep:
    """Runs it, once."""

    def __init__(self, out: Path, setting: Setting, fleet: Any) -> None:
        """Prepare the folder; the imports that need Ray's environment come after it is set."""
        make_folder(out)
        ray_environment.prepare(out, None)
        from benchmarks.scale import cluster, meters
        from benchmarks.scale.clock import Clock

        self.setting, self.fleet, self.clock = setting, fleet, Clock()
        self.paths, self.plan = SweepPaths(out, NAME), plan_of(setting)
        self.meters = meters.Meters(self.clock)
        self._cluster = cluster
        self.actors: Any = None
        self.ends: dict[int, str] = {}
        self._begun: set[int] = set()
        self.handed_out_s = 0.0
        """When the last trial was handed out."""
        self.attempts = 0
        self._due_s, self._woken = float("inf"), False
        self.syncs: list[tuple[float, float]] = []
        """When each sync of the projection began, and what it took."""
        self.doubled = 0
        self._marks = iter(_marks(setting.trials))
        self._mark = next(self._marks)

    def run(self) -> dict[str, Any]:
        """Run it to its end; return what was found of the leaderboard's side."""
        from benchmarks.scale.tabulated import tabulated
        from orchestrator import runner, tracking

        paths, plan, clock = self.paths, self.plan, self.clock
        write_json(paths.plan, plan.to_dict())
        write_json(paths.data_report, {})
        study = TrialStudy(paths.study_uri, plan, SWEEP.space)
        with ExitStack() as stack:
            stack.enter_context(leased(study, ADVICE))
            enter = stack.enter_context
            enter(tabulated(self.setting.dev, 1.8e9))
            enter(clock.counting_flushes())
            shim = _shim(clock)
            enter(mock.patch.object(tracking, "time", shim))
            connect = tracking.connect
            enter(mock.patch.object(tracking, "connect", lambda uri: self.meters.client(connect(uri))))
            enter(self.meters.counting(study._storage.engine))  # noqa: SLF001
            self.projection = tracking.Projection(plan, paths, None, self.setting.keep)
            self.study, self._known = study, {}
            with _output(paths.root / "output.log"):
                progress = enter(Progress(plan, "lines", clock.monotonic))
                driver = Driver(study, paths, lambda event: self._publish(progress, event), clock.monotonic)
                signals = enter(Signals())
                enter(runner.cluster(None, Machine((Node(2, 0.0),), "simulated")))
                enter(self._in_place_of_ray(shim))
                runner.run(plan, paths, driver, Execution(0, hang_s=1e9), self.fleet.gpus, signals)
            if clock.who == "driver":
                clock.end()
            assert driver.trouble is None, driver.trouble
            self.meters.sample(len(self.ends))
            return self._finish()

    @contextmanager
    def _in_place_of_ray(self, shim: Any) -> Iterator[None]:
        """Give Tune's controller our machines, and our time."""
        from ray.tune.execution import experiment_state, tune_controller

        from benchmarks.scale.tabulated import TabulatedProcess

        def process_on(gpu: Any) -> Any:
            return TabulatedProcess(self.plan, self.paths, gpu, self.setting.epoch_s)

        def actors(resource_manager: object) -> Any:
            del resource_manager
            self.actors = self._cluster.SimulatedActors(self.clock, self.fleet, process_on, self._beside)
            return self.actors

        with (
            mock.patch.object(tune_controller, "RayActorManager", actors),
            mock.patch.object(tune_controller, "time", shim),
            mock.patch.object(experiment_state, "time", shim),
        ):
            yield

    def _publish(self, progress: Progress, event: dict[str, Any]) -> None:
        progress.publish(event)
        self._woken = True
        self._due_s = min(self._due_s, self.clock.now_s) if self._due_s == float("inf") else self._due_s
        kind = event["event"]
        self.meters.reports[kind] += 1
        if kind == "started":
            self.attempts += 1
            if event["trial"] not in self._begun:  # another attempt comes at the end too, when machines idle
                self._begun.add(event["trial"])
                self.handed_out_s = self.clock.now_s
        elif kind in ENDS:
            self.doubled += event["trial"] in self.ends
            self.ends[event["trial"]] = kind
            if len(self.ends) >= self._mark:
                self._mark = next(self._marks, 10**9)
                self.meters.sample(len(self.ends))
                last = self.meters.samples[-1]
                print(f"# {len(self.ends)} ended, {last}", file=self.log, flush=True)

    log: Any = None

    def _beside(self, until_s: float) -> float:
        """Do what the projection's thread does until then; return when it would go on."""
        from orchestrator.tracking import FETCH_INTERVAL_S

        if self._due_s > until_s or not self._woken:
            return self._due_s if self._woken else float("inf")
        clock = self.clock
        clock.now_s = max(clock.now_s, self._due_s)
        self._woken = False
        clock.begin("projection")
        self.projection.sync(read_trials(self.study, self.paths, self._known), soon=True)
        took_s = clock.end()
        self.syncs.append((clock.now_s, took_s))
        clock.shared_until_s = clock.now_s + took_s
        self._due_s = clock.shared_until_s + FETCH_INTERVAL_S
        return float("inf")

    def _finish(self) -> dict[str, Any]:
        """Do what a sweep does at its end, as orchestrator/session.py has it, and time it."""
        found: dict[str, Any] = {}
        started = time.thread_time()
        with self.clock.beside("projection"):
            trials = read_trials(self.study, self.paths)
            found["read all trials, s"] = time.thread_time() - started
            self.projection.refresh()
            found["MLflow found again, s"] = time.thread_time() - started
            self.projection.sync(trials)
            found["last sync, s"] = time.thread_time() - started
            judgement = self.projection.judge.judge(groups(self.plan, trials))
            board = leaderboard(self.plan, self.paths, trials, self.projection.runs, judgement)
            write_leaderboard(self.paths, board)
            found["leaderboard written, s"] = time.thread_time() - started
            self.projection.finish(board, None)
            found["all of the end, s"] = time.thread_time() - started
        self.trials: list[TrialRecord] = trials
        return found


def _marks(trials: int) -> list[int]:
    """Return at how many ended trials a sample is taken."""
    return sorted(
        {mark for mark in (100, 300, 500, 1000, 2000, 3000, 5000, 7000, 8000, 9000, trials) if mark <= trials}
    )


def _shim(clock: Any) -> Any:
    """Return what takes the place of the module time."""
    return SimpleNamespace(monotonic=clock.monotonic, time=clock.time, sleep=time.sleep, strftime=time.strftime)


@contextmanager
def _output(file: Path) -> Iterator[None]:
    with file.open("w", encoding="utf-8") as shown, redirect_stdout(io.TextIOWrapper(shown.buffer, write_through=True)):
        yield

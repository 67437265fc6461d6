"""Tabulated trials: the project's own trial code over a training that is a table, and takes simulated time alone.

A trial's process is orchestrator/trial.py itself: attempts, states, best-dev checkpoints, reports and verdicts are
written by it, into a real folder. In place of steps of torch there is a clock of the process's own.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch

from model.config import TrialConfig, config_from_dict
from model.evaluation import Evaluation, Examples
from model.tasks import TASKS
from model.training import EpochResult, Position, TaskData, TrainingState
from orchestrator import trial
from orchestrator.paths import SweepPaths
from orchestrator.plan import Plan
from orchestrator.trial import Execution, run_trial

STEPS = 20
"""Steps an epoch: a process can be stopped, and may report, between two of them."""


class NodeLostError(BaseException):
    """The machine is gone: nothing in the process handles this, and nothing more is written."""


@dataclass
class Gpu:
    """One spot machine with one GPU."""

    number: int
    up_s: float
    lost_s: float
    """When the cloud takes it."""
    notice_s: float
    """When it says so; later than `lost_s` where it does not."""
    trained_s: list[tuple[float, float]] = field(default_factory=list)
    """Spans of training: until when, and how long."""


@dataclass
class TabulatedProcess:
    """A worker's process on a GPU: serves trials in turn, and has a clock of its own."""

    plan: Plan
    paths: SweepPaths
    gpu: Gpu
    epoch_s: float
    at_s: float = 0.0
    spent: bool = False
    """Whether an attempt failed here: it must not serve another trial."""
    number: int | None = None
    _reports: Any = None

    def set_up(self, config: Mapping[str, Any], at_s: float) -> None:
        """Take up the trial that a config of Tune's names."""
        self.at_s, self.number = at_s, config["number"]
        values, execution = config_from_dict(config["config"]), Execution(**config["execution"])
        given = self.plan, self.paths, config["number"], values, config["attempt"], execution
        self._reports = run_trial(*given, notice=self.notice)

    def notice(self) -> str | None:
        """Return why the machine will be taken, once that is known."""
        return "spot interruption (simulated)" if self.at_s >= self.gpu.notice_s else None

    def report(self) -> dict[str, Any]:
        """Return the next report, and be where the time is then. Raises NodeLostError at the machine's end."""
        with _at_work(self):
            report: dict[str, Any] = next(self._reports)
        self.spent = self.spent or report.get("failure") is not None
        return report

    def leave(self) -> None:
        """Leave the trial: it is saved where it stands, unless the machine is gone."""
        if self._reports is not None:
            with _at_work(self), suppress(NodeLostError):
                self._reports.close()
        self._reports, self.number = None, None

    def train(self, seconds: float) -> None:
        """Let time pass in training."""
        if self.at_s + seconds >= self.gpu.lost_s:
            self.gpu.trained_s.append((self.gpu.lost_s, max(0.0, self.gpu.lost_s - self.at_s)))
            self.at_s = max(self.at_s, self.gpu.lost_s)
            raise NodeLostError
        self.at_s += seconds
        self.gpu.trained_s.append((self.at_s, seconds))


_WORKING: list[TabulatedProcess] = []


@contextmanager
def _at_work(process: TabulatedProcess) -> Iterator[None]:
    _WORKING.append(process)
    try:
        yield
    finally:
        _WORKING.pop()


def nominal_epoch_s(config: TrialConfig, epoch_s: float) -> float:
    """Return the seconds of an epoch of this config: 0.7 to 1.3 of the mean."""
    return epoch_s * (0.7 + 0.6 * _share(config.seed, config.learning_rate, config.heads.dropout))


def score(config: TrialConfig, epoch: int) -> float:
    """Return a config's dev score after an epoch: a hill over the space, rising by epochs, with noise of its own."""
    rate = {"all": 2e-5}.get(str(config.unfrozen_layers), 1e-4)
    off = abs(np.log10(config.learning_rate / rate)) + abs(config.heads.dropout - 0.3) / 3
    noise = 0.01 * (_share(config.seed, config.learning_rate, epoch) - 0.5)
    return float(0.78 - 0.1 * off - 0.08 / epoch + noise)


def _share(*parts: object) -> float:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4]) / 2**32


@cache
def examples(dev: int) -> list[TaskData]:
    """Return so many dev examples a task, which nothing reads but by their labels."""
    rng = np.random.default_rng(0)
    found = []
    for task in TASKS.values():
        classes = 2 if task.kind == "binary" else max(2, task.outputs)
        ids = tuple(f"{task.name}-{row}" for row in range(dev))
        entry = Examples(None, rng.integers(0, classes, dev).astype(float), ids)  # type: ignore[arg-type]  # no tokens
        found.append(TaskData(task, entry, entry))
    return found


def _evaluation(config: TrialConfig, epoch: int, data: list[TaskData]) -> Evaluation:
    value, outputs = score(config, epoch), {}
    rng = np.random.default_rng(abs(hash((config.seed, config.learning_rate, epoch))) % 2**32)
    for entry in data:
        labels = entry.dev.labels
        assert labels is not None
        right = rng.random(len(labels)) < value
        if entry.task.outputs == 1:
            guessed = (
                np.where(right, labels, 1 - labels)
                if entry.task.kind == "binary"
                else labels + rng.normal(size=len(labels))
            )
            outputs[entry.task.name] = (4 * guessed - 2)[:, None].astype(np.float32)
        else:
            guessed = np.where(right, labels, (labels + 1) % entry.task.outputs).astype(int)
            outputs[entry.task.name] = np.eye(entry.task.outputs, dtype=np.float32)[guessed]
    return Evaluation({entry.task.name: value for entry in data}, value, outputs)


def _training(
    config: TrialConfig, data: list[TaskData], _encoder: object, *, device: Any, resume: Any = None, cache: Any = None
) -> Iterator[Position | EpochResult]:
    """Do as fine_tune_by_steps, by the table."""
    del device, cache
    process = _WORKING[-1]
    step_s = nominal_epoch_s(config, process.epoch_s) / STEPS
    weights, moments = {"weights": torch.zeros(8)}, {"moments": torch.zeros(8)}
    for epoch in range(resume.epoch + 1 if resume else 1, config.epochs + 1):
        first = resume.step if resume and epoch == resume.epoch + 1 else 0
        for step in range(first, STEPS):
            _WORKING[-1].train(step_s)
            within = {"seconds": torch.tensor((step + 1) * step_s)}
            yield Position(
                epoch, step + 1, STEPS, partial(TrainingState, epoch - 1, weights, moments, step + 1, within)
            )
        yield EpochResult(
            epoch=epoch, train_loss=1 / epoch, learning_rate=config.learning_rate,
            dev=_evaluation(config, epoch, data), train_seconds=STEPS * step_s, evaluation_seconds=0.0,
            state=TrainingState(epoch, weights, moments),
        )  # fmt: skip


@contextmanager
def tabulated(dev: int, epoch_of_day_s: float) -> Iterator[None]:
    """Let orchestrator/trial.py train by the table, on so many dev examples a task."""
    source = SimpleNamespace(config=None, revision=None, identity=lambda: {"name": "simulated"})
    material = SimpleNamespace(encoder=source, cache=SimpleNamespace(limit_bytes=0))
    prefix = SimpleNamespace(encoder=source, build=lambda *_: iter(()))
    clock = SimpleNamespace(
        monotonic=lambda: _WORKING[-1].at_s, time=lambda: epoch_of_day_s + _WORKING[-1].at_s, sleep=time.sleep
    )
    put: dict[str, Any] = {
        "time": clock, "fine_tune_by_steps": _training, "material_of": lambda *_: material,
        "examples_of": lambda *_: examples(dev), "FrozenPrefix": lambda *_: prefix, "depths_alike": lambda *_: set(),
        "bound_heap": lambda *_: None, "parameter_counts": lambda *_: (110_000_000, 15_000_000),
    }  # fmt: skip
    with ExitStack() as stack:
        for name, value in put.items():
            stack.enter_context(mock.patch.object(trial, name, value))
        yield

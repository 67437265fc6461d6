"""One trial in one process: it goes on from what lies in its folder, and leaves its verdict there."""

import os
import socket
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.checkpoint import MODEL, load_state, open_checkpoint, predictions_table, save_checkpoint
from model.config import TrialConfig
from model.evaluation import Evaluation
from model.failpoints import reach, watched
from model.files import write_json, write_text
from model.frozen_prefix import FrozenPrefix
from model.heap import bound_heap
from model.prefix_cache import PrefixCache, PrefixCacheError
from model.sizes import parameter_counts
from model.training import EpochResult, Position, TaskData, TrainingState, fine_tune_by_steps
from orchestrator.device import device_of
from orchestrator.failures import FORGIVEN, Failure, PreemptedError, class_of, told
from orchestrator.material import Material, depths_alike, examples_of, material_of
from orchestrator.paths import SweepPaths, best_folder, state_folder
from orchestrator.plan import Plan
from orchestrator.redaction import redacted
from orchestrator.trial_files import STARTED, failed, latest_state, prune, read_verdict, write_end, write_verdict

PREFIX_REPORTS_S = 2.0
"""Seconds between two reports while the frozen layers' states are computed."""


class SupersededError(RuntimeError):
    """A newer attempt at this trial has begun: this process is a leftover and writes nothing more."""


@dataclass(frozen=True)
class Execution:
    """How one run of the driver runs its trials: nothing that results follow from."""

    prefix_cache_bytes: int
    """Limit of the prefix cache; 0 for none."""
    report_s: float = 1.0
    """Seconds after which a trial gives a report even within an epoch: only then can it be stopped."""
    save_s: float = 45.0
    """Seconds of training after which its state is saved: what a death costs at most."""
    hang_s: float = 600.0
    """Seconds without a step after which a trial's process is given up."""


def run_trial(
    plan: Plan,
    paths: SweepPaths,
    number: int,
    config: TrialConfig,
    attempt: int,
    execution: Execution,
    *,
    beat: Callable[[], None] = lambda: None,
    notice: Callable[[], str | None] = lambda: None,
) -> Generator[dict[str, Any], None, None]:
    """Train one trial from where its folder says it stands; yield a report after each epoch, and some between.

    The first report of a resumed trial, with "resumed", repeats the last epoch that was saved. Reports with
    "prefix" tell how far the frozen layers' states are computed, those with "step" how far an epoch is, one with
    "note" what a person should know and with "about" of what, so that it is told once. The last report has done=True:
    the verdict, which lies in the folder before it is given, or state="open" where another attempt is to go on.

    `attempt` is the driver's number for this start: a process that holds an older one writes nothing. Closing the
    generator saves where training stands. `beat` is called whenever something moved; `notice` says why the machine
    will be taken away, once it knows: the trial saves and ends there.
    """
    folder = paths.trial(number)
    run = _Run(plan, paths, number, config, attempt, execution, beat, notice)
    ended: dict[str, Any] = {}
    try:
        if read_verdict(folder) is None:
            yield from run.epochs()
            write_verdict(folder, run.completed())
    except (GeneratorExit, KeyboardInterrupt):
        run.pause()
        raise
    except SupersededError:
        raise
    except Exception as error:  # noqa: BLE001  (whatever it is, its class decides what becomes of the trial)
        run.refuse_superseded()  # its error may be that a newer attempt tidied up: no word on the trial
        ended = run.ended(error)
    yield {**(read_verdict(folder) or ended), "number": number, "done": True}


class _Run:
    """One attempt at a trial: its history so far, its best epoch, and where training stands."""

    def __init__(
        self,
        plan: Plan,
        paths: SweepPaths,
        number: int,
        config: TrialConfig,
        attempt: int,
        execution: Execution,
        beat: Callable[[], None],
        notice: Callable[[], str | None],
    ) -> None:
        self.plan, self.paths, self.number, self.config = plan, paths, number, config
        self.execution, self.beat, self.notice = execution, beat, notice
        self.folder = paths.trial(number)
        self.attempt = self.folder.attempt(attempt)
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self.parameters = (0, 0)
        self.material: Material | None = None
        self.data: list[TaskData] = []
        self.position: Position | None = None
        """Where training stands within an epoch and can be left; None where all is saved."""
        self.saved_at = self.told_at = time.monotonic()

    def epochs(self) -> Iterator[dict[str, Any]]:
        """Yield a report for the state that was found, if any, for each epoch trained but the last, and between."""
        self.refuse_superseded()
        write_json(self.attempt / STARTED, {"host": socket.gethostname(), "pid": os.getpid()})
        resumed = latest_state(self.folder)
        if resumed:
            self.history, self.best = list(resumed.manifest["history"]), resumed.manifest["best"]
            reach("trial: resumed", **self._where(resumed.manifest["epoch"] + 1, resumed.manifest.get("step", 0)))
        if self.history:
            yield self._report(resumed=True)
        torch.set_num_threads(self.plan.threads)
        device = device_of(self.plan.gpus_per_trial)
        if device.type == "cpu":
            bound_heap()
        self.material = material = material_of(self.plan, self.paths)
        uncached: list[str] = []
        self.data = data = examples_of(material, self.plan, self.paths, self.config, uncached.append)
        yield from (self._report(about="token cache", note=line) for line in uncached)
        self.parameters = parameter_counts(self.config, [entry.task for entry in data], material.encoder.config)
        cache = self._limited(material.cache)
        yield from self._prefix(data, FrozenPrefix(self.config, material.encoder, device, cache))
        start = load_state(resumed) if resumed else None
        self.saved_at = time.monotonic()
        steps = fine_tune_by_steps(self.config, data, material.encoder, device=device, resume=start, cache=cache)
        for reached in steps:
            if isinstance(reached, Position):
                yield from self._within_epoch(reached)
                continue
            self._save_epoch(reached)
            if reached.epoch < self.config.epochs:
                yield self._report()

    def completed(self) -> dict[str, Any]:
        """Return the verdict after the last epoch."""
        self.refuse_superseded()
        return {
            "state": "completed",
            "best": self.best,
            "history": self.history,
            **self._parameters(),
        }

    def ended(self, error: Exception) -> dict[str, Any]:
        """Write down how an error ended the attempt, or the trial; return what is to be said of an attempt's end."""
        failure, said = class_of(error), told(error)
        try:
            write_text(self.folder.error, redacted("".join(traceback.format_exception(error))))
            if FORGIVEN[failure] == 0:
                write_verdict(self.folder, failed(failure, said, self.history))
            else:
                write_end(self.attempt, failure, said)
        except OSError as trouble:
            failure, said = Failure.DISK, f"{said}; and that could not be written: {trouble}"
        return {"state": "open", "failure": str(failure), "error": said, "history": self.history}

    def pause(self) -> None:
        """Save where training stands: leaving it here loses nothing. Where that fails, the last state stands."""
        if self.position is None or read_verdict(self.folder) is not None:
            return
        with suppress(OSError, SupersededError):
            self._save_position(self.position)
            reach("trial: paused", **self._where(self.position.epoch, self.position.step))

    def refuse_superseded(self) -> None:
        """End this process's work where the trial was started elsewhere: after kill -9 of a driver workers live on."""
        latest = self.folder.attempts()[-1]
        if latest != self.attempt:
            raise SupersededError(f"{self.attempt} is over: {latest.name} has begun")

    def _report(self, **more: Any) -> dict[str, Any]:
        self.told_at = time.monotonic()
        return {"number": self.number, "history": self.history, "best": self.best, "done": False, **more}

    def _parameters(self) -> dict[str, int]:
        return {"parameters": self.parameters[0], "trainable_params": self.parameters[1]}

    def _where(self, epoch: int, step: int) -> dict[str, Any]:
        return {"trial": self.number, "attempt": self.attempt.name, "epoch": epoch, "step": step}

    def _within_epoch(self, position: Position) -> Iterator[dict[str, Any]]:
        """Save and tell when it is time."""
        self.beat()
        self.position = position
        reach("step: taken", **self._where(position.epoch, position.step))
        if (why := self.notice()) is not None:
            self._save_position(position)
            raise PreemptedError(why)
        if time.monotonic() - self.saved_at >= self.execution.save_s:
            self._save_position(position)
        if time.monotonic() - self.told_at >= self.execution.report_s:
            yield self._report(step=position.step, steps=position.steps)

    def _limited(self, cache: PrefixCache) -> PrefixCache | None:
        """Return the process's cache under the limit of this run, or None where there is to be none."""
        cache.limit_bytes = self.execution.prefix_cache_bytes
        return cache if cache.limit_bytes else None

    def _prefix(self, data: list[TaskData], prefix: FrozenPrefix) -> Iterator[dict[str, Any]]:
        """Compute the frozen layers' states that this node lacks; yield reports while it lasts."""
        splits = [examples.tokens for entry in data for examples in (entry.train, entry.dev)]
        told, last = False, time.monotonic()
        try:
            for share in prefix.build(splits, depths_alike(self.plan, self.config, prefix.encoder.config)):
                self.beat()
                if (why := self.notice()) is not None:
                    raise PreemptedError(why)
                if share < 1 and time.monotonic() - last > PREFIX_REPORTS_S:
                    told, last = True, time.monotonic()
                    yield self._report(prefix=share)
            if told:
                yield self._report(prefix=1.0)
        except PrefixCacheError as error:
            yield self._report(about="prefix cache", note=f"{error}; frozen layers are computed at every step")

    def _save_epoch(self, result: EpochResult) -> None:
        """Save the epoch: its weights if they are the best so far, then the state to go on from."""
        self.refuse_superseded()
        self.history = [*self.history, _entry(result)]
        if self.best is None or result.dev.overall > self.best["dev_score"]:
            target = best_folder(self.attempt, result.epoch)
            self.best = {
                "epoch": result.epoch,
                "dev_score": result.dev.overall,
                "scores": result.dev.scores,
                "checkpoint": str(target.relative_to(self.folder.root)),
            }
            self._write(target, result.state, {**self.best, **self._dev_facts()}, dev=result.dev)
        self._save_state(result.state)
        self.position = None

    def _save_position(self, position: Position) -> None:
        self.refuse_superseded()
        self._save_state(position.state())

    def _save_state(self, state: TrainingState) -> None:
        folder = state_folder(self.attempt, state.epoch, state.step)
        if not folder.exists():  # paused where it had just been saved
            self._write(folder, state, {"history": self.history, "best": self.best, **self._parameters()})
        if watched():
            weights = open_checkpoint(folder, contents=False).manifest["files"][MODEL]["sha256"]
            reach("state: saved", **self._where(state.epoch, state.step), weights=weights)
        prune(self.folder, self.best, self.attempt)
        self.saved_at = time.monotonic()

    def _write(self, folder: Path, state: TrainingState, facts: dict[str, Any], dev: Evaluation | None = None) -> None:
        """Write a checkpoint: the best-dev one with its predictions on dev, or one to go on from."""
        assert self.material is not None
        save_checkpoint(
            folder,
            config=self.config,
            tasks=[entry.task for entry in self.data],
            encoder=self.material.encoder,
            state=state,
            facts={"sweep": self.plan.sweep_id, "trial": self.number, "threads": self.plan.threads, **facts},
            with_optimizer=dev is None,
            predictions=predictions_table(self.data, dev) if dev else None,
        )

    def _dev_facts(self) -> dict[str, Any]:
        """Return what a later evaluation needs to give the same score to the last bit."""
        content = self.plan.data["content"]
        return {
            "encoder_given": self.plan.encoder["given"],
            "max_dev_examples": self.plan.data["max_dev_examples"],
            "dev_content": {entry.task.name: content[f"{entry.task.name}/dev"] for entry in self.data},
        }


def _entry(result: EpochResult) -> dict[str, Any]:
    return {
        "epoch": result.epoch,
        "dev_score": result.dev.overall,
        "scores": result.dev.scores,
        "train_loss": result.train_loss,
        "learning_rate": result.learning_rate,
        "train_seconds": round(result.train_seconds, 3),
        "evaluation_seconds": round(result.evaluation_seconds, 3),
        "ended_at_seconds": round(time.time(), 3),
    }

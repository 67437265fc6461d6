"""One trial in one process: it goes on from what lies in its folder, and leaves its verdict there."""

import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.checkpoint import Checkpoint, load_state, predictions_table, save_checkpoint
from model.config import TrialConfig
from model.encoder import Encoder
from model.files import write_text
from model.frozen_prefix import FrozenPrefix
from model.heap import bound_heap
from model.multitask import count
from model.prefix_cache import PrefixCache, PrefixCacheError
from model.tasks import Task
from model.training import DivergedError, EpochResult, TaskData, fine_tune
from orchestrator.material import Material, depths_alike, examples_of, material_of
from orchestrator.paths import SweepPaths, TrialPaths, best_folder, state_folder
from orchestrator.plan import Plan
from orchestrator.trial_files import latest_state, prune, read_verdict, write_verdict

SESSION = "session"
"""The file in an attempt's folder that names the driver's run it belongs to."""
FRUITLESS_ATTEMPTS = 4
"""So many starts in a row without an epoch between them end a trial: its process dies whatever is done."""


PREFIX_REPORTS_S = 2.0
"""Seconds between two reports while the frozen layers' states are computed."""


class SupersededError(RuntimeError):
    """A newer attempt at this trial has begun: this process is a leftover and writes nothing more."""


class InfrastructureError(RuntimeError):
    """The process of a trial died again and again before an epoch ended."""


@dataclass(frozen=True)
class Execution:
    """How one run of the driver runs its trials: nothing that results follow from."""

    session: str
    """Names the driver's run: attempts that die under one and the same are held against the trial."""
    prefix_cache_bytes: int
    """Limit of the prefix cache; 0 for none."""


def run_trial(
    plan: Plan, paths: SweepPaths, number: int, config: TrialConfig, execution: Execution
) -> Iterator[dict[str, Any]]:
    """Train one trial from where its folder says it stands; yield a report after each epoch.

    The first report of a resumed trial, with "resumed", repeats the last epoch that was saved. Reports with
    "prefix" tell how far the frozen layers' states are computed, one with "note" what a person should know and with
    "about" of what, so that it is told once. The last report has done=True; the verdict lies in the folder before it
    is given. A failure of the trial itself (divergence, memory, code) is a verdict, not an exception.
    """
    folder = paths.trial(number)
    verdict = read_verdict(folder)
    if verdict is None:
        run = _Run(plan, paths, number, config, execution)
        try:
            yield from run.epochs()
            verdict = run.completed()
        except SupersededError:
            raise
        except Exception as error:  # noqa: BLE001  (whatever it is, it is the trial's verdict)
            run.refuse_superseded()  # its error may be that a newer attempt tidied up: no verdict on the trial
            write_text(folder.error, traceback.format_exc())
            failure = failure_class(error)
            said = str(error) if failure in {"diverged", "infrastructure"} else f"{type(error).__name__}: {error}"
            verdict = {
                "state": "failed",
                "failure": failure,
                "error": said[:2000],
                "history": run.history,
            }
        write_verdict(folder, verdict)
    yield {**verdict, "number": number, "done": True}


def failure_class(error: Exception) -> str:
    """Return the class of a failure, as the leaderboard and the study name it."""
    if isinstance(error, DivergedError):
        return "diverged"
    if isinstance(error, torch.OutOfMemoryError):
        return "out of GPU memory"
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError):
        return "disk"
    return "infrastructure" if isinstance(error, InfrastructureError) else "code"


class _Run:
    """One attempt at a trial: its history so far and its best epoch."""

    def __init__(self, plan: Plan, paths: SweepPaths, number: int, config: TrialConfig, execution: Execution) -> None:
        self.plan, self.paths, self.number, self.config = plan, paths, number, config
        self.execution = execution
        self.folder = paths.trial(number)
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self.parameters = (0, 0)
        self.attempt: Path | None = None

    def epochs(self) -> Iterator[dict[str, Any]]:
        """Yield a report for the state that was found, if any, and for each epoch trained but the last."""
        resumed = latest_state(self.folder)
        self.attempt = attempt = self.folder.new_attempt()
        write_text(attempt / SESSION, self.execution.session)
        if resumed:
            self.history, self.best = list(resumed.manifest["history"]), dict(resumed.manifest["best"])
            yield self._report(resumed=True)
        _refuse_fruitless(self.folder, resumed, self.execution.session)
        torch.set_num_threads(self.plan.threads)
        if self.plan.gpus_per_trial and not torch.cuda.is_available():
            raise InfrastructureError("the plan gives each trial a GPU and torch sees none here: driver, or CPU build?")
        device = torch.device("cuda" if self.plan.gpus_per_trial else "cpu")
        if device.type == "cpu":
            bound_heap()
        material = material_of(self.plan, self.paths)
        data = examples_of(material, self.plan, self.paths, self.config)
        with torch.device("meta"):
            self.parameters = count(self.config, [entry.task for entry in data], Encoder(material.encoder.config))
        cache = self._limited(material.cache)
        yield from self._prefix(data, FrozenPrefix(self.config, material.encoder, device, cache))
        start = load_state(resumed) if resumed else None
        for result in fine_tune(self.config, data, material.encoder, device=device, resume=start, cache=cache):
            self._save(attempt, data, material, result)
            if result.epoch < self.config.epochs:
                yield self._report()

    def completed(self) -> dict[str, Any]:
        """Return the verdict after the last epoch."""
        self.refuse_superseded()
        return {
            "state": "completed",
            "best": self.best,
            "history": self.history,
            "parameters": self.parameters[0],
            "trainable_params": self.parameters[1],
        }

    def refuse_superseded(self) -> None:
        """End this process's work where the trial was started elsewhere: after kill -9 of a driver workers live on."""
        if self.attempt is not None and self.folder.attempts()[-1] != self.attempt:
            raise SupersededError(f"{self.attempt} is over: {self.folder.attempts()[-1].name} has begun")

    def _report(self, **more: Any) -> dict[str, Any]:
        return {"number": self.number, "history": self.history, "best": self.best, "done": False, **more}

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
                if share < 1 and time.monotonic() - last > PREFIX_REPORTS_S:
                    told, last = True, time.monotonic()
                    yield self._report(prefix=share)
            if told:
                yield self._report(prefix=1.0)
        except PrefixCacheError as error:
            yield self._report(about="prefix cache", note=f"{error}; frozen layers are computed at every step")

    def _save(self, attempt: Path, data: list[TaskData], material: Material, result: EpochResult) -> None:
        """Save the epoch: its weights if they are the best so far, then the state to go on from."""
        self.refuse_superseded()
        facts = {"sweep": self.plan.sweep_id, "trial": self.number, "threads": self.plan.threads}
        tasks = [entry.task for entry in data]
        self.history = [*self.history, _entry(result)]
        if self.best is None or result.dev.overall > self.best["dev_score"]:
            target = best_folder(attempt, result.epoch)
            self.best = {
                "epoch": result.epoch,
                "dev_score": result.dev.overall,
                "scores": result.dev.scores,
                "checkpoint": str(target.relative_to(self.folder.root)),
            }
            save_checkpoint(
                target,
                config=self.config,
                tasks=tasks,
                encoder=material.encoder,
                state=result.state,
                facts={**facts, **self.best, **self._dev_facts(tasks)},
                with_optimizer=False,
                predictions=predictions_table(data, result.dev),
            )
        save_checkpoint(
            state_folder(attempt, result.epoch),
            config=self.config,
            tasks=tasks,
            encoder=material.encoder,
            state=result.state,
            facts={**facts, "history": self.history, "best": self.best},
            with_optimizer=True,
        )
        prune(self.folder, self.best, attempt)

    def _dev_facts(self, tasks: list[Task]) -> dict[str, Any]:
        """Return what a later evaluation needs to give the same score to the last bit."""
        content = self.plan.data["content"]
        return {
            "encoder_given": self.plan.encoder["given"],
            "max_dev_examples": self.plan.data["max_dev_examples"],
            "dev_content": {task.name: content[f"{task.name}/dev"] for task in tasks},
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
    }


def _refuse_fruitless(folder: TrialPaths, resumed: Checkpoint | None, session: str) -> None:
    """End a trial whose attempts die one after another, under one driver, without an epoch."""
    attempts = folder.attempts()
    since = [path.name for path in attempts].index(resumed.folder.parent.name) + 1 if resumed else 0
    marks = [path / SESSION for path in attempts[since:]]
    if sum(not mark.is_file() or mark.read_text(encoding="utf-8") == session for mark in marks) > FRUITLESS_ATTEMPTS:
        raise InfrastructureError(f"{FRUITLESS_ATTEMPTS} attempts died before an epoch ended; see the logs of Ray")

"""Ray Tune's face of a trial: a process that serves many trials in turn."""

import json
import logging
import os
import traceback
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import tune

from model.config import config_from_dict
from model.failpoints import reach
from orchestrator import spot
from orchestrator.failures import Failure
from orchestrator.guards import guard_logs, guard_output
from orchestrator.nodes import of_this_node, unfit, versions
from orchestrator.paths import SweepPaths
from orchestrator.plan import read_plan
from orchestrator.redaction import redacted
from orchestrator.trial import Execution, run_trial
from orchestrator.trial_files import HANG
from orchestrator.watchdog import Watchdog

_SPOT: spot.SpotWatcher | None = None
"""One a process, whatever trials it serves."""


def _spot_notice() -> str | None:
    """Return why the machine will be taken away, once that is known."""
    return str(_SPOT.notice) if _SPOT is not None and _SPOT.notice is not None else None


def _watch_spot() -> None:
    """Look for the cloud's notice, where there is one to be had; Ray then places nothing more on this node."""
    global _SPOT  # noqa: PLW0603  (of the process)
    if _SPOT is None and spot.VARIABLE in os.environ:
        from ray._raylet import GcsClient  # type: ignore[attr-defined]

        context = ray.get_runtime_context()
        node, client = context.get_node_id(), GcsClient(address=context.gcs_address)
        _SPOT = spot.watch(lambda notice: spot.drain(client, node, notice))


class SpentProcessError(RuntimeError):
    """The process must not serve another trial: a fresh one does."""


class WorkerError(RuntimeError):
    """An error of this process that is none of its trial; Ray and Tune keep its text in their files."""


@contextmanager
def _told_without_secrets() -> Iterator[None]:
    """Let what goes wrong in this process reach Ray without a secret; as it is, where it holds none."""
    try:
        yield
    except Exception as error:
        text = "".join(traceback.format_exception(error))
        if redacted(text) == text:
            raise
        raise WorkerError(redacted(text)) from None


class SweepTrial(tune.Trainable):  # type: ignore[misc]  # ray has no types
    """Runs the trial that its config names; results go to Tune, everything that counts to the trial's folder."""

    _reports: Generator[dict[str, Any], None, None]
    _watchdog: Watchdog | None = None
    _spent = False
    _unfit: str | None = None
    """Why this node cannot do the sweep's trials."""

    @_told_without_secrets()
    def setup(self, config: dict[str, Any]) -> None:
        """Start on a trial; `config` holds plain values: out, sweep, stage, number, attempt, execution, config."""
        guard_logs()
        guard_output()
        logging.basicConfig()  # to the worker's log, which Ray keeps
        logging.getLogger("model").setLevel(logging.INFO)
        _watch_spot()
        self._number, self._on_cluster = config["number"], bool(config["versions"])
        paths = SweepPaths(Path(config["out"]), config["sweep"], config["stage"])
        self._unfit = unfit(paths.root, config["versions"], versions()) if self._on_cluster else None
        if self._unfit is not None:
            return
        execution = Execution(**config["execution"])
        attempt = paths.trial(config["number"]).attempt(config["attempt"])
        self._watchdog = watchdog = Watchdog(attempt / HANG, execution.hang_s)
        self._reports = run_trial(
            read_plan(paths.plan),
            paths,
            config["number"],
            config_from_dict(config["config"]),
            config["attempt"],
            execution,
            beat=watchdog.beat,
            notice=_spot_notice,
        )

    @_told_without_secrets()
    def step(self) -> dict[str, Any]:
        """Return the next report."""
        report = self._next() if self._unfit is None else self._refusal(self._unfit)
        # After any failure the next trial gets a fresh process: what this one holds could make it fail too.
        self._spent = self._spent or report.get("failure") is not None
        if self._on_cluster:
            report = of_this_node(report, ray.get_runtime_context().get_node_id())
        reach("report: leaves", trial=report["number"], epochs=len(report["history"]), done=report["done"])
        # As text: Tune flattens nested results on the way to a searcher.
        return {"report": json.dumps(report), "done": report["done"], "epoch": len(report["history"])}

    def _next(self) -> dict[str, Any]:
        """Return the trial's next report, watched over."""
        assert self._watchdog is not None
        self._watchdog.arm()
        try:
            return next(self._reports)
        finally:
            self._watchdog.rest()

    def _refusal(self, why: str) -> dict[str, Any]:
        """Return the one report of a trial that came to a node that cannot do it."""
        said = {"state": "open", "failure": str(Failure.INFRASTRUCTURE), "error": why}
        return {"number": self._number, "history": [], "done": True, **said}

    @_told_without_secrets()
    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Go on to another trial in the same process, unless it is spent."""
        reach("process: reset")
        self.cleanup()
        if self._spent or _spot_notice():  # not False: Tune would lose the trial
            raise SpentProcessError(_spot_notice() or "a trial failed here; the next one gets a fresh process")
        self.setup(new_config)
        return True

    @_told_without_secrets()
    def cleanup(self) -> None:
        """Leave the trial: where it has not ended, it is saved where it stands."""
        if self._unfit is None:
            self._reports.close()
        if self._watchdog is not None:
            self._watchdog.close()
            self._watchdog = None

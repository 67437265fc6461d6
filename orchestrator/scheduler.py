"""Ray Tune's second face of the driver: reports come in, and a trial that is stopped early is stopped."""

import json
from pathlib import Path
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from model.failpoints import reach
from orchestrator.driver import Driver
from orchestrator.failures import Failure
from orchestrator.nodes import full_disk
from orchestrator.redaction import redacted
from orchestrator.searcher import StudySearcher

DEATHS = {
    Failure.MEMORY: ("running low on memory", "memory pressure", "OutOfMemory"),
    Failure.PREEMPTED: ("preempted",),
    Failure.NODE: ("its node has died", "node failure", "node was terminated", "NodeDied", "drained"),
}
"""What Ray says of an attempt's death, by its class; anything else is that the process died."""


SPENT = "SpentProcessError"
"""Of orchestrator/worker.py, which is imported where torch is wanted."""


class StudyScheduler(FIFOScheduler):  # type: ignore[misc]  # ray has no types
    """Hands every report to the driver. Tune shows it to a scheduler first, whatever is decided."""

    def __init__(self, driver: Driver, searcher: StudySearcher) -> None:
        """Serve one run of one sweep, beside its searcher."""
        super().__init__()
        self._driver: Driver | None = driver
        self._searcher: StudySearcher | None = searcher

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Record a report; stop the trial where the driver says so. Tune leaves this call out for the last one."""
        del tune_controller, trial
        assert self._driver is not None
        report = json.loads(result["report"])
        reach("report: arrived", trial=report["number"], epochs=len(report["history"]))
        answer = self._driver.record(report)
        decision: str = TrialScheduler.CONTINUE if answer == "go on" else TrialScheduler.STOP
        return decision

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Tell the searcher how the attempt died: it is asked next what becomes of the trial."""
        del tune_controller
        assert self._searcher is not None
        account = _account(trial)
        reach("death: noticed")
        if SPENT in account:  # the process asked to be replaced: nobody died
            return
        if (full := full_disk(account)) is not None:
            address, text = full
            self._searcher.died(trial.trial_id, Failure.INFRASTRUCTURE, text, address)
            return
        failure, text = death(account)
        self._searcher.died(trial.trial_id, failure, text)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the live driver out of Tune's pickles."""
        return {**self.__dict__, "_driver": None, "_searcher": None}


def _account(trial: Any) -> str:
    """Return what Tune wrote of a trial's death into its own folder; trial.get_error() reads a later copy."""
    try:
        return Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
    except (OSError, TypeError):  # there is none
        return ""


def death(text: str) -> tuple[Failure, str]:
    """Return the class of a death from Ray's account of it, and its telling line."""
    failure = next((f for f, words in DEATHS.items() if any(word in text for word in words)), Failure.DIED)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line for words in DEATHS.values() for word in words)]
    telling = telling or [line for line in lines if "exit detail" in line or "exit type" in line] or lines[-1:]
    return failure, redacted(telling[0] if telling else "Ray says nothing about it")[:500]

"""What a sweep does with a proposal and with a report. Knows nothing of Ray: whoever runs trials calls it.

One object, in the driver's process, behind Ray's searcher as behind the local loop.
"""

from collections.abc import Callable, Mapping
from typing import Any

from model.config import config_to_dict
from orchestrator.paths import SweepPaths
from orchestrator.study import Proposal, TrialStudy
from orchestrator.trial_files import history, read_verdict

Publish = Callable[[dict[str, Any]], None]
"""Takes one event; see orchestrator/progress.py for its kinds."""


class Driver:
    """Hands out the study's trials and writes their results into it."""

    def __init__(self, study: TrialStudy, paths: SweepPaths, publish: Publish) -> None:
        """Take over the study; `publish` is told of everything that happens."""
        self._study = study
        self._paths = paths
        self._publish = publish

    def propose(self) -> Proposal | None:
        """Return the next trial to run; None where there is none left to start."""
        while (proposal := self._study.next_proposal()) is not None:
            verdict = read_verdict(self._paths.trial(proposal.number))
            if verdict is None:
                config = config_to_dict(proposal.config)
                done = len(history(self._paths.trial(proposal.number)))
                self._publish({"event": "started", "trial": proposal.number, "config": config, "epochs_done": done})
                return proposal
            self.record({**verdict, "number": proposal.number, "done": True})  # ended before its driver knew
        return None

    def record(self, report: Mapping[str, Any]) -> None:
        """Write a report into the study. Reports may come again, and in any order."""
        number = report["number"]
        for entry in report["history"]:
            self._study.report(number, entry["epoch"], entry["dev_score"])
        if "note" in report:
            self._publish({"event": "note", "trial": number, "about": report["about"], "text": report["note"]})
        elif "prefix" in report:
            self._publish({"event": "prefix", "trial": number, "share": report["prefix"]})
        elif not report["done"]:
            told = {key: report[key] for key in ("history", "best", "resumed") if key in report}
            self._publish({"event": "epoch", "trial": number, **told})
        elif report["state"] == "completed":
            self._study.end(number, "completed", best=report["best"]["dev_score"])
            self._publish({"event": "completed", "trial": number, "best": report["best"]})
        else:
            self._study.end(number, "failed", failure=report["failure"])
            self._publish({"event": "failed", "trial": number, "failure": report["failure"], "error": report["error"]})

    def close(self, number: int) -> None:
        """Settle a trial whose run is over: by its verdict, or, where it left none, it is handed out again."""
        verdict = read_verdict(self._paths.trial(number))
        if verdict is None:
            self._study.hand_out_again(number)
        else:
            self.record({**verdict, "number": number, "done": True})

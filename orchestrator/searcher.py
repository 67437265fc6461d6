"""Ray Tune's first face of the driver: proposals go out, and what became of them comes back."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from ray.tune.search import Searcher

from model.config import config_to_dict
from orchestrator.driver import Driver
from orchestrator.failures import Failure
from orchestrator.paths import SweepPaths
from orchestrator.trial import Execution


class StudySearcher(Searcher):  # type: ignore[misc]  # ray has no types
    """Gives Tune the study's trials. Holds nothing that a restart needs: the study and the folders do."""

    def __init__(
        self, driver: Driver, paths: SweepPaths, execution: Execution, at_once: int, stopped: Callable[[], bool]
    ) -> None:
        """Serve one run of one sweep, until `stopped` says that no more trials are wanted."""
        super().__init__(metric="epoch", mode="max")
        self._driver: Driver | None = driver
        self._stopped: Callable[[], bool] | None = stopped
        self._paths = paths
        self._numbers: dict[str, int] = {}
        self._deaths: dict[str, tuple[Failure, str]] = {}
        self._execution = execution
        self.at_once = at_once
        """At most so many trials; any thread may raise it."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next trial's config as plain values, or that there is none now, or none left."""
        assert self._driver is not None
        assert self._stopped is not None
        full = len(self._numbers) >= self.at_once
        proposed = None if full or self._stopped() else self._driver.propose()
        if proposed is None:
            # Tune never asks again after FINISHED, and a trial that runs or rests may have to be handed out again.
            finished: str = Searcher.FINISHED
            more = self._numbers or (self._driver.waits and not self._stopped() and self._driver.trouble is None)
            return None if more else finished
        proposal, attempt = proposed
        self._numbers[trial_id] = proposal.number
        return {
            # Not the plan: Tune keeps a config several times over, and a plan holds all configs of the sweep.
            "out": str(self._paths.out),
            "sweep": self._paths.name,
            "stage": self._paths.stage,
            "number": proposal.number,
            "attempt": attempt,
            "execution": asdict(self._execution),
            "config": config_to_dict(proposal.config),
        }

    def died(self, trial_id: str, failure: Failure, error: str) -> None:
        """Take down what is known of an attempt's death; Tune's `on_trial_complete`, which follows, knows nothing."""
        self._deaths[trial_id] = failure, error

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,
        error: bool = False,  # noqa: FBT001, FBT002  (Tune's signature)
    ) -> None:
        """Settle the attempt by what its folder says; an error of Ray's alone is no failure of the trial."""
        del error
        assert self._driver is not None
        death = self._deaths.pop(trial_id, None)
        report = json.loads(result["report"]) if result and "report" in result else {}
        if report.get("state") == "open":  # its folder says so too, unless the disk refused that as well
            death = Failure(report["failure"]), report["error"]
        if trial_id in self._numbers:
            self._driver.close(self._numbers.pop(trial_id), death)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: Tune's own snapshot is never restored."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave the driver out of Tune's pickles: it is live, and nobody reads them."""
        return {**self.__dict__, "_driver": None, "_stopped": None}

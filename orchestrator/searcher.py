"""Ray Tune's face of the driver: proposals go out, reports come in."""

import json
from dataclasses import asdict
from typing import Any

from ray.tune.search import Searcher

from model.config import config_to_dict
from orchestrator.driver import Driver
from orchestrator.paths import SweepPaths
from orchestrator.plan import Plan
from orchestrator.trial import Execution


class StudySearcher(Searcher):  # type: ignore[misc]  # ray has no types
    """Gives Tune the study's trials. Holds nothing that a restart needs: the study and the folders do."""

    def __init__(self, driver: Driver, plan: Plan, paths: SweepPaths, execution: Execution) -> None:
        """Serve one run of one sweep."""
        super().__init__(metric="epoch", mode="max")
        self._driver: Driver | None = driver
        self._plan = plan
        self._paths = paths
        self._numbers: dict[str, int] = {}
        self._execution = execution

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next trial's config as plain values, or that there is none left."""
        assert self._driver is not None
        proposal = self._driver.propose()
        if proposal is None:
            # Tune never asks again after FINISHED, and a trial that still runs may have to be handed out again.
            finished: str = Searcher.FINISHED
            return None if self._numbers else finished
        self._numbers[trial_id] = proposal.number
        return {
            "plan": self._plan.to_dict(),
            "out": str(self._paths.out),
            "number": proposal.number,
            "execution": asdict(self._execution),
            "config": config_to_dict(proposal.config),
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Record an epoch. Tune leaves this call out for a trial's last result."""
        del trial_id
        assert self._driver is not None
        self._driver.record(json.loads(result["report"]))

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,
        error: bool = False,  # noqa: FBT001, FBT002  (Tune's signature)
    ) -> None:
        """Settle the trial by what its folder says; an error of Ray's alone is no failure of the trial."""
        del result, error
        assert self._driver is not None
        self._driver.close(self._numbers.pop(trial_id))

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: Tune's own snapshot is never restored."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave the driver out of Tune's pickles: it is live, and nobody reads them."""
        return {**self.__dict__, "_driver": None}

"""Ray Tune's first face of the driver: proposals go out, and what became of them comes back."""

import json
from collections.abc import Callable, Collection
from dataclasses import asdict
from typing import Any

from ray.tune.search import Searcher

from model.config import config_to_dict
from orchestrator.connection import node_at
from orchestrator.driver import Driver
from orchestrator.failures import Failure
from orchestrator.nodes import MOST, OF_THE_NODE, Avoided, versions
from orchestrator.paths import SweepPaths
from orchestrator.trial import Execution


class StudySearcher(Searcher):  # type: ignore[misc]  # ray has no types
    """Gives Tune the study's trials. Holds nothing that a restart needs: the study and the folders do."""

    def __init__(
        self,
        driver: Driver,
        paths: SweepPaths,
        execution: Execution,
        at_once: int,
        stopped: Callable[[], bool],
        usable: Callable[[Collection[str]], bool] | None,
    ) -> None:
        """Serve one run of one sweep, until `stopped` says that no more trials are wanted.

        `usable` says whether a node that holds a trial is there, or may come, beside those with these ids; None where
        there is one machine alone.
        """
        super().__init__(metric="epoch", mode="max")
        self._driver: Driver | None = driver
        self._stopped: Callable[[], bool] | None = stopped
        self._usable: Callable[[Collection[str]], bool] | None = usable
        self._avoided, self._versions = Avoided(), versions() if usable else {}
        self._paths = paths
        self._numbers: dict[str, int] = {}
        self._deaths: dict[str, tuple[Failure, str, str]] = {}
        """By Tune's trial: what is known of its attempt's death, and the address of the node whose doing that is."""
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
            "versions": self._versions,
            "on": self._avoided.selector(),
        }

    def died(self, trial_id: str, failure: Failure, error: str, address: str = "") -> None:
        """Take down what is known of an attempt's death; Tune's `on_trial_complete`, which follows, knows nothing.

        `address` is that of the node whose doing it is.
        """
        self._deaths[trial_id] = failure, error, address

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,
        error: bool = False,  # noqa: FBT001, FBT002  (Tune's signature)
    ) -> None:
        """Settle the attempt by what its folder says; an error of Ray's alone is no failure of the trial."""
        del error
        assert self._driver is not None
        told = self._deaths.pop(trial_id, None)
        death, address = (told[:2], told[2]) if told else (None, "")
        report = json.loads(result["report"]) if result and "report" in result else {}
        if report.get("state") == "open":  # its folder says so too, unless the disk refused that as well
            death = Failure(report["failure"]), report["error"]
        if trial_id in self._numbers:
            number = self._numbers.pop(trial_id)
            node = report.get("node") or node_at(address)
            of_the_node = death is not None and self._avoids(number, node, *death)
            self._driver.close(number, death, counts=not of_the_node)

    def _avoids(self, number: int, node: str, failure: Failure, why: str) -> bool:
        """Give a node no more trials that cannot do them; return whether an attempt's end is that node's doing."""
        if self._usable is None or not node:
            return False
        assert self._driver is not None
        if self._avoided.learn(node, failure, why):
            self._driver.tell(number, f"node {node}", f"{why}; this node gets no more trials until the next start")
            if len(self._avoided.nodes) >= MOST or not self._usable(self._avoided.nodes):
                self._driver.stop(f"no node is left that can do its trials: {why}")
        return node in self._avoided.nodes and failure in OF_THE_NODE

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: Tune's own snapshot is never restored."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave the driver out of Tune's pickles: it is live, and nobody reads them."""
        return {**self.__dict__, "_driver": None, "_stopped": None, "_usable": None}

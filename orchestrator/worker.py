"""Ray Tune's face of a trial: a process that serves many trials in turn."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ray import tune

from model.config import config_from_dict
from orchestrator.paths import SweepPaths
from orchestrator.plan import Plan
from orchestrator.trial import Execution, run_trial


class SweepTrial(tune.Trainable):  # type: ignore[misc]  # ray has no types
    """Runs the trial that its config names; results go to Tune, everything that counts to the trial's folder."""

    _reports: Iterator[dict[str, Any]]

    def setup(self, config: dict[str, Any]) -> None:
        """Start on a trial; `config` holds plain values: plan, out, number, config, execution."""
        logging.basicConfig()  # to the worker's log, which Ray keeps
        logging.getLogger("model").setLevel(logging.INFO)
        plan = Plan(**config["plan"])
        paths = SweepPaths(Path(config["out"]), plan.name)
        execution = Execution(**config["execution"])
        self._reports = run_trial(plan, paths, config["number"], config_from_dict(config["config"]), execution)

    def step(self) -> dict[str, Any]:
        """Return the next report."""
        report = next(self._reports)
        # As text: Tune flattens nested results on the way to a searcher.
        return {"report": json.dumps(report), "done": report["done"], "epoch": len(report["history"])}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Go on to another trial in the same process."""
        self.setup(new_config)
        return True

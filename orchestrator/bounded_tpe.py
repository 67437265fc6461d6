"""Optuna's TPE on a bounded part of a long sweep: what it learns from stays the same size, and so does what it costs.

TPE sorts and models all trials for each parameter anew: a proposal takes time in proportion to the trials so far, and
of thousands more than the sweep has between two. It calls the best few good (25 at most, however many there are) and
all others bad, the older ones with less weight. So of a longer sweep it gets all good ones and the newest others:
another model of what is bad, and so another search than Optuna's from there on, as much a function of the study.
"""

import heapq
import math
from collections.abc import Container
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

GOOD = 25
"""Trials that TPE calls good at most (optuna.samplers._tpe.sampler.default_gamma)."""
LEARNT = 1000
"""Trials that it learns from: below that, as ever, all."""


class BoundedTPESampler(TPESampler):
    """TPE for one proposal, of a study that is maximised."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._part: _Part | None = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters that are proposed together."""
        return super().infer_relative_search_space(self._bounded(study), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return values for these."""
        return super().sample_relative(self._bounded(study), trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a value for a parameter that is proposed alone."""
        return super().sample_independent(self._bounded(study), trial, param_name, param_distribution)

    def _bounded(self, study: Study) -> Study:
        """Return what stands in for the study, which is a part of it already where TPE calls itself."""
        if isinstance(study, _Part):
            return study
        self._part = self._part or _Part(study)
        return self._part  # type: ignore[return-value]


class _Part:
    """A study that has only some of its trials for whoever asks; read once."""

    def __init__(self, study: Study) -> None:
        self._study = study
        trials = study.get_trials(deepcopy=False)
        learnt = learnt_from([trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)])
        known = {trial.number for trial in learnt}
        # Those that run are taken for bad ones meanwhile (constant liar), so that not all propose the same.
        self._trials = [t for t in trials if t.number in known or t.state == TrialState.RUNNING]

    def _get_trials(
        self,
        deepcopy: bool = True,  # noqa: FBT001, FBT002  (Optuna's signature)
        states: Container[TrialState] | None = None,
        use_cache: bool = False,  # noqa: FBT001, FBT002
    ) -> list[FrozenTrial]:
        del deepcopy, use_cache
        return [trial for trial in self._trials if states is None or trial.state in states]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)


def learnt_from(ended: list[FrozenTrial]) -> list[FrozenTrial]:
    """Return the best GOOD and the newest others, LEARNT in all, as they stand; all of them where they are no more."""
    if len(ended) <= LEARNT:
        return ended
    chosen = {trial.number for trial in heapq.nlargest(GOOD, ended, key=_merit)}
    newest = [trial.number for trial in ended if trial.number not in chosen][-(LEARNT - GOOD) :]
    chosen.update(newest)
    return [trial for trial in ended if trial.number in chosen]


def _merit(trial: FrozenTrial) -> tuple[bool, float, float, int]:
    """Return a sort key in TPE's order: completed ones by their value, then pruned ones, who came furthest first."""
    if trial.state == TrialState.COMPLETE:
        return True, 0.0, _number(trial.value), -trial.number
    step, value = max(trial.intermediate_values.items(), default=(-math.inf, None))
    return False, step, _number(value), -trial.number


def _number(value: float | None) -> float:
    return -math.inf if value is None or math.isnan(value) else value

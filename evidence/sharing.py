"""What a task gains or loses by sharing a model with others: the model of this task alone against the shared one.

The two are scored on the same examples of the task, so what is hard for both is no noise of their difference. Each is
the model of its best epoch, by the mean over its own tasks: the one trained alone has its epoch chosen for this very
task, the shared one for all. That is part of what sharing costs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from evidence.comparisons import ALPHA, compare
from evidence.scores import Answers, scores
from evidence.seeds import configs


class Outcome(StrEnum):
    """What sharing did to a task."""

    HELPED = "helped"
    """Better shared than alone, on fresh examples and fresh seeds."""
    TENTATIVELY_HELPED = "tentatively helped"
    """These very models differ so; no repeated seed says whether such models do."""
    NOISE = "may be noise"
    """The difference may be that of the examples and seeds."""
    TENTATIVELY_HURT = "tentatively hurt"
    """These very models differ so."""
    HURT = "hurt"
    """Worse shared than alone: negative transfer."""


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """One task, trained alone and shared; scores in its own metric, accuracy or Pearson's r."""

    alone: float
    """Mean over seeds, as is the next."""
    shared: float
    difference: float
    """Shared less alone."""
    interval: tuple[float, float]
    """Of the difference; all of a sweep's hold theirs at once with 95 % probability."""
    outcome: Outcome
    """By whether the interval holds 0."""


def sharing(answers: Answers, is_shared_T: Sequence[bool], *, comparisons: int = 1, alpha: float = ALPHA) -> Sharing:
    """Return what sharing does to the task that T trials answered, each of them trained alone or shared.

    `comparisons` is how many such questions the sweep asks, which share the error `alpha`. Trials of one side are
    repeats of one config on other seeds.
    """
    if len(set(is_shared_T)) != 2:
        raise ValueError(f"{answers.task.name}: {len(is_shared_T)} trials, all on one side; expected both")
    found = configs(scores([answers]), list(is_shared_T))
    compared = compare(found, baseline=False, alpha=alpha / comparisons)[found.keys.index(True)]
    scale = 2.0 if answers.task.metric == "pearson" else 1.0  # r is twice the unit score, less 1
    metric_T = found.overall_T * scale - (scale - 1)
    low, high = compared.joint_interval
    return Sharing(
        alone=float(metric_T[found.keys.index(False)]),
        shared=float(metric_T[found.keys.index(True)]),
        difference=compared.difference * scale,
        interval=(low * scale, high * scale),
        outcome=_outcome(low, high, tentative=compared.seed_noise_unknown),
    )


def _outcome(low: float, high: float, *, tentative: bool) -> Outcome:
    if low > 0:
        return Outcome.TENTATIVELY_HELPED if tentative else Outcome.HELPED
    if high < 0:
        return Outcome.TENTATIVELY_HURT if tentative else Outcome.HURT
    return Outcome.NOISE

"""Scores of many trials on the same examples, and how much the examples alone move them.

The influence of an example on a score says how far the score moves as the example weighs more; the mean of its square
over the examples, divided by their number, is the score's sampling variance (Hampel, JASA 1974; the delta method).
For all trials at once it is a matrix [N, T], and the covariance of the scores is one product of it with itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.tasks import Task

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the trials of a sweep answered to one task's examples."""

    task: Task
    labels_N: Array
    predictions_NT: Array
    """Class, 0 or 1, or value, as the `prediction` column of predictions.parquet has it; a column a trial."""

    def __post_init__(self) -> None:
        """Check the shapes, and that every number is one."""
        name, labels, predictions = self.task.name, self.labels_N, self.predictions_NT
        if labels.ndim != 1 or predictions.ndim != 2 or len(labels) != len(predictions) or predictions.size == 0:
            raise ValueError(
                f"{name}: labels {labels.shape} and predictions {predictions.shape}; expected [N] and [N, T], N, T > 0"
            )
        if not np.isfinite(labels).all():
            raise ValueError(f"{name}: {np.count_nonzero(~np.isfinite(labels))} of {len(labels)} labels are no numbers")
        if not np.isfinite(predictions).all():
            bad = np.flatnonzero(~np.isfinite(predictions).all(axis=0))
            raise ValueError(f"{name}: trials with predictions that are no numbers: columns {bad[:9].tolist()}")

    @property
    def examples(self) -> int:
        """Return N."""
        return len(self.labels_N)

    def scores_T(self) -> Array:
        """Return each trial's metric, as model/tasks.METRICS has it: accuracy, or Pearson's r."""
        if self.task.metric == "accuracy":
            return np.asarray((self.predictions_NT == self.labels_N[:, None]).mean(axis=0))
        x_NT, y_N = self._standardised()
        # A sum a column and no product of matrices: equal columns get equal scores to the last bit.
        return np.asarray(np.clip((x_NT * y_N[:, None]).mean(axis=0), -1.0, 1.0))

    def unit_scores_T(self) -> Array:
        """Return the metric on 0..1: accuracy as it is, r as (r + 1) / 2."""
        scores = self.scores_T()
        return (scores + 1) / 2 if self.task.metric == "pearson" else scores

    def influence_NT(self) -> Array:
        """Return the influence of each example on each trial's unit score; every column has mean 0.

        Accuracy: right or wrong, less the mean. Pearson: x y - r (x^2 + y^2) / 2 of the standardised values (Devlin,
        Gnanadesikan and Kettenring, Biometrika 1975), halved as the score is.
        """
        if self.task.metric == "accuracy":
            right_NT = (self.predictions_NT == self.labels_N[:, None]).astype(np.float64)
            return np.asarray(right_NT - right_NT.mean(axis=0))
        x_NT, y_N = self._standardised()
        y_N1 = y_N[:, None]
        influence_NT: Array = (x_NT * y_N1 - self.scores_T() * (x_NT**2 + y_N1**2) / 2) / 2
        return influence_NT

    def _standardised(self) -> tuple[Array, Array]:
        """Return predictions and labels with mean 0 and mean square 1; all zeros where a side is constant."""
        both = np.column_stack([self.predictions_NT, self.labels_N])
        constant = np.ptp(both, axis=0) == 0
        both = both - both.mean(axis=0)
        scale = np.abs(both).max(axis=0)  # first, so that squares neither vanish nor overflow
        constant |= (scale == 0) | constant[-1]
        both = both / np.where(constant, np.inf, scale)
        both /= np.where(constant, 1.0, np.sqrt((both**2).mean(axis=0)))
        return both[:, :-1], both[:, -1]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Overall scores of trials on the same examples, and what the examples' draw does to them."""

    overall_T: Array
    """The dev score: the mean over the tasks of the unit scores (model/tasks.overall_score)."""
    covariance_TT: Array
    """Of the overall scores, over draws of the examples; the seeds as they were."""
    resolution: float
    """Root of the summed squares of what one example of each task weighs: no difference is known better than that."""

    def part(self, places: Sequence[int]) -> "Scores":
        """Return the scores of some of the trials."""
        chosen = np.asarray(places, dtype=np.intp)
        return Scores(
            overall_T=self.overall_T[chosen],
            covariance_TT=self.covariance_TT[np.ix_(chosen, chosen)],
            resolution=self.resolution,
        )


def scores(answers: Sequence[Answers]) -> Scores:
    """Return the overall scores of the trials and their covariance.

    Tasks have their own examples, drawn apart, so variances add up: the sum over the tasks of
    influence' influence / (N (N - 1)), by the square of the number of tasks. One matrix product a task: 1,000 trials on
    the study's 22,179 examples take seconds.
    """
    trials = {entry.task.name: entry.predictions_NT.shape[1] for entry in answers}
    if not answers or len(trials) < len(answers) or len(set(trials.values())) != 1:
        raise ValueError(f"answers for {trials or 'no task'}; expected each task once, with the same trials for all")
    unit = [entry.unit_scores_T() for entry in answers]
    tasks = len(answers)
    covariance = np.zeros((len(unit[0]), len(unit[0])))
    for entry in answers:
        influence_NT = entry.influence_NT()
        covariance += influence_NT.T @ influence_NT / (entry.examples * max(entry.examples - 1, 1))
    return Scores(
        overall_T=sum(unit[1:], unit[0]) / tasks,
        covariance_TT=covariance / tasks**2,
        resolution=float(np.sqrt(sum(entry.examples**-2.0 for entry in answers)) / tasks),
    )

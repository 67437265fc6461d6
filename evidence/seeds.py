"""Trials of one config with several seeds as one config with a mean, and what seeds add to its noise.

A config's score on fresh examples with fresh seeds differs from its true score for two reasons. Examples that are hard
or easy for all of its seeds: a covariance between its trials. And what each seed brings of its own, in what the model
is and in which examples it gets right: the variance between its trials, divided by their number.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from evidence.scores import Array, Scores


@dataclass(frozen=True, kw_only=True)
class Configs:
    """Mean scores of configs over their seeds, and their noise in parts. Here T counts configs."""

    keys: tuple[Hashable, ...]
    """What the trials of a config share, in the order of first appearance."""
    overall_T: Array
    seeds_T: Array
    """Trials of each config."""
    examples_TT: Array
    """Covariance from the examples; where seed noise is known, without what each seed brings of its own."""
    seed_variance: float | None
    """Variance between the scores of one config's seeds, pooled over configs; None where no seed is repeated."""
    degrees: int
    """Degrees of freedom of `seed_variance`: trials of repeated configs, less the configs."""
    resolution: float
    """As in `Scores`."""

    @property
    def noise_TT(self) -> Array:
        """Covariance of `overall_T` from examples and, where it is known, from seeds."""
        return self.examples_TT + np.diag((self.seed_variance or 0.0) / self.seeds_T)


def configs(trials: Scores, keys: Sequence[Hashable]) -> Configs:
    """Return the configs of trials; `keys` says for each trial which config it is, its seed left out.

    The seed variance is pooled: one value for all configs, s^2 = sum (score - config mean)^2 / sum (seeds - 1). It
    contains what the examples do to one seed and not to its siblings; that part is known from the trials' covariance
    and is taken out of `examples_TT`, so that it does not count twice.
    """
    if len(keys) != len(trials.overall_T):
        raise ValueError(f"{len(keys)} configs' keys for {len(trials.overall_T)} trials; expected one a trial")
    distinct = tuple(dict.fromkeys(keys))
    place = {key: index for index, key in enumerate(distinct)}
    member_TC = np.zeros((len(keys), len(distinct)))  # [trials, configs]
    member_TC[np.arange(len(keys)), [place[key] for key in keys]] = 1.0
    seeds = member_TC.sum(axis=0)
    mean_TC = member_TC / seeds
    overall = trials.overall_T @ mean_TC
    examples = mean_TC.T @ trials.covariance_TT @ mean_TC
    degrees = int(np.sum(seeds - 1))
    seed_variance = None
    if degrees:
        seed_variance = float(np.sum((trials.overall_T - member_TC @ overall) ** 2)) / degrees
        # E[sum of squares about the config means] from examples alone, by the same degrees of freedom.
        own = float(np.trace(trials.covariance_TT) - np.diag(examples) @ seeds) / degrees
        examples = examples - np.diag(max(own, 0.0) / seeds)
    return Configs(
        keys=distinct,
        overall_T=overall,
        seeds_T=seeds,
        examples_TT=examples,
        seed_variance=seed_variance,
        degrees=degrees,
        resolution=trials.resolution,
    )

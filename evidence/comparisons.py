"""Which configs differ from the baseline: differences studentised, and judged together.

The error held to `ALPHA` is that of a single false claim anywhere in the sweep, of a wrong direction too, whatever the
true differences are: the step-down of Romano and Wolf (Econometrica 2005) on the maximum of the statistics. Its null
distribution is drawn from the configs' own noise, so trials that err alike cost little. With repeated seeds the
estimated seed variance is drawn as well, which makes the statistics correlated t and not normal.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy import stats

from evidence.draws import normal_draws_BT
from evidence.scores import Array
from evidence.seeds import Configs

ALPHA = 0.05
"""Probability of any false claim in a sweep, and of an interval that misses."""
DRAWS = 10_000
"""An adjusted p-value of 0.05 is drawn to within 0.002 (standard error)."""


class Standing(StrEnum):
    """How a config stands to the baseline."""

    BASELINE = "baseline"
    """The one that others are compared with."""
    BETTER = "better"
    """Better on fresh examples and fresh seeds."""
    TENTATIVELY_BETTER = "tentatively better"
    """This one model is better on fresh examples; whether the config is, no repeated seed can tell."""
    TIED = "tied"
    """The difference may be noise."""
    TENTATIVELY_WORSE = "tentatively worse"
    """This one model is worse; the config may not be."""
    WORSE = "worse"
    """Worse on fresh examples and fresh seeds."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One config against the baseline; differences of overall scores, config less baseline."""

    key: Hashable
    seeds: int
    """Trials of the config."""
    difference: float
    standard_error: float
    degrees: float
    """Degrees of freedom of the standard error (Welch-Satterthwaite); inf where only examples are in it."""
    p: float
    """Adjusted for all comparisons of the sweep and both directions; 1 for the baseline."""
    interval: tuple[float, float]
    """Holds the true difference with 95 % probability, this comparison taken alone."""
    joint_interval: tuple[float, float]
    """With 95 % probability all of the sweep's joint intervals hold theirs at once."""
    standing: Standing
    seed_noise_unknown: bool
    """No config was repeated with another seed: the standard error is of these very models."""


def compare(
    configs: Configs, baseline: Hashable, *, alpha: float = ALPHA, draws: int = DRAWS, seed: int = 0
) -> tuple[Comparison, ...]:
    """Return every config's comparison with the baseline, in the order of `configs.keys`.

    The same input gives the same output; the order of configs changes nothing but the order of the result.
    """
    if baseline not in configs.keys:
        raise ValueError(f"baseline {baseline!r} is none of the {len(configs.keys)} configs")
    zero = configs.keys.index(baseline)
    differences_T = configs.overall_T - configs.overall_T[zero]
    by_examples_TT = _differences_TT(configs.examples_TT, zero)
    # The floor: two models that differ on a handful of examples, all in one's favour, have hardly any variance.
    by_examples_T = np.maximum(np.diag(by_examples_TT), 0.0) + configs.resolution**2
    seed_weight_T = 1 / configs.seeds_T + 1 / configs.seeds_T[zero]
    seed_variance = configs.seed_variance or 0.0
    by_seeds_T = seed_variance * seed_weight_T
    errors_T = np.sqrt(by_examples_T + by_seeds_T)
    degrees_T = _degrees_T(configs, errors_T**2, by_seeds_T)
    errors_T[zero], degrees_T[zero] = 1.0, np.inf  # of no use, and no division by 0

    # Trials that came in another order draw the same: sorted by what they are, not by when they ended.
    order = np.lexsort((np.round(errors_T, 12), np.round(differences_T, 12)))
    order = order[order != zero]
    joint_TT = by_examples_TT + _differences_TT(np.diag(seed_variance / configs.seeds_T), zero)
    rng = np.random.default_rng(seed)
    drawn_T = np.sqrt(np.maximum(np.diag(joint_TT), 0.0))
    null_BT = normal_draws_BT(joint_TT[np.ix_(order, order)], draws, rng)
    null_BT *= np.divide(errors_T, drawn_T, out=np.zeros_like(drawn_T), where=drawn_T > 1e-9 * errors_T)[order]
    drawn_seeds_B1 = np.ones((draws, 1))
    if seed_variance > 0:
        drawn_seeds_B1 = rng.chisquare(configs.degrees, (draws, 1)) / configs.degrees
    null_BT /= np.sqrt(by_examples_T[order] + by_seeds_T[order] * drawn_seeds_B1)
    statistics_T = differences_T / errors_T

    p_T = np.ones(len(errors_T))
    p_T[order] = step_down(statistics_T[order], null_BT)
    alone_T = stats.t.ppf(1 - alpha / 2, degrees_T) * errors_T
    jointly_T = alone_T
    if len(order):
        # Never narrower than the interval taken alone, which the draws may undercut by their own error.
        jointly_T = np.maximum(np.quantile(np.abs(null_BT).max(axis=1), 1 - alpha) * errors_T, alone_T)
    alone_T[zero] = jointly_T[zero] = 0.0
    return tuple(
        Comparison(
            key=key,
            seeds=int(configs.seeds_T[t]),
            difference=float(differences_T[t]),
            standard_error=0.0 if t == zero else float(errors_T[t]),
            degrees=float(degrees_T[t]),
            p=float(p_T[t]),
            interval=(float(differences_T[t] - alone_T[t]), float(differences_T[t] + alone_T[t])),
            joint_interval=(float(differences_T[t] - jointly_T[t]), float(differences_T[t] + jointly_T[t])),
            standing=Standing.BASELINE
            if t == zero
            else _standing(statistics_T[t], p_T[t], alpha, tentative=configs.seed_variance is None),
            seed_noise_unknown=configs.seed_variance is None,
        )
        for t, key in enumerate(configs.keys)
    )


def own_intervals(configs: Configs, alpha: float = ALPHA) -> tuple[Array, Array]:
    """Return low and high of each config's own true score, every one taken alone; of T configs [T] each.

    Where seeds repeat it is that of the models which the config leaves, over all seeds: of each one's best epoch, as it
    was chosen. Where none does it is that of the very models, and other seeds' may lie outside. How much of a best
    epoch's score is luck with the dev examples, no other epoch's predictions are kept to tell; docs/honesty.md has how
    often the intervals hold with it.
    """
    by_examples_T = np.maximum(np.diag(configs.examples_TT), 0.0) + configs.resolution**2
    by_seeds_T = (configs.seed_variance or 0.0) / configs.seeds_T
    variance_T = by_examples_T + by_seeds_T
    half_T = stats.t.ppf(1 - alpha / 2, _degrees_T(configs, variance_T, by_seeds_T)) * np.sqrt(variance_T)
    return configs.overall_T - half_T, configs.overall_T + half_T


def _degrees_T(configs: Configs, variance_T: Array, by_seeds_T: Array) -> Array:
    """Return Welch and Satterthwaite's degrees of freedom of variances of which the seeds' part is estimated."""
    if not configs.seed_variance:
        return np.full(len(variance_T), np.inf)
    return np.asarray(configs.degrees * (variance_T / by_seeds_T) ** 2)


def step_down(statistics_T: Array, null_BT: Array) -> Array:
    """Return adjusted p-values by the step-down on the maximum, over the hypotheses of both directions.

    For each trial there are two hypotheses, "not better" and "not worse", with statistics t and -t. In the order of
    falling |t| each is compared with the maximum over all hypotheses not yet rejected; the other direction of a
    rejected one stays in, which is what makes a claim's direction part of the error that is controlled.
    """
    if not len(statistics_T):
        return np.ones(0)
    order = np.argsort(-np.abs(statistics_T), kind="stable")
    signs = np.where(statistics_T[order] < 0, -1.0, 1.0)
    signed_BT = null_BT[:, order] * signs
    opposite_B1 = -signed_BT.min(axis=1, keepdims=True)
    rest_BT = np.maximum.accumulate(signed_BT[:, ::-1], axis=1)[:, ::-1]
    at_least = np.maximum(rest_BT, opposite_B1) >= np.abs(statistics_T[order])
    p = np.maximum.accumulate((1 + at_least.sum(axis=0)) / (1 + len(null_BT)))
    adjusted = np.empty_like(p)
    adjusted[order] = p
    return adjusted


def _differences_TT(covariance_TT: Array, zero: int) -> Array:
    """Return the covariance of differences to one of the trials from that of the trials."""
    to_zero = covariance_TT[:, zero]
    return np.asarray(covariance_TT - to_zero[:, None] - to_zero[None, :] + covariance_TT[zero, zero])


def _standing(statistic: float, p: float, alpha: float, *, tentative: bool) -> Standing:
    if p > alpha:
        return Standing.TIED
    if statistic > 0:
        return Standing.TENTATIVELY_BETTER if tentative else Standing.BETTER
    return Standing.TENTATIVELY_WORSE if tentative else Standing.WORSE

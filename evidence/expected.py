"""What a score would be without the luck of being chosen, and the probability that a config beats the baseline.

The best of many noisy scores is the luckiest too: its score is too high (the winner's curse; Efron, JASA 2011). Each
score is drawn towards the others, the more the less the true scores differ beside the noise. How they differ is learnt
from the sweep: a share of the configs differs from a common score, by a normal amount, and the rest does not (a spike
and slab; Johnstone and Silverman, Annals of Statistics 2004; Stephens, Biostatistics 2017). Share and spread are
unknown and summed over, so that one that stands out is not drawn to a crowd of equals as one of a spread crowd is.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from evidence.pairs import distinct_trials, own_noise
from evidence.scores import Array

SHARES = {1.0: 1 / 2, 0.3: 1 / 6, 0.1: 1 / 6, 0.03: 1 / 6}
"""Of the configs that differ, with their prior probabilities: all as likely as not, else some or few."""
SPREAD_SCALE = 0.01
"""Median of the half-Cauchy prior of the spread (Gelman, Bayesian Analysis 2006): the study's heads spread by 0.011."""
SPREADS = 32
"""Values of the spread that are summed over, each of the same prior probability."""
STEPS = 30
"""Of expectation and maximisation for the common score; it moves by less than 1e-6 after them."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """Scores without the luck; [T]."""

    overall_T: Array
    """Expected score on fresh examples; with fresh seeds, too, where the noise that was given includes them."""
    error_T: Array
    """Its standard deviation."""
    beats_baseline_T: Array
    """Probability that the true score is above the baseline's, half of that of equal ones added."""
    differs_T: Array
    """Probability that the true score is not the common one."""


def expected(overall_T: Array, noise_TT: Array, baseline: int, *, scale: float = SPREAD_SCALE) -> Expected:
    """Return what scores with this noise lead to expect.

    `noise_TT` is `Configs.noise_TT`: with its seed noise known the expectation is of the config, trained anew; without,
    of this very model. That a trial's best epoch was chosen by the same scores is not taken out: it lifts all alike.
    """
    found = _posterior(overall_T, noise_TT, scale)
    if not 0 <= baseline < len(overall_T):
        raise ValueError(f"baseline {baseline} of {len(overall_T)} scores")
    zero = found.place_T[baseline]
    at_GT = found.common_G[:, None] + found.differs_GT * found.shift_GT
    mean_T = found.weight_G @ at_GT
    within_GT = found.differs_GT * (found.variance_GT + (1 - found.differs_GT) * found.shift_GT**2)
    variance_T = found.weight_G @ (within_GT + (at_GT - mean_T) ** 2 + found.level_G[:, None])
    # Four cases: either may differ from the common score or not.
    beats_GT = np.zeros_like(at_GT)
    for one in (False, True):
        for other in (False, True):
            chance = (found.differs_GT if one else 1 - found.differs_GT) * (
                found.differs_GT if other else 1 - found.differs_GT
            )[:, [zero]]
            apart = found.shift_GT * one - found.shift_GT[:, [zero]] * other
            spread = np.sqrt(found.variance_GT * one + found.variance_GT[:, [zero]] * other)
            sure = np.divide(apart, spread, out=np.zeros_like(apart), where=spread > 0)
            beats_GT += chance * stats.norm.cdf(sure)
    beats_T = found.weight_G @ beats_GT
    beats_T[zero] = 0.5
    return Expected(
        overall_T=mean_T[found.place_T],
        error_T=np.sqrt(variance_T)[found.place_T],
        beats_baseline_T=beats_T[found.place_T],
        differs_T=(found.weight_G @ found.differs_GT)[found.place_T],
    )


def true_scores_BT(
    overall_T: Array, noise_TT: Array, draws: int, rng: np.random.Generator, *, scale: float = SPREAD_SCALE
) -> Array:
    """Return draws of what the true scores may be, given these scores and their noise."""
    found = _posterior(overall_T, noise_TT, scale)
    g_B = rng.choice(len(found.weight_G), draws, p=found.weight_G)
    shape = (draws, found.shift_GT.shape[1])
    differs_BT = rng.random(shape) < found.differs_GT[g_B]
    own_BT = found.shift_GT[g_B] + np.sqrt(found.variance_GT[g_B]) * rng.standard_normal(shape)
    level_B = found.common_G[g_B] + np.sqrt(found.level_G[g_B]) * rng.standard_normal(draws)
    return np.asarray((level_B[:, None] + differs_BT * own_BT)[:, found.place_T])


@dataclass(frozen=True, kw_only=True)
class _Posterior:
    """True scores for each share and spread of a grid (G); T counts distinct trials."""

    place_T: NDArray[np.int64]
    """For each trial that was given, its place among the distinct ones."""
    weight_G: Array
    """Posterior probability of each share and spread."""
    common_G: Array
    level_G: Array
    """Variance of the common score, with the noise that all trials share."""
    differs_GT: Array
    """Probability that a trial differs from the common score."""
    shift_GT: Array
    """Expected difference of one that does, and below its variance."""
    variance_GT: Array


def _posterior(overall_T: Array, noise_TT: Array, scale: float) -> _Posterior:
    """Return the posterior, the common score of each grid point at its likeliest value."""
    if noise_TT.shape != (len(overall_T), len(overall_T)) or not len(overall_T):
        raise ValueError(f"scores {overall_T.shape} and noise {noise_TT.shape}; expected [T] and [T, T], T > 0")
    if not (np.isfinite(overall_T).all() and np.isfinite(noise_TT).all()):
        raise ValueError("scores or noise that are no numbers")
    place_T, distinct = distinct_trials(overall_T, noise_TT)
    x = overall_T[distinct]
    own_T, shared = own_noise(noise_TT[np.ix_(distinct, distinct)])
    spread = scale * np.tan(np.pi / 2 * (np.arange(SPREADS) + 0.5) / SPREADS)
    share_G1 = np.repeat(list(SHARES), SPREADS)[:, None]
    slab_G1 = np.tile(spread**2, len(SHARES))[:, None]
    log_share_G1 = np.log(share_G1)
    log_rest_G1 = np.log1p(-np.minimum(share_G1, 1 - 1e-12))
    common_G1 = np.full_like(slab_G1, np.median(x))
    for _ in range(STEPS):
        square_GT = (x - common_G1) ** 2
        differs = log_share_G1 - (np.log(own_T + slab_G1) + square_GT / (own_T + slab_G1)) / 2
        equal = log_rest_G1 - (np.log(own_T) + square_GT / own_T) / 2
        either = np.logaddexp(differs, equal)
        differs_GT = np.exp(differs - either)
        precision_GT = (1 - differs_GT) / own_T + differs_GT / (own_T + slab_G1)
        common_G1 = (precision_GT @ x / precision_GT.sum(axis=1))[:, None]
    # The common score integrated out by its curvature, as restricted likelihood does where it is exact (share 1).
    log_G = either.sum(axis=1) - np.log(precision_GT.sum(axis=1)) / 2
    weight_G = np.exp(log_G - log_G.max()) * np.repeat(list(SHARES.values()), SPREADS)
    kept_GT = slab_G1 / (slab_G1 + own_T)
    return _Posterior(
        place_T=place_T,
        weight_G=weight_G / weight_G.sum(),
        common_G=common_G1[:, 0],
        level_G=1 / precision_GT.sum(axis=1) + shared,
        differs_GT=differs_GT,
        shift_GT=kept_GT * (x - common_G1),
        variance_GT=kept_GT * own_T,
    )

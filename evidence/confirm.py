"""Fresh seeds for a candidate and the baseline, one after another, and a look after each.

Looking after every seed and stopping when it pleases would spoil a t-test. Here the evidence is an e-value, which stays
valid whenever one stops: under "no difference" it ever reaches 1 / alpha with probability alpha at most (Ville). It is
the t-test's likelihood ratio with the difference, in units of its noise, mixed over a normal and the noise over the
right Haar prior (Lai, Annals of Statistics 1976; Wang and Ramdas, "Anytime-valid t-tests and confidence sequences for
Gaussian means with unknown variance", 2023). Scores of the sweep that chose the candidate are none of the differences.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy import stats

from evidence.comparisons import ALPHA
from evidence.scores import Array

EFFECT_VARIANCE = 4.0
"""Of the mixing normal: it looks for a difference of twice its own seed noise, some 0.013 in overall score."""


class Outcome(StrEnum):
    """What the seeds so far say."""

    BETTER = "better"
    WORSE = "worse"
    UNDECIDED = "undecided"
    """More seeds may tell, or the two are equal: no number of seeds shows that."""


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """After some seeds; differences of overall scores, candidate less baseline."""

    seeds: int
    mean: float
    e_value: float
    """Evidence against "no difference between seeds' means"; 20 is that of alpha = 0.05."""
    interval: tuple[float, float]
    """Of a confidence sequence: with 95 % probability all looks' intervals hold the difference. Infinite at first."""
    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class KnownNoise:
    """What earlier trials tell of the seeds' noise, which is taken for the same."""

    variance: float
    """Of one config's overall score between seeds, `Configs.seed_variance`; a difference has twice that."""
    degrees: int


def confirm(
    differences_S: Array,
    *,
    alpha: float = ALPHA,
    known: KnownNoise | None = None,
    example_error: float = 0.0,
    example_alpha: float | None = None,
    effect_variance: float = EFFECT_VARIANCE,
) -> Confirmation:
    """Return what the paired differences of S seeds say, candidate less baseline with the same seed.

    Without `known`, fewer than four seeds decide nothing, however far apart. `example_error` is the standard error that
    the examples give the mean difference (the seeds share them, so it does not fall with more): 0 asks about these very
    examples. The seeds' part may miss with probability `alpha`, the examples' part with `example_alpha`; without the
    latter each has half of alpha. For K candidates at once pass alpha / K, and for the examples a share of all that the
    candidates were chosen from.
    """
    if differences_S.ndim != 1 or not len(differences_S) or not np.isfinite(differences_S).all():
        raise ValueError(f"differences {differences_S.tolist()}; expected at least one, all of them numbers")
    if not (0 < alpha < 1 and example_error >= 0 and effect_variance > 0):
        raise ValueError(f"alpha {alpha}, example_error {example_error}, effect_variance {effect_variance}")
    seeds, mean = len(differences_S), float(differences_S.mean())
    squares = float(np.sum((differences_S - mean) ** 2))
    degrees = seeds - 1
    if known is not None:
        squares, degrees = squares + 2 * known.variance * known.degrees, degrees + known.degrees
    shared = example_error > 0 and example_alpha is None
    by_seeds = _half_width(seeds, squares, degrees, alpha / 2 if shared else alpha, effect_variance)
    for_examples = alpha / 2 if example_alpha is None else example_alpha
    half = by_seeds + (stats.norm.ppf(1 - for_examples / 2) * example_error if example_error else 0.0)
    outcome = Outcome.UNDECIDED
    if abs(mean) > half:
        outcome = Outcome.BETTER if mean > 0 else Outcome.WORSE
    return Confirmation(
        seeds=seeds,
        mean=mean,
        e_value=float(np.exp(log_e_value(seeds, mean, squares, degrees, effect_variance))),
        interval=(mean - half, mean + half),
        outcome=outcome,
    )


def log_e_value(
    seeds: Array | int, mean: Array | float, squares: Array | float, degrees: Array | int, effect_variance: float
) -> Array:
    """Return the log of the mixture likelihood ratio for a mean difference of 0, elementwise.

    With g the mixing variance, n seeds, f degrees of freedom and r = n mean^2 / squares (t^2 / f):
    (1 + n g)^(-1/2) ((1 + r) / (1 + r / (1 + n g)))^((f + 1) / 2); f = n - 1 unless the noise was seen before.
    """
    more = 1 + np.asarray(seeds) * effect_variance
    signal = np.asarray(seeds) * np.square(mean)
    with_signal = np.asarray(squares + signal, dtype=np.float64)
    # No noise and no difference: nothing was learnt of either, as if r were 0.
    ratio = np.divide(squares + signal / more, with_signal, out=np.ones_like(with_signal), where=with_signal > 0)
    return np.asarray(-np.log(more) / 2 - (np.asarray(degrees) + 1) / 2 * np.log(ratio))


def fewest_seeds(known_degrees: int, others: int, alpha: float, most: int) -> int | None:
    """Return how many seeds it takes before any difference, however large, can be decided; None beyond `most`.

    `known_degrees` are those of noise known beforehand, `others` the configs whose seeds tell more of it.
    """
    for seeds in range(1, most + 1):
        degrees = seeds - 1 + known_degrees + others * (seeds - 1)
        if np.isfinite(_half_width(seeds, 1.0, degrees, alpha, EFFECT_VARIANCE)):
            return seeds
    return None


def _half_width(seeds: int, squares: float, degrees: int, alpha: float, effect_variance: float) -> float:
    """Return the distance from the mean beyond which the e-value of a true difference reaches 1 / alpha."""
    more = 1 + seeds * effect_variance
    bound = (more**0.5 / alpha) ** (2 / (degrees + 1))  # on (1 + r) / (1 + r / more), which stays below `more`
    if degrees == 0 or bound >= more:
        return float("inf")
    return float(np.sqrt((bound - 1) / (1 - bound / more) * squares / seeds))

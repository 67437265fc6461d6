"""Fresh seeds for a candidate and the baseline, one after another, and a look after each.

Looking after every seed and stopping when it pleases would spoil a t-test. Here the evidence is an e-value, which stays
valid whenever one stops: under "no difference" it ever reaches 1 / alpha with probability alpha at most (Ville). It is
the t-test's likelihood ratio with the difference, in units of its noise, mixed over a normal and the noise over the
right Haar prior (Lai, Annals of Statistics 1976; Wang and Ramdas, "Anytime-valid t-tests and confidence sequences for
Gaussian means with unknown variance", 2023). Scores of the sweep that chose the candidate are none of the differences.

What the examples give a difference is in every seed's alike and does not fall with more of them. With both errors known
the likelihood ratio of the differences so far is that of their mean alone, whose variance is the seeds' over their
number plus the examples': the e-value of one normal number, valid at every look. Here the seeds' part is estimated and
the examples' known, so the ratio is a t's with more degrees of freedom than the seeds have (Satterthwaite, Biometrics
Bulletin 1946); `_degrees` says how many more, and docs/honesty.md what came of it in simulation.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy import special

from evidence.comparisons import ALPHA
from evidence.scores import Array

EFFECT_VARIANCE = 4.0
"""Of the mixing normal: it looks for a difference of twice the noise of one seed's, some 0.013 in overall score."""
CAUTION = 6.0
"""Times alpha: how often the seeds' variance may be larger than the degrees of freedom take it for."""
MOST_CAUTION = 0.1
MOST_DEGREES = 1e6
"""As good as known."""
MOST_LOG = 700.0
"""Of an e-value, which stays a number."""


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
    """Evidence against "no difference"; decided at 1 / alpha: 20 at 0.05, and M times that for one of M."""
    interval: tuple[float, float]
    """Of a confidence sequence: all looks' hold the difference with probability 1 - alpha. Infinite at first."""
    outcome: Outcome

    @property
    def settled(self) -> bool:
        """Return whether nothing more is to be learnt."""
        return self.outcome is not Outcome.UNDECIDED


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
    resolution: float = 0.0,
    effect_variance: float = EFFECT_VARIANCE,
) -> Confirmation:
    """Return what the paired differences of S seeds say, candidate less baseline with the same seed.

    `example_error` is the standard error that the examples give the mean difference (the seeds share them): 0 asks
    about these very examples, and then fewer than four seeds decide nothing without `known`, however far apart. A
    single seed never does without it. Seeds are taken for no more alike than scores of this `resolution` can tell. For
    M candidates at once, or one chosen from M, pass alpha / M.
    """
    if differences_S.ndim != 1 or not len(differences_S) or not np.isfinite(differences_S).all():
        raise ValueError(f"differences {differences_S.tolist()}; expected at least one, all of them numbers")
    if not (0 < alpha < 1 and example_error >= 0 and effect_variance > 0):
        raise ValueError(f"alpha {alpha}, example_error {example_error}, effect_variance {effect_variance}")
    seeds, mean = len(differences_S), float(differences_S.mean())
    squares, degrees = float(np.sum((differences_S - mean) ** 2)), seeds - 1
    if known is not None:
        squares, degrees = squares + 2 * known.variance * known.degrees, degrees + known.degrees
    variance = max(squares / degrees, resolution**2) if degrees else 0.0
    error = _error(seeds, variance, degrees, example_error, alpha, effect_variance)
    return _said(seeds, mean, error, alpha)


def confirm_unpaired(
    new_S: Array,
    old_S: Array,
    *,
    alpha: float = ALPHA,
    example_error: float = 0.0,
    effect_variance: float = EFFECT_VARIANCE,
) -> Confirmation:
    """Return what one config's scores say beside another's, each on seeds of its own and the examples the same.

    Both may have been stopped when it pleased. The variance of the seeds is pooled; of one seed each nothing is known.
    """
    if not (len(new_S) and len(old_S) and np.isfinite([*new_S, *old_S]).all()):
        raise ValueError(
            f"scores {new_S.tolist()} and {old_S.tolist()}; expected at least one each, all of them numbers"
        )
    degrees, pairs = len(new_S) + len(old_S) - 2, 2 / (1 / len(new_S) + 1 / len(old_S))
    squares = float(np.sum((new_S - new_S.mean()) ** 2) + np.sum((old_S - old_S.mean()) ** 2))
    variance = 2 * squares / degrees if degrees else 0.0
    error = _error(pairs, variance, degrees, example_error, alpha, effect_variance)
    return _said(len(new_S), float(new_S.mean() - old_S.mean()), error, alpha)


def log_e_value(mean: Array | float, variance: Array | float, more: Array | float, degrees: Array | float) -> Array:
    """Return the log of the mixture likelihood ratio for a mean difference of 0, elementwise.

    With v the estimated variance of the mean, m times as large where there is a difference, f degrees of freedom and
    r = mean^2 / (f v) (t^2 / f): m^(-1/2) ((1 + r) / (1 + r / m))^((f + 1) / 2). Of n seeds and no examples' error
    m is 1 + n `effect_variance`, and f is n - 1 unless the noise was seen before.
    """
    squares, signal = np.asarray(degrees) * np.asarray(variance), np.square(mean)
    with_signal = np.asarray(squares + signal, dtype=np.float64)
    # No noise and no difference: nothing was learnt of either, as if r were 0.
    ratio = np.divide(squares + signal / more, with_signal, out=np.ones_like(with_signal), where=with_signal > 0)
    return np.asarray(-np.log(more) / 2 - (np.asarray(degrees) + 1) / 2 * np.log(ratio))


def settles(
    seeds: int,
    known: KnownNoise,
    others: int,
    *,
    alpha: float = ALPHA,
    example_error: float = 0.0,
    effect_variance: float = EFFECT_VARIANCE,
) -> float:
    """Return beyond which mean difference so many seeds decide, if their noise is as known; infinite where none is.

    `others` are further configs on the same seeds, which tell more of the noise.
    """
    degrees = known.degrees + (others + 1) * (seeds - 1)
    return _half_width(_error(seeds, 2 * known.variance, degrees, example_error, alpha, effect_variance), alpha)


@dataclass(frozen=True)
class _Error:
    """Of a mean difference over some seeds."""

    variance: float
    more: float
    """How many times as large the variance of the mean is where there is a difference to be found."""
    degrees: float


def _error(
    seeds: float, seed_variance: float, degrees: int, example_error: float, alpha: float, effect_variance: float
) -> _Error:
    """Return the error that seeds and examples make together; `seed_variance` is that of one seed's difference."""
    examples = example_error**2
    variance = seed_variance / seeds + examples
    more = 1 + effect_variance * (seed_variance + examples) / variance if variance else 1 + effect_variance * seeds
    return _Error(variance, more, _degrees(degrees, seed_variance / seeds, examples, alpha))


def _degrees(degrees: int, seeds: float, examples: float, alpha: float) -> float:
    """Return the degrees of freedom of a variance of which `seeds` is estimated with `degrees` and `examples` known.

    Satterthwaite's, but with the seeds' part as large as it may well be: where by chance few seeds hardly differ, the
    estimate itself would say that next to all is known, and the smaller alpha is, the more of what it leaves of errors
    are such cases (benchmarks/looks.py).
    """
    if not degrees or not examples:
        return degrees
    upper = upper_bound(seeds, degrees, min(CAUTION * alpha, MOST_CAUTION))
    if upper * MOST_DEGREES <= examples:
        return MOST_DEGREES
    return float(min(degrees * (1 + examples / upper) ** 2, MOST_DEGREES))


def upper_bound(variance: float, degrees: int, caution: float) -> float:
    """Return what a variance estimated with so many degrees of freedom is below, but for a chance of `caution`."""
    return float(variance * degrees / special.chdtri(degrees, 1 - caution))


def _said(seeds: int, mean: float, error: _Error, alpha: float) -> Confirmation:
    half, evidence = _half_width(error, alpha), log_e_value(mean, error.variance, error.more, error.degrees)
    outcome = Outcome.UNDECIDED
    if abs(mean) > half:
        outcome = Outcome.BETTER if mean > 0 else Outcome.WORSE
    return Confirmation(
        seeds=seeds,
        mean=mean,
        e_value=float(np.exp(min(float(evidence), MOST_LOG))),
        interval=(mean - half, mean + half),
        outcome=outcome,
    )


def _half_width(error: _Error, alpha: float) -> float:
    """Return the distance from the mean beyond which the e-value of a true difference reaches 1 / alpha."""
    bound = 2 / (error.degrees + 1) * np.log(error.more**0.5 / alpha)  # log of (1 + r) / (1 + r / more), below `more`
    if error.degrees == 0 or bound >= np.log(error.more):
        return float("inf")
    return float(np.sqrt(np.expm1(bound) / (1 - np.exp(bound) / error.more) * error.degrees * error.variance))

"""One sweep with known truth, judged: which claims were made, which intervals held, how far estimates were off."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from benchmarks.synthetic import Synthetic, synthetic
from evidence.comparisons import Comparison, Standing, compare, own_intervals
from evidence.crossfit import cross_fitted
from evidence.expected import expected
from evidence.scores import Answers, Array, Scores, scores
from evidence.seeds import Configs, configs

SEEDS = 3
EPOCHS = 3
DRAWS = 4000
PLANTED = (0.005, 0.01, 0.02)
"""Gains of configs 1, 2 and 3 over the baseline where some are planted; all others equal it."""
Record = dict[str, float]
"""What one sweep showed: 1 or 0 for a claim or a hit, a share, or an error in overall score."""


@dataclass(frozen=True)
class Scenario:
    """What is true of a sweep's configs."""

    planted: tuple[float, ...] = ()
    spread: float = 0.0
    """Standard deviation of all true scores."""
    uneven: float = 0.0
    """Log standard deviation of the configs' own seed noise."""

    def gains(self, size: int, rng: np.random.Generator) -> Array:
        """Return each config's gain over the base."""
        gains = self.spread * rng.standard_normal(size)
        gains[1 : 1 + len(self.planted)] += self.planted
        return gains


SCENARIOS: Mapping[str, Scenario] = {
    "null": Scenario(),
    "planted": Scenario(planted=PLANTED),
    "spread": Scenario(spread=0.005),
    "uneven": Scenario(uneven=0.5),
}


def judge(name: str, size: int, number: int) -> Record:
    """Return the record of one sweep; equal arguments give an equal one."""
    rng = np.random.default_rng((list(SCENARIOS).index(name), size, number))
    gains_C = SCENARIOS[name].gains(size, rng)
    sweep = synthetic(gains_C, SEEDS, EPOCHS, rng, uneven=SCENARIOS[name].uneven)
    trials = scores(sweep.answers)
    keys = np.repeat(np.arange(size), SEEDS).tolist()
    first = np.arange(0, size * SEEDS, SEEDS)
    single = trials.part(first.tolist())
    return {
        **_repeated(configs(trials, keys), sweep, gains_C),
        **_single(configs(single, range(size)), sweep, gains_C),
        **_estimates(single, [_only(entry, first) for entry in sweep.answers], sweep),
    }


def _repeated(found: Configs, sweep: Synthetic, gains_C: Array) -> Record:
    true_C = gains_C - gains_C[0]
    rows = compare(found, 0, draws=DRAWS)
    own, kept_C = _own(found), sweep.config_C + better_epoch()
    best = int(found.overall_T.argmax())
    guess = expected(found.overall_T, found.noise_TT, 0)
    beaten = true_C[1:] > 0
    return {
        **_claims("3 seeds: ", rows, true_C, Standing.BETTER, Standing.WORSE),
        "3 seeds: interval holds": _held(_others(rows), true_C[1:]).mean(),
        "3 seeds: all joint intervals hold": float(_held([r.joint_interval for r in rows[1:]], true_C[1:]).all()),
        "3 seeds: a row's own interval holds what is kept": _held(own, kept_C).mean(),
        "3 seeds: a row's own interval holds it or lies below": float(np.mean([low for low, _ in own] <= kept_C)),
        "3 seeds: the best row's own interval holds what is kept": _held(own, kept_C)[best],
        "3 seeds: a row's own interval holds any one epoch": _held(own, sweep.config_C).mean(),
        "3 seeds, the best epoch's lift: true": (sweep.truth_CS - sweep.any_epoch_CS).mean(),
        "3 seeds, the best epoch's lift: luck": found.overall_T.mean() - sweep.truth_CS.mean(),
        "3 seeds, best less baseline: raw": found.overall_T[best] - found.overall_T[0] - true_C[best],
        "3 seeds, best less baseline: expected": guess.overall_T[best] - guess.overall_T[0] - true_C[best],
        "P(beats) of the best": guess.beats_baseline_T[best] if best else np.nan,
        "the best beats": float(true_C[best] > 0) if best else np.nan,
        "P(beats), mean": guess.beats_baseline_T[1:].mean(),
        "beats, share": beaten.mean(),
        "P(beats), Brier": ((guess.beats_baseline_T[1:] - beaten) ** 2).mean(),
    }


def _single(found: Configs, sweep: Synthetic, gains_C: Array) -> Record:
    true_C = gains_C - gains_C[0]
    model_C = sweep.truth_CS[:, 0] - sweep.truth_CS[0, 0]
    rows = compare(found, 0, draws=DRAWS)
    better = np.array([row.standing is Standing.TENTATIVELY_BETTER for row in rows])
    alone = np.array([row.p < 1 and row.difference > 1.96 * row.standard_error for row in rows])
    return {
        **_claims("1 seed: ", rows, true_C, Standing.TENTATIVELY_BETTER, Standing.TENTATIVELY_WORSE),
        "1 seed: false better, of the very model": float((better & (model_C <= 0)).any()),
        "1 seed: interval holds the config's": _held(_others(rows), true_C[1:]).mean(),
        "1 seed: a row's own interval holds the config's": _held(_own(found), sweep.config_C + better_epoch()).mean(),
        "1 seed: a row's own interval holds the model's": _held(_own(found), sweep.truth_CS[:, 0]).mean(),
        "1 seed: interval holds the model's": _held(_others(rows), model_C[1:]).mean(),
        "naive: a config without gain above the baseline": float(
            ((found.overall_T > found.overall_T[0]) & ~(true_C > 0)).any()
        ),
        "naive: one of them beyond 1.96 standard errors": float((alone & ~(true_C > 0)).any()),
    }


def _claims(prefix: str, rows: tuple[Comparison, ...], true_C: Array, better: Standing, worse: Standing) -> Record:
    claims = np.array([(row.standing is better) - (row.standing is worse) for row in rows])
    return {
        f"{prefix}false better": float(((claims > 0) & ~(true_C > 0)).any()),
        f"{prefix}any false claim": float(((claims != 0) & (claims != np.sign(true_C))).any()),
        **{f"{prefix}finds {gain}": float(claims[c] > 0) for c, gain in enumerate(true_C) if gain in PLANTED},
    }


@cache
def better_epoch() -> float:
    """Return how much better the epoch that is kept truly is than any one: the choice is by more than luck."""
    rng = np.random.default_rng(0)
    sweeps = (synthetic(np.zeros(7), SEEDS, EPOCHS, rng) for _ in range(200))
    return float(np.mean([sweep.truth_CS - sweep.any_epoch_CS for sweep in sweeps]))


def _own(found: Configs) -> list[tuple[float, float]]:
    """Return the rows' own intervals."""
    return [(float(low), float(high)) for low, high in zip(*own_intervals(found), strict=True)]


def _others(rows: tuple[Comparison, ...]) -> list[tuple[float, float]]:
    """Return the intervals of all but the baseline, which is the first."""
    return [row.interval for row in rows[1:]]


def _held(intervals: list[tuple[float, float]], true_C: Array) -> Array:
    bounds_C2 = np.array(intervals)
    return ((bounds_C2[:, 0] <= true_C) & (true_C <= bounds_C2[:, 1])).astype(np.float64)


def _estimates(single: Scores, answers: list[Answers], sweep: Synthetic) -> Record:
    """Return errors of estimates of the true score of the model with the best dev score, one seed a config."""
    raw, noise = single.overall_T, single.covariance_TT
    truth = sweep.truth_CS[:, 0]
    best = int(raw.argmax())
    return {
        "1 seed, any trial: raw": float((raw - truth).mean()),
        "1 seed, best: raw": raw[best] - truth[best],
        "1 seed, best: cross-fitted": cross_fitted(answers, splits=10) - truth[best],
        "1 seed, best: ratio": _by_ratio(raw, noise)[best] - truth[best],
        "1 seed, best: likeliest spread": _by_likelihood(raw, noise)[best] - truth[best],
        "1 seed, best: expected": expected(raw, noise, 0).overall_T[best] - truth[best],
    }


def _by_ratio(x: Array, noise: Array) -> Array:
    """Shrink by the ratio of real to total variance, all trials alike (Efron and Morris 1973)."""
    own = (np.trace(noise) - noise.mean() * len(x)) / (len(x) - 1)
    return np.asarray(x.mean() + max(0.0, 1 - own / max(x.var(ddof=1), 1e-30)) * (x - x.mean()))


def _by_likelihood(x: Array, noise: Array) -> Array:
    """Shrink by the whole covariance, at the spread of the largest restricted likelihood."""
    values, vectors = np.linalg.eigh(noise)
    y, ones = x @ vectors, vectors.sum(axis=0)
    best, found = -np.inf, x
    for spread in (0.0, *np.geomspace(1e-4, 0.1, 40)):
        weight = 1 / (spread**2 + np.maximum(values, 1e-12))
        mean = np.sum(weight * ones * y) / np.sum(weight * ones**2)
        rest = y - mean * ones
        log = np.log(weight).sum() - np.log(np.sum(weight * ones**2)) - np.sum(weight * rest**2)
        if log > best:
            best, found = log, x - vectors @ (np.maximum(values, 1e-12) * weight * rest)
    return found


def _only(entry: Answers, columns: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Answers:
    return Answers(task=entry.task, labels_N=entry.labels_N, predictions_NT=entry.predictions_NT[:, columns])

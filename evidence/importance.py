"""How much each varied parameter moves the score, beside what noise alone would seem to make of it.

The effect of a parameter is the standard deviation of the configs' scores that its levels explain: each config's score
replaced by the mean of its level, less what that is on average for noise alone (the adjustment of a random effect's
variance; Searle, Casella and McCulloch, Variance Components, 1992). The floor is the same statistic on scores that are
nothing but noise.

In a list that is not crossed, the effects of two parameters cannot be told apart: where every config with the better
rate has more dropout too, both explain the same differences, and each is given all of them. So a second p-value is of
what a parameter explains beyond all others (the partial sum of squares of an additive model), and one that explains
nothing beyond them is said to be not told apart, however large its effect.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from numbers import Real
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from evidence.comparisons import ALPHA
from evidence.draws import normal_draws_BT
from evidence.scores import Array
from evidence.seeds import Configs

DRAWS = 4000
"""A p-value of 0.05 is drawn to within 0.0035 (standard error)."""
MOST_LEVELS = 6
"""Numbers with more distinct values are put into bins."""
BINS = 4
"""Of equal counts of configs, but for ties."""


class Finding(StrEnum):
    """What is to be said of a parameter, all parameters of the sweep corrected for together."""

    MATTERS = "matters"
    """Its levels differ beyond noise, and beyond what all other parameters explain."""
    NOT_APART = "not told apart"
    """Its levels differ beyond noise, and other parameters that vary along with it may be the reason."""
    NOISE = "within noise"
    """Noise alone would explain as much; a smaller effect may be there."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """One parameter of a sweep; effects in overall score."""

    parameter: str
    levels: int
    """Distinct values, or bins of them."""
    effect: float
    """Standard deviation between configs that its levels explain, noise taken out; 0 where noise explains more."""
    floor: float
    """95th percentile of the effect in noise alone."""
    p: float
    """Probability that noise alone has an effect as large; of this parameter taken alone."""
    p_apart: float | None
    """The same of what it explains beyond all other parameters; None where nothing is left."""
    finding: Finding
    seed_noise_unknown: bool
    """No config was repeated with another seed: the noise is that of the examples alone, and the floor too low."""


def importances(
    levels: Mapping[str, Sequence[object]], found: Configs, *, alpha: float = ALPHA, draws: int = DRAWS, seed: int = 0
) -> tuple[Importance, ...]:
    """Return how much each parameter moves the scores of T configs, the largest effect first.

    `levels` has a value a config for each parameter, in the order of `found.keys`; what is no number (None, "all", a
    list) is a level of its own. A parameter with one level has no effect to speak of, and no entry. The same input
    gives the same output, in whatever order configs and parameters come.
    """
    size = len(found.keys)
    wrong = {name: len(values) for name, values in levels.items() if len(values) != size}
    if wrong:
        raise ValueError(f"values of {wrong} configs for {size} scores; expected one a config")
    if not (np.isfinite(found.overall_T).all() and np.isfinite(found.noise_TT).all()):
        raise ValueError("scores or noise that are no numbers")
    codes = {name: _codes(name, levels[name]) for name in sorted(levels)}
    codes = {name: code_T for name, code_T in codes.items() if code_T.max(initial=0) > 0}
    if not codes:
        return ()
    # As two models that differ on a handful of examples have hardly any variance (evidence/comparisons.py).
    examples_TT = found.examples_TT + np.eye(size) * found.resolution**2 / 2
    seeds_T = (found.seed_variance or 0.0) / found.seeds_T
    by = [*codes.values(), np.round(np.diag(examples_TT), 12), np.round(found.overall_T, 12)]
    order = np.lexsort(np.array(by))  # by the last first
    null_BT = _noise_BT(examples_TT[np.ix_(order, order)], seeds_T[order], found.degrees, draws, seed)
    noise_TT = (examples_TT + np.diag(seeds_T))[np.ix_(order, order)]
    scores_T = found.overall_T[order] - found.overall_T.mean()
    members = {name: _members(code_T[order]) for name, code_T in codes.items()}

    results: list[tuple[str, float, float, float, float | None]] = []
    for name, own_TL in members.items():
        others = [member for other, member in members.items() if other != name]
        basis_TK = _beyond(own_TL, [np.ones((size, 1))])
        rest_TK = _beyond(own_TL, [np.ones((size, 1)), *others])
        chance = float(np.einsum("tk,ts,sk->", basis_TK, noise_TT, basis_TK))
        explained, null_B = _squares(scores_T, basis_TK), _squares(null_BT, basis_TK)
        results.append(
            (
                name,
                math.sqrt(max(float(explained) - chance, 0.0) / size),
                math.sqrt(max(float(np.quantile(null_B, 1 - alpha)) - chance, 0.0) / size),
                _p(explained, null_B),
                _p(_squares(scores_T, rest_TK), _squares(null_BT, rest_TK)) if rest_TK.shape[1] else None,
            )
        )
    beyond_noise = _holm([p for *_, p, _ in results])
    apart = _holm([1.0 if p is None else p for *_, p in results])
    entries = [
        Importance(
            parameter=name,
            levels=members[name].shape[1],
            effect=effect,
            floor=floor,
            p=p,
            p_apart=p_apart,
            finding=_finding(noise, others, alpha),
            seed_noise_unknown=found.seed_variance is None,
        )
        for (name, effect, floor, p, p_apart), noise, others in zip(results, beyond_noise, apart, strict=True)
    ]
    return tuple(sorted(entries, key=lambda entry: (-entry.effect, entry.parameter)))


def _codes(name: str, values: Sequence[object]) -> NDArray[np.int64]:
    """Return the level of each config, numbered by the levels' own order."""
    numbers = np.array([float(value) if _is_number(value) else math.nan for value in values])
    is_number = np.array([_is_number(v) for v in values], dtype=bool)
    if not np.isfinite(numbers[is_number]).all():
        bad = next(value for value in values if _is_number(value) and not math.isfinite(value))
        raise ValueError(f"{name} has the value {bad}; expected finite numbers, or what is no number")
    if len(np.unique(numbers[is_number])) > MOST_LEVELS:
        edges = np.unique(np.quantile(numbers[is_number], np.arange(1, BINS) / BINS))
        bins = np.searchsorted(edges, numbers, side="left")
        if len(np.unique(bins[is_number])) > 1:  # else nearly all configs share one value, and it is a level
            numbers = bins.astype(np.float64)
    texts = [(0, n, "") if known else (1, 0.0, repr(v)) for v, n, known in zip(values, numbers, is_number, strict=True)]
    place = {text: index for index, text in enumerate(sorted(set(texts)))}
    return np.array([place[text] for text in texts], dtype=np.int64)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, Real) and not isinstance(value, bool)


def _members(codes_T: NDArray[np.int64]) -> Array:
    """Return which config has which level, [T, L], of zeros and ones."""
    return np.asarray(codes_T[:, None] == np.unique(codes_T), dtype=np.float64)


def _beyond(own_TL: Array, others: Sequence[Array]) -> Array:
    """Return an orthonormal basis of what the columns of the one explain and those of the others do not."""
    other_TK = _basis(np.column_stack(others))
    return _basis(own_TL - other_TK @ (other_TK.T @ own_TL))


def _basis(columns: Array) -> Array:
    left, values, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, values > 1e-9 * max(1.0, len(columns) ** 0.5)])


def _squares(values: Array, basis_TK: Array) -> Array:
    return np.asarray(np.square(values @ basis_TK).sum(axis=-1))


def _noise_BT(examples_TT: Array, seeds_T: Array, degrees: int, draws: int, seed: int) -> Array:
    """Return draws of scores without any effect; an estimated seed variance is drawn too, as a t statistic's is."""
    rng = np.random.default_rng(seed)
    drawn_BT = normal_draws_BT(examples_TT, draws, rng)
    if seeds_T.any():
        variance_B1 = degrees / rng.chisquare(degrees, (draws, 1))
        drawn_BT += rng.standard_normal(drawn_BT.shape) * np.sqrt(seeds_T * variance_B1)
    return drawn_BT


def _p(observed: Array, null_B: Array) -> float:
    return float((1 + np.sum(null_B >= observed)) / (1 + len(null_B)))


def _holm(p: Sequence[float]) -> Array:
    """Return p-values adjusted for each other (Holm, Scandinavian Journal of Statistics 1979)."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(np.minimum(np.array(p)[order] * np.arange(len(p), 0, -1), 1.0))
    return adjusted


def _finding(noise: float, others: float | None, alpha: float) -> Finding:
    if noise > alpha:
        return Finding.NOISE
    return Finding.MATTERS if others is not None and others <= alpha else Finding.NOT_APART

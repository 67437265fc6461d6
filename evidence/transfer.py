"""Does a cheap sweep's ranking hold for the full one: rank correlation, and what choosing by the cheap one costs."""

from dataclasses import dataclass

import numpy as np

from evidence.draws import normal_draws_BT
from evidence.expected import true_scores_BT
from evidence.scores import Array

DRAWS = 2000


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """A cheap sweep's ranking against the full one's, of the same configs."""

    tau: float
    """Kendall's: pairs in the same order less pairs in the other, over all pairs; a tie counts as neither (tau-a)."""
    tau_interval: tuple[float, float]
    """95 % over configs drawn like these: bootstrap over configs. Wide for few."""
    tau_of_repeats: float
    """What two sweeps of equal true ranking would reach on average, for noise alone: the most to be hoped for."""
    regret: float
    """Expected true score of the full sweep's best config less that of the cheap sweep's choice, trained fully."""
    regret_interval: tuple[float, float]
    """95 % of what the true regret may be."""


def transfer(
    cheap_T: Array, full_T: Array, cheap_noise_TT: Array, full_noise_TT: Array, *, draws: int = DRAWS, seed: int = 0
) -> Transfer:
    """Return how a ranking transfers; scores [T] of the same configs in the same order, noise as `Configs.noise_TT`."""
    size = len(cheap_T)
    if cheap_T.shape != full_T.shape or cheap_T.ndim != 1 or size < 2:
        raise ValueError(
            f"cheap scores {cheap_T.shape}, full scores {full_T.shape}; expected the same two configs or more"
        )
    rng = np.random.default_rng(seed)
    agree_TT = np.sign(cheap_T[:, None] - cheap_T) * np.sign(full_T[:, None] - full_T)
    truth_BT = true_scores_BT(full_T, full_noise_TT, draws, rng)
    again = [truth_BT + normal_draws_BT(noise, draws, rng) for noise in (cheap_noise_TT, full_noise_TT)]
    lost_B = truth_BT.max(axis=1) - truth_BT[:, int(cheap_T.argmax())]
    low, high = np.quantile(lost_B, [0.025, 0.975])
    return Transfer(
        tau=float(agree_TT.sum() / (size * (size - 1))),
        tau_interval=_interval(agree_TT, draws, rng),
        tau_of_repeats=float(np.mean([_tau(x, y) for x, y in zip(*again, strict=True)])),
        regret=float(lost_B.mean()),
        regret_interval=(float(low), float(high)),
    )


def _interval(agree_TT: Array, draws: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return percentiles of tau over configs drawn with replacement; two copies of one config are no pair."""
    size = len(agree_TT)
    times_BT = rng.multinomial(size, np.full(size, 1 / size), size=draws).astype(np.float64)
    pairs_B = times_BT.sum(axis=1) ** 2 - (times_BT**2).sum(axis=1)
    total_B = np.einsum("bt,bt->b", times_BT @ agree_TT, times_BT)
    low, high = np.quantile((total_B / np.where(pairs_B > 0, pairs_B, 1.0))[pairs_B > 0], [0.025, 0.975])
    return float(low), float(high)


def _tau(x_T: Array, y_T: Array) -> float:
    agree = np.sign(x_T[:, None] - x_T) * np.sign(y_T[:, None] - y_T)
    return float(agree.sum() / (len(x_T) * (len(x_T) - 1)))

"""Which examples make which step of an epoch."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from model.config import TrialConfig

Indices = NDArray[np.int64]


def epoch_batches(sizes: Mapping[str, int], config: TrialConfig, epoch: int) -> list[tuple[str, Indices]]:
    """Return the task and the examples of each step of an epoch (1, 2, ...).

    A pure function of its arguments: an epoch that is begun again after a crash is the same epoch.
    """
    rng = np.random.default_rng([config.seed, epoch])
    steps = {name: -(-size // config.batch_size) for name, size in sizes.items()}
    quotas = steps if config.sampling == "proportional" else _quotas(sizes, config, epoch, sum(steps.values()))
    batches = [
        (name, examples)
        for name, size in sizes.items()
        for examples in _deal(size, quotas[name], config.batch_size, rng)
    ]
    return [batches[i] for i in rng.permutation(len(batches))]


def _deal(size: int, quota: int, batch_size: int, rng: np.random.Generator) -> Iterator[Indices]:
    """Yield `quota` batches of a shuffled data set, shuffled anew whenever it runs out."""
    dealt = 0
    while dealt < quota:
        order = rng.permutation(size)
        for start in range(0, size, batch_size):
            if dealt == quota:
                return
            yield order[start : start + batch_size]
            dealt += 1


def _quotas(sizes: Mapping[str, int], config: TrialConfig, epoch: int, total: int) -> dict[str, int]:
    """Share the epoch's steps out by size ** exponent, rounded by largest remainder."""
    past = (epoch - 1) / max(1, config.epochs - 1)
    exponent = 0.0 if config.sampling == "uniform" else 1 - 0.8 * past
    weights = np.array([size**exponent for size in sizes.values()])
    exact = total * weights / weights.sum()
    counts = np.floor(exact).astype(int)
    for i in np.argsort(counts - exact, kind="stable")[: total - counts.sum()]:
        counts[i] += 1
    return {name: int(count) for name, count in zip(sizes, counts, strict=True)}

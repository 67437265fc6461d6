"""Several candidates and the baseline on the same fresh seeds: what each comparison says so far, and who beats whom."""

from collections.abc import Hashable, Iterable, Mapping, Sequence

import numpy as np

from evidence.comparisons import ALPHA
from evidence.confirm import Confirmation, KnownNoise, confirm
from evidence.scores import Array, Scores
from evidence.seeds import configs


def confirmations(
    trials: Scores,
    keys: Sequence[Hashable],
    seeds: Sequence[int],
    baseline: Hashable,
    *,
    searched: int,
    known: KnownNoise | None = None,
    alpha: float = ALPHA,
) -> dict[Hashable, Confirmation]:
    """Return what is known of each candidate that shares a seed with the baseline.

    `keys` and `seeds` say of each trial which config it is and on which seed. A candidate is paired with the baseline
    by seed. What is known of the seeds' noise is that of earlier trials, `known`, and that of the other candidates'
    fresh seeds, which are none of this pair's. Alpha is shared out among all `searched` configs and not among the few
    candidates: they were chosen from so many by these very examples, and what luck they had there comes back with every
    fresh seed.
    """
    if not len(keys) == len(seeds) == len(trials.overall_T):
        raise ValueError(f"{len(trials.overall_T)} trials, {len(keys)} keys and {len(seeds)} seeds; expected as many")
    place = {(key, seed): index for index, (key, seed) in enumerate(zip(keys, seeds, strict=True))}
    of_config = {key: [s for k, s in place if k == key] for key in dict.fromkeys(keys)}
    found = {}
    for key, own in of_config.items():
        if key == baseline:
            continue
        shared = [seed for seed in own if (baseline, seed) in place]
        if not shared:
            continue
        pairs_S2 = np.array([[place[key, seed], place[baseline, seed]] for seed in shared])
        others = [
            trials.overall_T[[place[other, s] for s in its]]
            for other, its in of_config.items()
            if other not in (key, baseline)
        ]
        found[key] = confirm(
            trials.overall_T[pairs_S2[:, 0]] - trials.overall_T[pairs_S2[:, 1]],
            alpha=share(searched, alpha),
            known=pooled(known, others),
            example_error=example_error(trials, pairs_S2[:, 0], pairs_S2[:, 1]),
            resolution=trials.resolution,
        )
    return found


def in_rounds(
    trials: Scores,
    keys: Sequence[Hashable],
    seeds: Sequence[int],
    baseline: Hashable,
    *,
    searched: int,
    known: KnownNoise | None = None,
) -> dict[Hashable, Confirmation]:
    """Return what `confirmations` says after each round of seeds, the lowest first: who is settled once stays so."""
    found: dict[Hashable, Confirmation] = {}
    for last in sorted(set(seeds)):
        part = [place for place, seed in enumerate(seeds) if seed <= last]
        now = confirmations(
            trials.part(part),
            [keys[place] for place in part],
            [seeds[place] for place in part],
            baseline,
            searched=searched,
            known=known,
        )
        found = settle(found, now)
    return found


def share(searched: int, alpha: float = ALPHA) -> float:
    """Return what of alpha one config has that was chosen from so many."""
    return alpha / searched


def settle(
    found: Mapping[Hashable, Confirmation], now: Mapping[Hashable, Confirmation]
) -> dict[Hashable, Confirmation]:
    """Return what is known after one more round: who was settled stays so, whatever later seeds say."""
    return {**found, **{key: said for key, said in now.items() if key not in found or not found[key].settled}}


def pooled(known: KnownNoise | None, scores: Sequence[Array]) -> KnownNoise | None:
    """Return what is known of the seeds' noise with the scores of further configs on several seeds each."""
    degrees = sum(len(of_config) - 1 for of_config in scores)
    squares = sum(float(np.sum((of_config - of_config.mean()) ** 2)) for of_config in scores)
    if known is not None:
        degrees, squares = degrees + known.degrees, squares + known.variance * known.degrees
    return KnownNoise(variance=squares / degrees, degrees=degrees) if degrees else None


def example_error(trials: Scores, first: Iterable[int], second: Iterable[int]) -> float:
    """Return the standard error that the examples give the difference of two configs' means over their seeds.

    `first` and `second` are the places of their trials. What a seed brings of its own in examples it gets right is not
    in it, where there are several: that is seed noise.
    """
    first, second = list(first), list(second)
    examples_TT = configs(trials.part([*first, *second]), [0] * len(first) + [1] * len(second)).examples_TT
    variance = examples_TT[0, 0] + examples_TT[1, 1] - 2 * examples_TT[0, 1]
    return float(np.sqrt(max(variance, 0.0) + trials.resolution**2))

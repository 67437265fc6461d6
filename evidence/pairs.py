"""What the noise of trials is, pair by pair: which are one and the same, and what noise each has of its own."""

import numpy as np
from numpy.typing import NDArray

from evidence.scores import Array

LEAST = 1e-16
"""Least variance of a trial's own noise, which is divided by: a standard deviation of 1e-8 in overall score."""


def own_noise(noise_TT: Array) -> tuple[Array, float]:
    """Return the variance of each trial's own noise and that of what all trials share.

    The model is noise_jk = shared + own_j [j = k]: fitted to the variances of the differences, own_j + own_k, whose
    mean over k is known for each j. Trials that are more alike than that are taken for less alike than they are.
    """
    size = len(noise_TT)
    variance_T = np.diag(noise_TT)
    if size == 1:
        return np.full(1, LEAST), float(variance_T[0])
    mean_T = ((size * variance_T + variance_T.sum()) - 2 * noise_TT.sum(axis=1)) / (size - 1)
    mean = mean_T.mean() / 2
    own_T = np.full(size, mean) if size == 2 else ((size - 1) * mean_T - size * mean) / (size - 2)
    # Of many trials a few may come out at nothing or below: none is known ten times better than the others.
    own_T = np.maximum(own_T, max(mean / 10, LEAST))
    return own_T, float(max(np.mean(variance_T - own_T), 0.0))


def distinct_trials(overall_T: Array, noise_TT: Array) -> tuple[NDArray[np.int64], list[int]]:
    """Return for each trial its place among the distinct ones, and these: equal scores that have the same noise.

    Two rows of one model are one true score, and not two that happen to be close.
    """
    variance_T = np.diag(noise_TT)
    place = np.zeros(len(overall_T), dtype=np.int64)
    distinct: list[int] = []
    by_score: dict[float, list[int]] = {}
    for t, score in enumerate(np.round(overall_T, 12).tolist()):
        same = by_score.setdefault(score, [])
        apart = [variance_T[t] + variance_T[distinct[d]] - 2 * noise_TT[t, distinct[d]] for d in same]
        twin = next((d for d, v in zip(same, apart, strict=True) if v <= 1e-9 * variance_T[t]), None)
        if twin is None:
            twin = len(distinct)
            same.append(twin)
            distinct.append(t)
        place[t] = twin
    return place, distinct

"""Draws of what scores would have been on other examples: from their covariance, and by plain resampling.

The Gaussian multiplier bootstrap weighs each example's influence with an independent normal draw; given the data, these
sums are exactly normal with the scores' covariance, so they are drawn from it without touching the examples again. It
is valid for the maximum over many scores (Chernozhukov, Chetverikov and Kato, Annals of Statistics 2013). The plain
paired bootstrap needs no such theory: it is what the tests compare with.
"""

from collections.abc import Sequence

import numpy as np

from evidence.scores import Answers, Array


def normal_draws_BT(covariance_TT: Array, draws: int, rng: np.random.Generator) -> Array:
    """Return `draws` normal vectors with mean 0 and the covariance, which may be singular.

    By the symmetric root: it is a continuous function of the matrix, so equal trials get equal draws, and rounding in
    the covariance moves no draw by much.
    """
    values, vectors = np.linalg.eigh((covariance_TT + covariance_TT.T) / 2)
    root_TT: Array = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return np.asarray(rng.standard_normal((draws, len(covariance_TT))) @ root_TT)


def bootstrap_BT(answers: Sequence[Answers], draws: int, rng: np.random.Generator, *, chunk: int = 200) -> Array:
    """Return the overall scores on resampled examples: within each task, the same resample for all trials.

    As matrices: multinomial weights [B, N] times right or wrong [N, T]; Pearson's r from weighted moments (Efron 1979;
    paired as in Koehn, EMNLP 2004). `chunk` resamples are in memory at a time.
    """
    total = np.zeros((draws, answers[0].predictions_NT.shape[1]))
    for entry in answers:
        for start in range(0, draws, chunk):
            size = (min(chunk, draws - start),)
            weights = rng.multinomial(entry.examples, np.full(entry.examples, 1 / entry.examples), size=size)
            total[start : start + chunk] += unit_scores_BT(entry, weights / entry.examples)
    return total / len(answers)


def unit_scores_BT(entry: Answers, weights_BN: Array) -> Array:
    """Return the unit scores of a task with weights of its examples that sum to 1."""
    if entry.task.metric == "accuracy":
        return np.asarray(weights_BN @ (entry.predictions_NT == entry.labels_N[:, None]).astype(np.float64))
    x_NT = entry.predictions_NT - entry.predictions_NT.mean(axis=0)
    y_N = entry.labels_N - entry.labels_N.mean()
    x_BT, y_B1 = weights_BN @ x_NT, (weights_BN @ y_N)[:, None]
    product_BT = weights_BN @ (x_NT * y_N[:, None]) - x_BT * y_B1
    square_BT = (weights_BN @ x_NT**2 - x_BT**2) * ((weights_BN @ y_N**2)[:, None] - y_B1**2)
    defined = square_BT > 1e-14 * np.mean(x_NT**2, axis=0) * np.mean(y_N**2)
    return (np.where(defined, product_BT / np.sqrt(np.where(defined, square_BT, 1.0)), 0.0) + 1) / 2

"""The score of the choice itself: choose on one half of the examples, score on the other, both ways.

It takes no model of the scores, and serves to check `expected`. It tells of a choice by half the examples, which is a
little worse than the choice that was made, and gives one number and no column (docs/honesty.md compares the two).
"""

from collections.abc import Sequence

import numpy as np

from evidence.draws import unit_scores_BT
from evidence.scores import Answers

SPLITS = 50


def cross_fitted(answers: Sequence[Answers], *, splits: int = SPLITS, seed: int = 0) -> float:
    """Return the mean overall score, on the half that it was not chosen by, of the trial best on the other half.

    Every task's examples are halved, `splits` times at random.
    """
    rng = np.random.default_rng(seed)
    halves_BT = np.zeros((2 * splits, answers[0].predictions_NT.shape[1]))
    for entry in answers:
        if entry.examples < 2:
            raise ValueError(f"{entry.task.name}: {entry.examples} example; two halves take at least 2")
        order = rng.permuted(np.tile(np.arange(entry.examples), (splits, 1)), axis=1)
        first = order < entry.examples // 2
        weights = np.vstack([first, ~first]).astype(np.float64)
        halves_BT += unit_scores_BT(entry, weights / weights.sum(axis=1, keepdims=True)) / len(answers)
    chosen = halves_BT.argmax(axis=1)
    other = np.roll(np.arange(2 * splits), splits)
    return float(halves_BT[other, chosen].mean())

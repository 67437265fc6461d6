"""A sweep's winner against the baseline on fresh seeds, judged after each: how often it is called better, and when."""

import numpy as np

from benchmarks.honesty_sweep import EPOCHS, SEEDS, Record
from benchmarks.synthetic import synthetic
from evidence.confirm import KnownNoise, Outcome, confirm
from evidence.scores import Scores, scores
from evidence.seeds import configs

CONFIGS = 7
FRESH = 20
"""Seeds at most; a decision by then ends it."""
LOOKS = (3, 5, 10, 20)


def judge_confirmation(gain: float, size: int, number: int) -> Record:
    """Return whether the winner of a sweep was called better after so many fresh seeds, looked at after each.

    Config 1 has the gain, the others equal the baseline. The winner is the best of the others by its mean over the
    sweep's seeds; the dev examples are the same in the sweep and in the confirmation.
    """
    rng = np.random.default_rng((round(gain * 1e4), size, number, 1))
    gains_C = np.zeros(size)
    gains_C[1] = gain
    sweep = synthetic(gains_C, SEEDS + FRESH, EPOCHS, rng)
    trials = scores(sweep.answers)
    overall_CS = trials.overall_T.reshape(size, -1)
    search = _part(trials, [c * (SEEDS + FRESH) + s for c in range(size) for s in range(SEEDS)])
    winner = 1 + int(overall_CS[1:, :SEEDS].mean(axis=1).argmax())
    searched = configs(search, np.repeat(np.arange(size), SEEDS).tolist())
    assert searched.seed_variance is not None
    known = KnownNoise(variance=searched.seed_variance, degrees=searched.degrees)
    called: Record = {}
    for of, noise, asked in (
        ("own noise, these examples", None, False),
        ("known noise, these examples", known, False),
        ("own noise, fresh examples", None, True),
        ("known noise, fresh examples", known, True),
    ):
        first = FRESH + 1
        for seeds in range(2, FRESH + 1):
            columns = [c * (SEEDS + FRESH) + SEEDS + s for c in (winner, 0) for s in range(seeds)]
            examples_TT = configs(_part(trials, columns), [0] * seeds + [1] * seeds).examples_TT
            error = float(np.sqrt(max(examples_TT[0, 0] + examples_TT[1, 1] - 2 * examples_TT[0, 1], 0.0)))
            d = (overall_CS[winner] - overall_CS[0])[SEEDS : SEEDS + seeds]
            if confirm(d, known=noise, example_error=error if asked else 0.0).outcome is Outcome.BETTER:
                first = seeds
                break
        called |= {f"{of}: better by {look} seeds": float(first <= look) for look in LOOKS}
    return {"the winner has the gain": float(winner == 1), **called}


def _part(trials: Scores, columns: list[int]) -> Scores:
    return Scores(
        overall_T=trials.overall_T[columns],
        covariance_TT=trials.covariance_TT[np.ix_(columns, columns)],
        resolution=trials.resolution,
    )

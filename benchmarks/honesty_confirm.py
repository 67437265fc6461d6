"""The confirm command on sweeps with known truth: is better better, what is found, and what one would do by hand.

Played as orchestrator/confirmation.py does: the best of the search and the baseline on the same fresh seeds, one a
round; after each `confirmations` judges, and what is settled drops out. The dev examples are those of the search.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from benchmarks.honesty_sweep import EPOCHS, Record
from benchmarks.synthetic import Synthetic, synthetic, trained_again
from evidence.confirm import Confirmation, KnownNoise, Outcome
from evidence.confirmations import confirmations, settle
from evidence.scores import Array, Scores, scores
from evidence.seeds import configs

CONFIGS = (7, 30)
TOP = 2
SEARCHED = (1, 3)
"""Seeds a config in the search."""
MOST = (3, 5, 10)
"""Fresh seeds at most: the confirmation is played to its end with each."""
BY_HAND = 3
"""Fresh seeds of one who trains the best again and does without the command."""


@dataclass(frozen=True, kw_only=True)
class Entered:
    """The candidates of a search and the baseline, trained on all the fresh seeds that a confirmation may ask for."""

    candidates: Sequence[int]
    """The best first; the baseline is config 0."""
    known: KnownNoise | None
    searched_C: Array
    """Of all configs, the search's scores."""
    true_C: Array
    """Their true ones."""
    fresh: Scores
    """Of the configs `of`, all seeds of the first, then of the next."""
    of: Sequence[int]

    def scores_S(self, config: int) -> Array:
        """Return a config's scores on the fresh seeds."""
        place = list(self.of).index(config)
        return self.fresh.overall_T[place * MOST[-1] : (place + 1) * MOST[-1]]


def judge_confirmation(gain: float, size: int, number: int) -> Record:
    """Return what came of one sweep in which config 1 has the gain and all others equal the baseline."""
    found: Record = {}
    for seeds, entered in searches(gain, size, number).items():
        true = {c: gain if c == 1 else 0.0 for c in entered.candidates}
        own = {
            "the gain is a candidate": float(gain > 0 and 1 in true),
            **_by_command(entered, true, gain),
            **_by_hand(entered, true, gain),
        }
        found |= {f"searched with {seeds}: {key}": value for key, value in own.items()}
    return found


def searches(gain: float, size: int, number: int) -> dict[int, Entered]:
    """Return by its seeds a config what a search makes enter: the same sweep, its first seed alone or all of them."""
    rng = np.random.default_rng((round(gain * 1e4), size, number, 2))
    gains_C = np.zeros(size)
    gains_C[1] = gain
    sweep = synthetic(gains_C, max(SEARCHED), EPOCHS, rng)
    trials = scores(sweep.answers)
    scores_CS = trials.overall_T.reshape(size, -1)
    best = {n: [c for c in np.argsort(-scores_CS[:, :n].mean(axis=1)).tolist() if c][:TOP] for n in SEARCHED}
    of = [0, *sorted({config for chosen in best.values() for config in chosen})]
    fresh = scores(trained_again(sweep, of, MOST[-1], EPOCHS, rng).answers)
    return {
        n: Entered(
            candidates=best[n],
            known=_known(sweep, trials, n),
            searched_C=scores_CS[:, :n].mean(axis=1),
            true_C=sweep.config_C,
            fresh=fresh,
            of=of,
        )
        for n in SEARCHED
    }


def _known(sweep: Synthetic, trials: Scores, seeds: int) -> KnownNoise | None:
    size, of_all = sweep.truth_CS.shape
    columns = [config * of_all + seed for config in range(size) for seed in range(seeds)]
    found = configs(trials.part(columns), np.repeat(np.arange(size), seeds).tolist())
    return KnownNoise(variance=found.seed_variance, degrees=found.degrees) if found.seed_variance else None


def played(entered: Entered, most: int) -> tuple[Mapping[Hashable, Confirmation], dict[int, int]]:
    """Return what the command says in the end with so many fresh seeds at most, and the seeds that each config took."""
    taken = dict.fromkeys((0, *entered.candidates), 0)
    found: Mapping[Hashable, Confirmation] = {}
    while True:
        done = {key for key, said in found.items() if said.settled}
        entering = [config for config in taken if config not in done]
        behind = min(taken[config] for config in entering)
        if len(entering) < 2 or behind == most:
            return found, taken
        taken |= {config: behind + 1 for config in entering if taken[config] == behind}
        trained = [(config, seed) for config, its in taken.items() for seed in range(its)]
        now = confirmations(
            entered.fresh.part([list(entered.of).index(config) * MOST[-1] + seed for config, seed in trained]),
            [config for config, _ in trained],
            [seed for _, seed in trained],
            0,
            searched=len(entered.searched_C) - 1,
            known=entered.known,
        )
        found = settle(found, now)


def _by_command(entered: Entered, true: Mapping[int, float], gain: float) -> Record:
    record: Record = {}
    blind = Entered(**{**vars(entered), "fresh": _without_examples(entered.fresh)})
    for name, it in (("", entered), ("trap, examples left out: ", blind)):
        for most in MOST:
            found, taken = played(it, most)
            better = [c for c in true if c in found and found[c].outcome is Outcome.BETTER]
            worse = [c for c in true if c in found and found[c].outcome is Outcome.WORSE]
            champion = max(better, key=lambda c: it.scores_S(c)[: taken[c]].mean(), default=0)
            at = f"{name}{most:2} fresh: "
            record |= _claims(at, better, champion, true, gain)
            if it is entered:
                record[f"{at}false worse"] = float(any(true[c] >= 0 for c in worse))
                record[f"{at}settled, share of candidates"] = (len(better) + len(worse)) / len(true)
                record[f"{at}spent, trials a candidate"] = float(np.mean([taken[c] for c in true]))
                if most == MOST[-1]:
                    record |= _errors(at, it, true, taken)
    return record


def _claims(at: str, better: Sequence[int], champion: int, true: Mapping[int, float], gain: float) -> Record:
    return {
        f"{at}false better": float(any(true[c] <= 0 for c in better)),
        f"{at}champion no better": float(champion > 0 and true[champion] <= 0),
        f"{at}finds the gain": float(1 in better) if gain else np.nan,
        f"{at}finds the gain that is a candidate": float(1 in better) if gain and 1 in true else np.nan,
    }


def _errors(at: str, entered: Entered, true: Mapping[int, float], taken: Mapping[int, int]) -> Record:
    """Return by how much the candidates' scores and leads over the baseline are off: the search's, and fresh seeds'."""
    searched_C, true_C = entered.searched_C, entered.true_C
    of = list(true)
    fresh = [entered.scores_S(c)[: taken[c]].mean() for c in of]
    lead = [(entered.scores_S(c) - entered.scores_S(0))[: taken[c]].mean() for c in of]
    return {
        f"{at}error, score searched": float(np.mean(searched_C[of] - true_C[of])),
        f"{at}error, score fresh": float(np.mean(fresh - true_C[of])),
        f"{at}error, lead searched": float(np.mean(searched_C[of] - searched_C[0] - (true_C[of] - true_C[0]))),
        f"{at}error, lead fresh": float(np.mean(lead - (true_C[of] - true_C[0]))),
    }


def _by_hand(entered: Entered, true: Mapping[int, float], gain: float) -> Record:
    """Return what three fresh seeds say to one who looks at means, or at Student's t-test for each candidate."""
    base = entered.scores_S(0)[:BY_HAND]
    own = {c: entered.scores_S(c)[:BY_HAND] for c in true}
    higher = [c for c, s in own.items() if s.mean() > base.mean()]
    tested = [c for c in higher if stats.ttest_ind(own[c], base).pvalue < 0.05]
    record: Record = {}
    for name, better in (("higher mean", higher), ("t-test", tested)):
        champion = max(better, key=lambda c: own[c].mean(), default=0)
        record |= _claims(f"by hand, {name}: ", better, champion, true, gain)
    return record


def _without_examples(trials: Scores) -> Scores:
    """Return the same scores as if the examples had no part in them."""
    return Scores(overall_T=trials.overall_T, covariance_TT=np.zeros_like(trials.covariance_TT), resolution=0.0)

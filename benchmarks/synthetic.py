"""Sweeps whose truth is known: models that err alike on hard examples, seeds, epochs, and the best epoch kept.

An example is hard for all models, a little harder for one config, one seed and one epoch than for the next: normal
parts of a latent difficulty, in the shares of `SHARES`. A model answers what is easier than its threshold, which is set
so that its accuracy over all possible examples is a given number; Pearson's r likewise by the share of label in the
value. In shapes: N examples, C configs, S seeds, E epochs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from evidence.scores import Answers, Array
from model.tasks import TASKS

EXAMPLES = {"sentiment": 1101, "paraphrase": 20_215, "similarity": 863}
BASE = {"sentiment": 0.48, "paraphrase": 0.77, "similarity": 0.80}
"""True metrics of a config that nothing was planted in; the study's baseline."""
SHARES = {
    "sentiment": (0.86, 0.07, 0.045, 0.025),
    "paraphrase": (0.94, 0.03, 0.02, 0.01),
    "similarity": (0.70, 0.15, 0.10, 0.05),
}
"""Variance of the difficulty that all models share, that a config, a seed and an epoch adds: sums to 1."""
SEED_SD = {"sentiment": 0.010, "paraphrase": 0.003, "similarity": 0.004}
"""Of the true metric between seeds of a config: 0.0036 in the overall score."""
EPOCH_SD = {"sentiment": 0.005, "paraphrase": 0.002, "similarity": 0.002}
"""Of the true metric between the late epochs of a trial, of which the best by dev score is kept."""
GAIN = {"sentiment": 1.5, "paraphrase": 0.9, "similarity": 1.2}
"""By how much a planted gain of 1 in the overall score lifts each metric (r counts by half)."""


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """A sweep as a lab would have it, with what no lab knows."""

    answers: list[Answers]
    """Best epochs' predictions; column c * S + s is seed s of config c."""
    truth_CS: Array
    """Overall score over all possible examples of the very model that was kept."""
    any_epoch_CS: Array
    """The same of any one of that trial's epochs, on average."""
    config_C: Array
    """Overall score of the config, over all seeds, at any one epoch."""
    gains_C: Array
    """What was planted."""
    hard_NC: Mapping[str, NDArray[np.float32]]
    """Of each task: how hard its examples are for each config, whatever the seed."""


def synthetic(
    gains_C: Array, seeds: int, epochs: int, rng: np.random.Generator, *, uneven: float = 0.0, seed_factor: float = 1.0
) -> Synthetic:
    """Return a sweep with a planted gain of each config's overall score; config 0 is the baseline.

    `uneven` is the log standard deviation of the configs' own seed noise, which the method takes for equal.
    """
    seed_sd_C = np.exp(uneven * rng.standard_normal(len(gains_C)))
    seed_sd_C *= seed_factor / np.exp(uneven**2)  # the mean variance as it was
    labels = {
        "sentiment": np.ones(EXAMPLES["sentiment"]),
        "paraphrase": np.ones(EXAMPLES["paraphrase"]),
        "similarity": rng.uniform(-(3**0.5), 3**0.5, EXAMPLES["similarity"]),
    }
    return _trained(gains_C, seed_sd_C, labels, {}, (seeds, epochs), rng)


def trained_again(
    sweep: Synthetic, configs: Sequence[int], seeds: int, epochs: int, rng: np.random.Generator
) -> Synthetic:
    """Return some of a sweep's configs on fresh seeds, on the same examples; their seed noise is the usual one."""
    labels = {entry.task.name: entry.labels_N for entry in sweep.answers}
    hard_NC = {name: hard[:, configs] for name, hard in sweep.hard_NC.items()}
    return _trained(sweep.gains_C[configs], np.ones(len(configs)), labels, hard_NC, (seeds, epochs), rng)


def _trained(
    gains_C: Array,
    seed_sd_C: Array,
    labels: Mapping[str, Array],
    known_NC: Mapping[str, NDArray[np.float32]],
    seeds_and_epochs: tuple[int, int],
    rng: np.random.Generator,
) -> Synthetic:
    """Train configs on the examples; how hard these are is drawn for a task that it is not known of."""
    shape = (len(gains_C), *seeds_and_epochs)
    hard_NC = dict(known_NC)
    answered: dict[str, NDArray[np.float32 | np.bool_]] = {}
    truth_CSE, dev_CSE, any_epoch_CS = np.zeros(shape), np.zeros(shape), np.zeros(shape[:2])
    for name, count in EXAMPLES.items():
        seed_CS1 = (
            BASE[name]
            + GAIN[name] * gains_C[:, None, None]
            + SEED_SD[name] * seed_sd_C[:, None, None] * rng.standard_normal((*shape[:2], 1))
        )
        metric_CSE = seed_CS1 + EPOCH_SD[name] * rng.standard_normal(shape)
        of_all, of_config, of_seed, of_epoch = (np.float32(share**0.5) for share in SHARES[name])
        if name not in hard_NC:
            hard_N1 = of_all * rng.standard_normal((count, 1), dtype=np.float32)
            hard_NC[name] = hard_N1 + of_config * rng.standard_normal((count, shape[0]), dtype=np.float32)
        difficulty_NCSE = hard_NC[name][:, :, None, None]
        for scale, axes in ((of_seed, (*shape[:2], 1)), (of_epoch, shape)):
            part = rng.standard_normal((count, *axes), dtype=np.float32)
            part *= scale
            part += difficulty_NCSE
            difficulty_NCSE = part
        if TASKS[name].metric == "accuracy":
            answered[name] = difficulty_NCSE < stats.norm.ppf(metric_CSE).astype(np.float32)
            unit_CSE = np.count_nonzero(answered[name], axis=0) / count
        else:
            difficulty_NCSE *= np.sqrt(1 - metric_CSE**2).astype(np.float32)
            difficulty_NCSE += labels[name].astype(np.float32)[:, None, None, None] * metric_CSE.astype(np.float32)
            answered[name] = difficulty_NCSE
            unit_CSE = _answers(name, labels[name], difficulty_NCSE.reshape(count, -1)).unit_scores_T().reshape(shape)
        truth_CSE += _unit(name, metric_CSE) / len(EXAMPLES)
        any_epoch_CS += _unit(name, seed_CS1[:, :, 0]) / len(EXAMPLES)
        dev_CSE += unit_CSE

    best_CS = dev_CSE.argmax(axis=2)
    kept = np.arange(shape[0] * shape[1]) * shape[2] + best_CS.ravel()
    return Synthetic(
        answers=[_answers(name, labels[name], v.reshape(len(v), -1)[:, kept]) for name, v in answered.items()],
        truth_CS=np.take_along_axis(truth_CSE, best_CS[:, :, None], axis=2)[:, :, 0],
        any_epoch_CS=any_epoch_CS,
        config_C=np.mean([_unit(name, np.array(BASE[name])) for name in EXAMPLES]) + gains_C,
        gains_C=gains_C,
        hard_NC=hard_NC,
    )


def _unit(name: str, metric: Array) -> Array:
    """Return true metrics as they enter the overall score."""
    return (metric + 1) / 2 if TASKS[name].metric == "pearson" else metric


def _answers(name: str, labels_N: Array, values_NT: NDArray[np.float32 | np.bool_]) -> Answers:
    return Answers(task=TASKS[name], labels_N=labels_N, predictions_NT=values_NT.astype(np.float64))

"""Answers of made-up trials: right by chance, alike by a difficulty that the trials share."""

import numpy as np

from evidence.scores import Answers
from model.tasks import TASKS


def made_answers(trials, examples=(110, 400, 86), seed=0, tasks=("sentiment", "paraphrase", "similarity")):
    """Return answers for some tasks, with `examples` of each."""
    rng = np.random.default_rng(seed)
    found = []
    for name, count in zip(tasks, examples, strict=True):
        task = TASKS[name]
        if task.metric == "pearson":
            labels = rng.uniform(0, 5, count)
            answers = labels[:, None] + rng.normal(0, 1, (count, 1)) + rng.normal(0, 0.6, (count, trials))
        else:
            labels = rng.integers(0, task.high + 1, count).astype(float)
            common = np.where(rng.random(count) < 0.6, labels, rng.integers(0, task.high + 1, count))[:, None]
            other = rng.integers(0, task.high + 1, (count, trials))
            answers = np.where(rng.random((count, trials)) < 0.85, common, other).astype(float)
        found.append(Answers(task=task, labels_N=labels, predictions_NT=answers))
    return found


def with_columns(answers, columns):
    """Return the same answers with other columns: reordered, repeated, left out."""
    return [Answers(task=a.task, labels_N=a.labels_N, predictions_NT=a.predictions_NT[:, columns]) for a in answers]

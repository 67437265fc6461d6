"""Predictions as trials leave them, made up: models that are right as often as they are skilled."""

import numpy as np
import pyarrow as pa

EXAMPLES = {"sentiment": 1_100, "paraphrase": 2_000, "similarity": 860}
LABELS = {
    "sentiment": np.arange(1_100) % 5,
    "paraphrase": np.arange(2_000) % 2,
    "similarity": np.arange(860) % 51 / 10,
}


def answers(skill, rng):
    """Return predictions of a model that is right so often, on examples that are hard for all alike."""
    found = {}
    for task, labels in LABELS.items():
        hardness = np.random.default_rng(7).random(len(labels))
        right = 0.7 * hardness + 0.3 * rng.random(len(labels)) < skill
        if task == "similarity":
            found[task] = labels + rng.normal(0, 1, len(labels)) + np.random.default_rng(8).normal(0, 1, len(labels))
        else:
            classes = 5 if task == "sentiment" else 2
            found[task] = np.where(right, labels, (labels + 1) % classes)
    return found


def table(predictions):
    """Return the table that a trial leaves."""
    columns = {"task": [], "id": [], "label": [], "prediction": [], "outputs": []}
    for task, values in predictions.items():
        columns["task"] += [task] * len(values)
        columns["id"] += [f"{task}-{n}" for n in range(len(values))]
        columns["label"] += LABELS[task].astype(float).tolist()
        columns["prediction"] += values.astype(float).tolist()
        columns["outputs"] += [np.zeros(1, np.float32)] * len(values)
    return pa.table(columns)

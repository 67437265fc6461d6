"""Predictions as trials leave them, made up: models that are right as often as they are skilled."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.checkpoint import PREDICTIONS
from model.config import config_to_dict
from model.files import write_manifest
from model.tasks import TASKS, overall_score, pearson
from orchestrator.leaderboard import TrialRecord

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


def scores_of(predictions):
    """Return a task's metric each."""
    return {
        task: pearson(values, LABELS[task]) if task == "similarity" else float(np.mean(values == LABELS[task]))
        for task, values in predictions.items()
    }


def predicted_trial(paths, number, config, predictions, state="completed"):
    """Return a trial that trained one epoch for a second, its checkpoint with these predictions in its folder."""
    predictions = {task: predictions[task] for task in config.tasks}
    folder = paths.trial(number).root / "attempt-1" / "best-0001"
    if not folder.exists():
        folder.mkdir(parents=True)
        pq.write_table(table(predictions), folder / PREDICTIONS)
        (folder / "model.safetensors").write_bytes(b"weights")
        write_manifest(folder, {"format": 4})
    scores = scores_of(predictions)
    entry = {"epoch": 1, "scores": scores, "dev_score": overall_score([TASKS[t] for t in scores], scores)}
    entry |= {"train_seconds": 1.0, "train_loss": 0.7, "learning_rate": 1e-3, "ended_at_seconds": 1e9}
    best = entry | {"checkpoint": "attempt-1/best-0001"} if state == "completed" else None
    return TrialRecord(number, state, config_to_dict(config), [entry], best)

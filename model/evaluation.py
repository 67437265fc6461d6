"""Scoring a model on the dev or test examples of its tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from model.batches import collate
from model.multitask import MultitaskModel
from model.tasks import METRICS, Array, Task, overall_score
from model.tokens import PackedTokens

EVALUATION_BATCH = 64
"""Examples a batch; sorted by length, so that little is padded."""


@dataclass(frozen=True)
class Examples:
    """What a model needs of a split: tokens, labels where there are any, ids."""

    tokens: PackedTokens
    labels: Array | None
    ids: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.ids)


@dataclass(frozen=True)
class Evaluation:
    """The scores of one model on one split of all its tasks."""

    scores: dict[str, float]
    """Task name to its metric."""
    overall: float
    outputs: dict[str, NDArray[np.float32]]
    """Task name to outputs [examples, outputs], in the examples' order."""


def evaluate(model: MultitaskModel, tasks: Sequence[Task], data: Mapping[str, Examples]) -> Evaluation:
    """Return the scores on labelled examples; the model is left in eval mode."""
    outputs = {task.name: predict(model, task, data[task.name].tokens, len(data[task.name])) for task in tasks}
    scores = {task.name: score(task, outputs[task.name], data[task.name].labels) for task in tasks}
    return Evaluation(scores, overall_score(tasks, scores), outputs)


def score(task: Task, outputs: NDArray[np.float32], labels: Array | None) -> float:
    """Return the task's metric of outputs against labels."""
    assert labels is not None, f"{task.name}: only labelled examples can be scored"
    return METRICS[task.metric](labels_from(task, outputs), labels)


def labels_from(task: Task, outputs: NDArray[np.float32]) -> Array:
    """Return predicted labels [N]: the largest logit's class, 1 for a positive logit, or the value itself."""
    if task.kind == "classes":
        classes: Array = outputs.argmax(axis=1) + np.float64(task.low)
        return classes
    if task.kind == "binary":
        return (outputs[:, 0] > 0).astype(np.float64)
    return outputs[:, 0].astype(np.float64)


@torch.inference_mode()
def predict(model: MultitaskModel, task: Task, tokens: PackedTokens, examples: int) -> NDArray[np.float32]:
    """Return outputs [examples, outputs] in fp32, in the examples' order."""
    model.eval()
    device = next(model.parameters()).device
    longest = tokens.lengths.reshape(examples, tokens.per_example).max(axis=1)
    order = np.argsort(longest, kind="stable")
    width = task.outputs
    found = np.empty((examples, width), dtype=np.float32)
    for start in range(0, examples, EVALUATION_BATCH):
        chosen = order[start : start + EVALUATION_BATCH]
        found[chosen] = model(task, collate(tokens, chosen, device)).float().cpu().numpy()
    return found

"""Scoring a model on the dev or test examples of its tasks."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from model.inputs import Inputs
from model.multitask import MultitaskModel
from model.tasks import METRICS, Array, Task, overall_score
from model.tokens import PackedTokens

EVALUATION_ROWS = {"cpu": 2_048, "cuda": 32_768}
"""Tokens a batch, by device."""
T = TypeVar("T")


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


def evaluate(
    model: MultitaskModel, tasks: Sequence[Task], data: Mapping[str, Examples], inputs: Mapping[str, Inputs]
) -> Evaluation:
    """Return the scores on labelled examples, whose inputs are given by task; the model is left in eval mode."""
    return _outcome(evaluating(model, tasks, data, inputs))


def evaluating(
    model: MultitaskModel, tasks: Sequence[Task], data: Mapping[str, Examples], inputs: Mapping[str, Inputs]
) -> Generator[None, None, Evaluation]:
    """Do what `evaluate` does, yielding after each batch; the generator's return value is the evaluation."""
    outputs = {}
    for task in tasks:
        outputs[task.name] = yield from _predicting(model, task, data[task.name].tokens, inputs[task.name])
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


def predict(model: MultitaskModel, task: Task, tokens: PackedTokens, inputs: Inputs) -> NDArray[np.float32]:
    """Return outputs [examples, outputs] in fp32, in the examples' order; equal sequences are encoded once."""
    return _outcome(_predicting(model, task, tokens, inputs))


@torch.inference_mode()
def _predicting(
    model: MultitaskModel, task: Task, tokens: PackedTokens, inputs: Inputs
) -> Generator[None, None, NDArray[np.float32]]:
    model.eval()
    distinct = tokens.distinct
    parts = []
    for sequences in tokens.chunks(distinct.sequences, EVALUATION_ROWS[model.device.type]):
        parts.append(model.pooled(inputs.batch(sequences)))
        yield
    pooled_SD = torch.cat(parts)[torch.from_numpy(distinct.index).to(model.device)]
    outputs: NDArray[np.float32] = model(task, pooled_SD, tokens.per_example).cpu().numpy()
    return outputs


def _outcome(work: Generator[None, None, T]) -> T:
    """Run a generator to its end and give what it returns."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            outcome: T = end.value
            return outcome

"""What a model's outputs say of one example: a class and how likely each is, yes or no, or a value in its range."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.evaluation import labels_from
from model.tasks import Task


def answer(task: Task, outputs_O: NDArray[np.float32]) -> dict[str, Any]:
    """Return the answer to one example as plain values: `prediction`, and `probabilities` by label where it has them.

    A value that the model puts outside of the task's range is told as the range's end, with the `output` as it was.
    Raises ValueError for outputs that are no numbers.
    """
    if not np.isfinite(outputs_O).all():
        raise ValueError(f"{task.name}: the model's output is {outputs_O.tolist()}; it has weights that are no numbers")
    label = float(labels_from(task, outputs_O[None])[0])
    if task.kind == "regression":
        return {"prediction": min(max(label, task.low), task.high), "output": label}
    logits = outputs_O.astype(np.float64)
    if task.kind == "binary":
        logits = np.array([0.0, logits[0]])
    weights = np.exp(logits - logits.max())
    labels = (str(int(task.low) + place) for place in range(len(weights)))
    probabilities = dict(zip(labels, (weights / weights.sum()).tolist(), strict=True))
    return {"prediction": int(label), "probabilities": probabilities}

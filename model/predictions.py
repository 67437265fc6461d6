"""The course's prediction files: one a task and split, as its leaderboard takes them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.evaluation import labels_from
from model.files import write_text
from model.tasks import Task


def prediction_path(folder: Path, task: Task, split: str) -> Path:
    """Return where a task's predictions stand, as sst-dev-output.csv."""
    prefix = task.prediction_file[0] if task.prediction_file else task.name
    return folder / f"{prefix}-{split}-output.csv"


def write_predictions(path: Path, task: Task, ids: tuple[str, ...], outputs: NDArray[np.float32]) -> None:
    """Write `id , prediction` lines under the course's header; values come back from the text exactly."""
    title = task.prediction_file[1] if task.prediction_file else f"Predicted_{task.name}"
    values = labels_from(task, outputs).tolist()
    shown = [str(int(value)) if task.kind == "classes" else repr(value) for value in values]
    lines = [f"{identifier} , {value} \n" for identifier, value in zip(ids, shown, strict=True)]
    write_text(path, f"id \t {title} \n" + "".join(lines))

"""Trials' predictions, as their predictions.parquet have them, as one matrix a task."""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evidence.scores import Answers, Array
from model.tasks import Task


def answers_from(tables: Mapping[Hashable, Mapping[str, ArrayLike]], tasks: Sequence[Task]) -> list[Answers]:
    """Return the answers of trials to the tasks; column t is the t-th trial of `tables`.

    A table has the columns task, id, label and prediction (model/checkpoint.predictions_table), a row an example. Every
    trial must have answered the same examples, in whatever order: scores of other examples are not compared.
    """
    if not tables or not tasks:
        raise ValueError(f"{len(tables)} tables and {len(tasks)} tasks; expected at least one of each")
    split = {trial: _by_task(table) for trial, table in tables.items()}
    found = []
    for task in tasks:
        lacking = [trial for trial, by_task in split.items() if task.name not in by_task]
        if lacking:
            raise ValueError(f"{task.name}: no predictions of trials {lacking[:9]}")
        (first, (ids, labels, _)), *_ = ((trial, by_task[task.name]) for trial, by_task in split.items())
        columns = []
        for trial, by_task in split.items():
            order = _order(by_task[task.name][0], ids)
            if order is None or not np.array_equal(by_task[task.name][1][order], labels, equal_nan=True):
                raise ValueError(
                    f"{task.name}: trials {first} and {trial} were scored on other examples or labels "
                    f"({len(ids)} and {len(by_task[task.name][0])}); a comparison takes the same dev data"
                )
            columns.append(by_task[task.name][2][order])
        found.append(Answers(task=task, labels_N=labels, predictions_NT=np.column_stack(columns)))
    return found


def _by_task(table: Mapping[str, ArrayLike]) -> dict[str, tuple[NDArray[np.str_], Array, Array]]:
    """Return ids, labels and predictions by task."""
    task, ids = np.asarray(table["task"], dtype=np.str_), np.asarray(table["id"], dtype=np.str_)
    label, prediction = (np.asarray(table[name], dtype=np.float64) for name in ("label", "prediction"))
    return {str(name): (ids[task == name], label[task == name], prediction[task == name]) for name in np.unique(task)}


def _order(ids: NDArray[np.str_], wanted: NDArray[np.str_]) -> NDArray[np.int64] | None:
    """Return which row holds each wanted id; None where they are not the same, or stand twice in another order."""
    if np.array_equal(ids, wanted):
        return np.arange(len(ids))
    by_id, by_wanted = np.argsort(ids), np.argsort(wanted)
    if not np.array_equal(ids[by_id], wanted[by_wanted]) or len(np.unique(ids)) < len(ids):
        return None
    order = np.empty(len(ids), dtype=np.int64)
    order[by_wanted] = by_id
    return order

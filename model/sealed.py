"""The sealed test set: labelled examples that no trial reads. It is set apart when a sweep is planned, and opened once.

A task's labelled test file where there is one. Else a tenth of its training examples, by a hash of their sentences: a
sentence that stands there twice is on one side, and neither the order of the file nor a seed has a say.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from model.data import Corpus, Split, load_split, normal
from model.table_file import DataError
from model.tasks import Task

ONE_IN = 10
"""So many training examples, one is set apart."""
FEWEST = 20
"""Fewer than that would tell nothing: a training set with less to give is left whole."""

Origin = Literal["test", "train", "none"]


@dataclass(frozen=True)
class Seal:
    """What one task's test set is. Plain values: it stands in the plan."""

    origin: Origin
    """A labelled test file, a part of the training examples, or neither."""
    examples: int
    content: str
    """Hash of its examples, by which it is known again when it is opened; empty where there are none."""


def seal(source: str, tasks: Sequence[Task], corpus: Corpus) -> tuple[Corpus, dict[str, Seal]]:
    """Return the corpus as trials may read it, and what was set apart of each task. Raises DataError."""
    sealed, problems = {}, []
    for task in tasks:
        try:
            test = _labelled_file(source, task)
        except DataError as error:
            problems.append(str(error))
            continue
        origin: Origin = "test"
        if test is None:
            origin, test = "train", set_apart(corpus[task.name]["train"])[1]
        few = len(test) < FEWEST
        sealed[task.name] = Seal("none", 0, "") if few else Seal(origin, len(test), test.content_hash())
    if problems:
        raise DataError("\n".join(problems))
    return readable(corpus, {name: asdict(found) for name, found in sealed.items()}), sealed


def readable(corpus: Corpus, sealed: Mapping[str, Mapping[str, Any]]) -> Corpus:
    """Return the corpus without the training examples that are set apart; `sealed` as the plan has it."""
    return {
        name: {**splits, "train": set_apart(splits["train"])[0]} if sealed[name]["origin"] == "train" else splits
        for name, splits in corpus.items()
    }


def set_apart(train: Split) -> tuple[Split, Split]:
    """Return the training examples that trials read, and those that are the test set."""
    keys = ["\n".join(sorted(sentences)).encode() for sentences in normal(train)]  # a pair turned round is the same
    drawn = np.array(
        [int.from_bytes(hashlib.sha256(b"test set\n" + key).digest()[:8]) for key in keys], dtype=np.uint64
    )
    apart = drawn % ONE_IN == 0
    kept, test = (train.part(np.flatnonzero(places).tolist()) for places in (~apart, apart))
    return kept, replace(test, name="test")


def open_test(source: str, task: Task, sealed: Mapping[str, Any]) -> Split:
    """Return a task's test set, the one that was sealed. Raises DataError where the data are no longer those."""
    if sealed["origin"] == "none":
        raise DataError(f"task {task.name!r} has no test set: no labelled file, and too few training examples")
    if sealed["origin"] == "test":
        test = load_split(source, task, "test")
    else:
        test = set_apart(load_split(source, task, "train"))[1]
    if test.content_hash() != sealed["content"]:
        raise DataError(f"{test.source}: changed since the sweep was planned; the test set was sealed with its hash")
    return test


def _labelled_file(source: str, task: Task) -> Split | None:
    """Return the test file's examples where they have labels."""
    if source == "hub":
        has_labels = bool(task.hub and task.hub.get("test_labels"))
    else:
        has_labels = any((Path(source) / name).exists() for name in task.files.get("test", ()))
    if not has_labels:
        return None
    test = load_split(source, task, "test")
    return test if test.labels is not None else None

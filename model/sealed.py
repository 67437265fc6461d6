"""The sealed test set: labelled examples that no trial reads. It is set apart when a sweep is planned, and opened once.

A task's labelled test file where there is one. Else about a tenth of its training examples, by a hash of their
sentences: no sentence is on both sides, and neither the order of the file nor a seed has a say.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from model.data import Corpus, Normal, Split, load_split, normal
from model.table_file import DataError
from model.tasks import Task

ONE_IN = 10
"""So many training examples, one is set apart."""
LARGEST = 0.01
"""Of the training examples, that may hang together by their sentences and still be set apart."""
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
    """Return the training examples that trials read, and those that are the test set.

    Examples that share a sentence, be it through others, are on one side; where so hang together more than LARGEST of
    all, they stay with train, or the draw of one would be the draw of the test set.
    """
    groups = _connected(normal(train))
    sizes = Counter(groups)
    most = max(1.0, LARGEST * len(groups))
    drawn = {group: _drawn(group) and sizes[group] <= most for group in sizes}
    apart = [drawn[group] for group in groups]
    kept, test = (
        train.part([place for place, is_apart in enumerate(apart) if is_apart is side]) for side in (False, True)
    )
    return kept, replace(test, name="test")


def _connected(examples: Normal) -> list[str]:
    """Return for each example the group of those it hangs together with, by the first of all their sentences.

    The name is a group's least sentence: neither the order of the file nor that in a pair has a say.
    """
    parent: dict[str, str] = {}

    def root(sentence: str) -> str:
        parent.setdefault(sentence, sentence)
        while parent[sentence] != sentence:
            parent[sentence] = parent[parent[sentence]]
            sentence = parent[sentence]
        return sentence

    for first, *others in examples:
        for other in others:
            least, greater = sorted((root(first), root(other)))
            parent[greater] = least
    return [root(first) for first, *_ in examples]


def _drawn(group: str) -> bool:
    return int(hashlib.sha256(f"test set\n{group}".encode()).hexdigest(), 16) % ONE_IN == 0


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

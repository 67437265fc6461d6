"""The tasks, as one registry: columns, files, kind of label, metric and head all follow from here.

Adding a task is one `register(Task(...))` (here, or in a search-space file) and its data files.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Kind = Literal["classes", "binary", "regression"]
PairEncoding = Literal["separate", "joint"]
Loss = Literal["cross_entropy", "binary_cross_entropy", "mean_squared_error", "cosine"]
Array = NDArray[np.float64]

LOSSES: Mapping[Kind, tuple[Loss, ...]] = {
    "classes": ("cross_entropy",),
    "binary": ("binary_cross_entropy",),
    "regression": ("mean_squared_error", "cosine"),
}
"""The losses a kind of label allows; the first is the default."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a model is trained to do on one data set. Plain values only: it crosses process borders."""

    name: str
    """Name of the metric, the leaderboard column and the head."""
    kind: Kind
    """classes: one of `low..high`; binary: 0 or 1; regression: any value in `low..high`."""
    sentence_columns: tuple[str, ...]
    """One column, or the two of a pair."""
    label_column: str
    low: float
    high: float
    """Smallest and largest label allowed."""
    files: Mapping[str, tuple[str, ...]]
    """Split (train, dev, test) to the file names it may have in a data folder, the first found is read."""
    pair_encoding: PairEncoding = "separate"
    """How a pair is encoded unless a config says otherwise; of no meaning for single sentences."""
    prediction_file: tuple[str, str] | None = None
    """Prefix of the course's prediction files and the title of their second column; by the name otherwise."""
    hub: Mapping[str, Any] | None = None
    """Where the hub keeps the same data set; model/hub.py has the keys."""

    def __post_init__(self) -> None:
        """Check what the rest of the program relies on."""
        if not self.name.isidentifier():
            raise ValueError(f"task {self.name!r}: a task's name is a Python identifier; it names columns and modules")
        if self.kind not in LOSSES:
            raise ValueError(f"task {self.name!r}: kind {self.kind!r}; one of {', '.join(LOSSES)}")
        if len(self.sentence_columns) not in (1, 2):
            raise ValueError(f"task {self.name!r}: {len(self.sentence_columns)} sentence columns; 1 or 2")
        paths = [name for names in self.files.values() for name in names if Path(name).name != name or "\n" in name]
        if paths:
            raise ValueError(f"task {self.name!r}: file {paths[0]!r}; expected a name in the data folder, no path")
        if not self.low < self.high:
            raise ValueError(f"task {self.name!r}: labels {self.low}..{self.high}; low must be below high")

    @property
    def is_pair(self) -> bool:
        """Whether an example has two sentences."""
        return len(self.sentence_columns) == 2

    @property
    def outputs(self) -> int:
        """Width of the output layer: the classes, or one logit or value."""
        return int(self.high - self.low) + 1 if self.kind == "classes" else 1

    @property
    def metric(self) -> Literal["accuracy", "pearson"]:
        """Name of the task's metric."""
        return "pearson" if self.kind == "regression" else "accuracy"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values that `from_dict` turns back into an equal task."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "Task":
        """Return the task that `to_dict` described, also after a way through JSON."""
        plain = dict(values)
        plain["sentence_columns"] = tuple(plain["sentence_columns"])
        if plain["prediction_file"]:
            plain["prediction_file"] = tuple(plain["prediction_file"])
        plain["files"] = {split: tuple(names) for split, names in plain["files"].items()}
        if plain["hub"]:
            plain["hub"] = {**plain["hub"], "sentences": tuple(plain["hub"]["sentences"])}
        return Task(**plain)


TASKS: dict[str, Task] = {}
GLUE_REVISION = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"


def register(task: Task) -> Task:
    """Add a task to the registry; registering an equal one again is harmless."""
    known = TASKS.setdefault(task.name, task)
    if known != task:
        raise ValueError(f"task {task.name!r} is registered already, with other values")
    return task


register(
    Task(
        name="sentiment",
        kind="classes",
        sentence_columns=("sentence",),
        label_column="sentiment",
        low=0,
        high=4,
        files={
            "train": ("ids-sst-train.csv",),
            "dev": ("ids-sst-dev.csv",),
            "test": ("ids-sst-test.csv", "ids-sst-test-student.csv"),
        },
        prediction_file=("sst", "Predicted_Sentiment"),
        hub={
            "repo": "SetFit/sst5",
            "revision": "e51bdcd8cd3a30da231967c1a249ba59361279a3",
            "files": {"train": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl"},
            "sentences": ("text",),
            "label": "label",
            "test_labels": True,
        },
    )
)
register(
    Task(
        name="paraphrase",
        kind="binary",
        sentence_columns=("sentence1", "sentence2"),
        label_column="is_duplicate",
        low=0,
        high=1,
        files={
            "train": ("quora-train.csv",),
            "dev": ("quora-dev.csv",),
            "test": ("quora-test.csv", "quora-test-student.csv"),
        },
        prediction_file=("para", "Predicted_Is_Paraphrase"),
        pair_encoding="separate",
        hub={
            "repo": "nyu-mll/glue",
            "revision": GLUE_REVISION,
            "files": {
                "train": "qqp/train-00000-of-00001.parquet",
                "dev": "qqp/validation-00000-of-00001.parquet",
                "test": "qqp/test-00000-of-00001.parquet",
            },
            "sentences": ("question1", "question2"),
            "label": "label",
        },
    )
)
register(
    Task(
        name="similarity",
        kind="regression",
        sentence_columns=("sentence1", "sentence2"),
        label_column="similarity",
        low=0,
        high=5,
        files={
            "train": ("sts-train.csv",),
            "dev": ("sts-dev.csv",),
            "test": ("sts-test.csv", "sts-test-student.csv"),
        },
        prediction_file=("sts", "Predicted_Similiary"),  # the course's spelling
        pair_encoding="joint",
        hub={
            "repo": "nyu-mll/glue",
            "revision": GLUE_REVISION,
            "files": {
                "train": "stsb/train-00000-of-00001.parquet",
                "dev": "stsb/validation-00000-of-00001.parquet",
                "test": "stsb/test-00000-of-00001.parquet",
            },
            "sentences": ("sentence1", "sentence2"),
            "label": "label",
        },
    )
)


def accuracy(predictions: Array, labels: Array) -> float:
    """Return the share of predictions that equal the label."""
    return float(np.mean(predictions == labels))


def pearson(predictions: Array, labels: Array) -> float:
    """Return Pearson's r; 0 where the predictions or the labels are all one value and r is undefined."""
    if len(labels) < 2 or np.ptp(predictions) == 0 or np.ptp(labels) == 0:
        return 0.0
    return float(stats.pearsonr(predictions, labels).statistic)


METRICS: Mapping[str, Callable[[Array, Array], float]] = {"accuracy": accuracy, "pearson": pearson}


def overall_score(tasks: Iterable[Task], scores: Mapping[str, float]) -> float:
    """Return the dev score: the mean over the tasks, each on 0..1 (accuracy as it is, r as (r + 1) / 2)."""
    on_unit = [(scores[t.name] + 1) / 2 if t.metric == "pearson" else scores[t.name] for t in tasks]
    return sum(on_unit) / len(on_unit)


def majority_scores(task: Task, train_labels: Array, labels: Array) -> float:
    """Return the score of the most simple model: the commonest training label (or any constant) always."""
    if task.metric == "pearson":
        return 0.0
    values, counts = np.unique(train_labels, return_counts=True)
    return accuracy(np.full_like(labels, values[np.argmax(counts)]), labels)

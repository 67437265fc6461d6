"""A stored model's prediction files, and its dev score beside the recorded one.

Of a test file no label is looked at, also where it has some: the test set is opened by confirmation alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.checkpoint import Checkpoint, load_model
from model.data import SAMPLE, Split, load_split
from model.encoder_files import EncoderSource
from model.evaluation import Evaluation, Examples
from model.predictions import prediction_path, write_predictions
from model.table_file import DataError
from model.tasks import Task
from model.training import tokenized


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written, and how the model does on dev."""

    files: Sequence[tuple[Path, Task, Split]]
    without_test: Sequence[str]
    """Why a task has no test predictions."""
    evaluation: Evaluation
    scored: Mapping[str, tuple[int, int]]
    """By task, of how many dev examples it was scored on, as in the sweep, and how many there are."""
    recorded: float
    """The dev score that the sweep has of this model, at its best epoch."""
    epoch: int
    same_data: bool
    """Whether the dev examples are those that the sweep had."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        files = [
            {"file": str(path), "task": task.name, "split": split.name, "predictions": len(split)}
            for path, task, split in self.files
        ]
        found = self.evaluation
        return {
            "files": files,
            "dev_score": found.overall,
            "dev_scores": found.scores,
            "recorded_dev_score": self.recorded,
            "recorded_epoch": self.epoch,
            "equal": found.overall == self.recorded if self.same_data else None,
        }

    def lines(self) -> list[str]:
        """Return what a person is told."""
        said = [f"{path}  {len(split):,} predictions" for path, _, split in self.files]
        scores = ", ".join(f"{name} {score!r}" for name, score in self.evaluation.scores.items())
        parts = ", ".join(f"{of:,} of {all_:,}" for of, all_ in self.scored.values())
        capped = any(of < all_ for of, all_ in self.scored.values())
        on = f" on {parts} examples, as in the sweep" if capped else ""
        said.append(f"dev score {self.evaluation.overall!r} ({scores}){on}")
        if not self.same_data:
            return [*said, f"recorded  {self.recorded!r}, on other dev data"]
        verdict = "equal" if self.evaluation.overall == self.recorded else "NOT equal"
        return [*said, f"recorded  {self.recorded!r}, at epoch {self.epoch}: {verdict}"]


def write_files(checkpoint: Checkpoint, source: EncoderSource, data: str | None, out: Path) -> Written:
    """Write the predictions for the dev file and, where there is one, the test file of each of the model's tasks."""
    manifest, place = checkpoint.manifest, data or str(SAMPLE)
    dev = {task.name: load_split(place, task, "dev") for task in checkpoint.tasks}
    test, without_test = {}, []
    for task in checkpoint.tasks:
        try:
            test[task.name] = load_split(place, task, "test", labels=False)
        except DataError as error:
            without_test.append(f"no test predictions for {task.name}: {error}")
    model, tokenizer = load_model(checkpoint, source), source.tokenizer()

    def examples(split: Split) -> Examples:
        return tokenized(split, checkpoint.config, tokenizer, source.tokenizer_sha256)

    capped = {name: split.capped(manifest["max_dev_examples"]) for name, split in dev.items()}
    evaluation = model.evaluate(checkpoint.tasks, {name: examples(split) for name, split in capped.items()})
    files = []
    for task in checkpoint.tasks:
        for split in (dev[task.name], *([test[task.name]] if task.name in test else [])):
            path = prediction_path(out, task, split.name)
            write_predictions(path, task, split.ids, model.predict(task, examples(split)))
            files.append((path, task, split))
    return Written(
        files=files,
        without_test=without_test,
        evaluation=evaluation,
        scored={name: (len(split), len(dev[name])) for name, split in capped.items()},
        recorded=manifest["dev_score"],
        epoch=manifest["epoch"],
        same_data={name: split.content_hash() for name, split in dev.items()} == manifest["dev_content"],
    )

"""Checkpoints: what was trained, as safetensors, with a manifest that says of what and by what.

A best-dev checkpoint holds the trained tensors alone; the frozen ones are the encoder's, named by hash.
A resumable one holds the optimizer's moments too. Each is a folder, whole or absent.
"""

import hashlib
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.config import TrialConfig, config_from_dict, config_to_dict
from model.encoder_files import EncoderSource
from model.evaluation import Evaluation, Examples, evaluate, labels_from, predict
from model.files import DamagedFileError, new_folder, read_manifest, write_manifest
from model.frozen_prefix import FrozenPrefix
from model.multitask import MultitaskModel
from model.tasks import Task
from model.training import TaskData, TrainingState

FORMAT = 4
READABLE = {3, 4}
"""Format 3 had no states within an epoch; all else is the same."""
MODEL, OPTIMIZER, PREDICTIONS = "model.safetensors", "optimizer.safetensors", "predictions.parquet"
WITHIN_EPOCH = "within-epoch.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A checked checkpoint folder."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def weights(self) -> Path:
        """Return the file of the trained tensors. Raises ValueError where it was released."""
        if MODEL not in self.manifest["files"]:
            raise ValueError(
                f"{self.folder}: its weights were released to save space, its predictions are there; "
                "--keep-checkpoints says how many of a sweep's best are kept"
            )
        return self.folder / MODEL

    @property
    def predictions_sha256(self) -> str:
        """Return the hash of its dev predictions, which tell models apart when their weights were released too."""
        return str(self.manifest["files"][PREDICTIONS]["sha256"])

    @property
    def config(self) -> TrialConfig:
        """Return the config that was trained."""
        return config_from_dict(self.manifest["config"])

    @property
    def tasks(self) -> list[Task]:
        """Return the tasks that were trained, in the config's order."""
        return [Task.from_dict(values) for values in self.manifest["tasks"]]


def save_checkpoint(
    folder: Path,
    *,
    config: TrialConfig,
    tasks: Sequence[Task],
    encoder: EncoderSource,
    state: TrainingState,
    facts: Mapping[str, Any],
    with_optimizer: bool,
    predictions: pa.Table | None = None,
) -> None:
    """Write a checkpoint folder, manifest last, whole or not at all. `facts` join the manifest."""
    with new_folder(folder) as temporary:
        _save(state.weights, temporary / MODEL)
        if with_optimizer:
            _save(state.optimizer, temporary / OPTIMIZER)
            if state.step:
                _save(state.within, temporary / WITHIN_EPOCH)
        if predictions is not None:
            pq.write_table(predictions, temporary / PREDICTIONS, write_page_checksum=True)
        write_manifest(
            temporary,
            {
                "format": FORMAT,
                "epoch": state.epoch,
                "step": state.step,
                "config": config_to_dict(config),
                "tasks": [task.to_dict() for task in tasks],
                "encoder": {**encoder.identity(), "revision": encoder.revision},
                **facts,
            },
        )


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors. Raises OSError where the disk refuses: safetensors has an error of its own for that."""
    try:
        save_file(storable(tensors), path)
    except SafetensorError as error:
        said = re.search(r"os error (\d+)", str(error))
        if said is None:
            raise
        raise OSError(int(said[1]), os.strerror(int(said[1])), str(path)) from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a file of a checked folder. Raises DamagedFileError where it holds something else."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise DamagedFileError(f"{path}: not a safetensors file ({error})") from error


def open_checkpoint(folder: Path, *, contents: bool = True) -> Checkpoint:
    """Return the checkpoint in a folder after checking it, without `contents` by its sizes. Raises DamagedFileError."""
    manifest = read_manifest(folder, contents=contents)
    if manifest.get("format") not in READABLE:
        raise DamagedFileError(f"{folder}: checkpoint format {manifest.get('format')!r}; this version reads {FORMAT}")
    return Checkpoint(folder, manifest)


def load_state(checkpoint: Checkpoint) -> TrainingState:
    """Return the state that training goes on from. Raises ValueError for a best-dev checkpoint, which has none."""
    if OPTIMIZER not in checkpoint.manifest["files"]:
        raise ValueError(f"{checkpoint.folder}: holds no optimizer state; training cannot go on from it")
    step = checkpoint.manifest.get("step", 0)
    return TrainingState(
        checkpoint.manifest["epoch"],
        load_tensors(checkpoint.weights),
        load_tensors(checkpoint.folder / OPTIMIZER),
        step,
        load_tensors(checkpoint.folder / WITHIN_EPOCH) if step else {},
    )


@dataclass(frozen=True)
class StoredModel:
    """A trained model, ready to predict."""

    model: MultitaskModel
    prefix: FrozenPrefix

    def predict(self, task: Task, examples: Examples) -> NDArray[np.float32]:
        """Return outputs [examples, outputs], as they were at the checkpoint's evaluation."""
        (inputs,) = self.prefix.inputs([examples.tokens])
        return predict(self.model, task, examples.tokens, inputs)

    def evaluate(self, tasks: Sequence[Task], data: Mapping[str, Examples]) -> Evaluation:
        """Return the scores on labelled examples."""
        inputs = self.prefix.inputs([data[task.name].tokens for task in tasks])
        by_name = dict(zip([task.name for task in tasks], inputs, strict=True))
        return evaluate(self.model, tasks, data, by_name)


def load_model(checkpoint: Checkpoint, encoder: EncoderSource) -> StoredModel:
    """Return the trained model: the checkpoint's tensors over the encoder it was trained from, on the CPU.

    Raises ValueError where the encoder at hand is another one.
    """
    require_same_encoder(checkpoint, encoder)
    prefix = FrozenPrefix(checkpoint.config, encoder, torch.device("cpu"))
    model = MultitaskModel(checkpoint.config, checkpoint.tasks, prefix.top())
    model.load_trained(load_tensors(checkpoint.weights))
    return StoredModel(model.eval(), prefix)


def require_same_encoder(checkpoint: Checkpoint, encoder: EncoderSource) -> None:
    """Raise ValueError unless this is the encoder that the checkpoint was trained from."""
    trained, here = checkpoint.manifest["encoder"], encoder.identity()
    if differing := encoder.differing(trained):
        part = differing[0]
        raise ValueError(
            f"{checkpoint.folder}: was trained from encoder {trained['name']!r} ({part} {trained[part][:12]}…), "
            f"not from {encoder.name!r} ({part} {here[part][:12]}…); see --encoder"
        )


def release_weights(checkpoint: Checkpoint) -> int:
    """Remove a checkpoint's trained tensors and keep what else it holds; return the bytes that came free.

    The manifest is written first, without them; a file that a crash left in between is removed the next time.
    """
    weights = checkpoint.folder / MODEL
    if MODEL in checkpoint.manifest["files"]:
        facts = {key: value for key, value in checkpoint.manifest.items() if key != "files"}
        write_manifest(checkpoint.folder, facts, without={MODEL})
    size = weights.stat().st_size if weights.exists() else 0
    weights.unlink(missing_ok=True)
    return size


def was_released(folder: Path) -> bool:
    """Return whether a checkpoint folder is without its weights, and says so."""
    try:
        return MODEL not in read_manifest(folder, contents=False)["files"]
    except DamagedFileError:
        return False


def predictions_table(data: Sequence[TaskData], evaluation: Evaluation) -> pa.Table:
    """Return one row an example: task, id, label, predicted label, outputs (logits, or the value)."""
    columns: dict[str, list[Any]] = {"task": [], "id": [], "label": [], "prediction": [], "outputs": []}
    for entry in data:
        outputs = evaluation.outputs[entry.task.name]
        assert entry.dev.labels is not None
        columns["task"] += [entry.task.name] * len(entry.dev)
        columns["id"] += list(entry.dev.ids)
        columns["label"] += entry.dev.labels.tolist()
        columns["prediction"] += labels_from(entry.task, outputs).tolist()
        columns["outputs"] += list(outputs.astype(np.float32))
    return pa.table(columns, schema=_PREDICTIONS_SCHEMA)


def read_predictions(folder: Path) -> pa.Table:
    """Return the table that lies in a best-dev checkpoint, also in one whose weights were released.

    Raises DamagedFileError where it is missing or changed; the weights are not looked at.
    """
    said = open_checkpoint(folder, contents=False).manifest["files"].get(PREDICTIONS)
    if said is None:
        raise DamagedFileError(f"{folder}: holds no {PREDICTIONS}")
    content = (folder / PREDICTIONS).read_bytes()
    if hashlib.sha256(content).hexdigest() != said["sha256"]:
        raise DamagedFileError(f"{folder / PREDICTIONS}: differs from its sha256; the file was changed")
    return pq.read_table(io.BytesIO(content), schema=_PREDICTIONS_SCHEMA)


_PREDICTIONS_SCHEMA = pa.schema(
    [
        ("task", pa.string()),
        ("id", pa.string()),
        ("label", pa.float64()),
        ("prediction", pa.float64()),
        ("outputs", pa.list_(pa.float32())),
    ]
)


def storable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors as save_file takes them: on the CPU, contiguous, without a graph."""
    return {name: tensor.detach().to("cpu", memory_format=torch.contiguous_format) for name, tensor in tensors.items()}

"""Where a stored model's files are, and what it is for: in a folder or in MLflow, its encoder there or in OUT's store.

Imports no torch: what a model does not fit is told before anything heavy is loaded.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from model.data import SAMPLE, find_file
from model.encoder_files import EncoderSource, find_encoder
from model.encoder_store import encoder_of
from model.files import MANIFEST, DamagedFileError, read_manifest
from model.table_file import DataError, escaped
from model.tasks import Task
from orchestrator import paths
from orchestrator.errors import SweepError

if TYPE_CHECKING:
    from model.checkpoint import Checkpoint


def named(model: str, runs: Path, tracking_uri: str | None) -> str:
    """Return a model's whole name: NAME alone stands for its champion, or for its best-dev where there is none.

    A folder, NAME@ALIAS and NAME/VERSION are whole. Raises SweepError for what is not there.
    """
    if _is_folder(model):
        if not (Path(model) / MANIFEST).is_file():
            raise SweepError(f"{escaped(model)}: no checkpoint lies there; a trial's best is in its attempt-*/best-*")
        return model
    uri = tracking_uri or paths.tracking_uri(runs.resolve())
    store = paths.sqlite_file(uri)
    if store is not None and not store.is_file():
        raise SweepError(f"model {model!r}: no such folder, and no MLflow store at {store}; see --runs")
    from orchestrator.mlflow_client import named_model

    return named_model(model, uri)


def fetch(name: str, runs: Path, tracking_uri: str | None, temporary: Path) -> Path:
    """Return the checkpoint's folder of a whole name: a folder as it is, others fetched from MLflow."""
    if _is_folder(name):
        return Path(name)
    from orchestrator.mlflow_client import fetch_model

    return fetch_model(name, tracking_uri or paths.tracking_uri(runs.resolve()), temporary)


def _is_folder(model: str) -> bool:
    """Return whether a folder is meant; a sweep's own, of the name of its model, is no checkpoint's."""
    return Path(model).is_dir() and ((Path(model) / MANIFEST).is_file() or not paths.NAME_PATTERN.fullmatch(model))


def tasks_of(folder: Path) -> list[Task]:
    """Return the tasks that a checkpoint was trained on. Raises DamagedFileError where its manifest does not say."""
    try:
        return [Task.from_dict(values) for values in read_manifest(folder, contents=False)["tasks"]]
    except (KeyError, TypeError) as error:
        raise DamagedFileError(f"{folder}: its {MANIFEST} names no tasks; it is no checkpoint") from error


def require_files(data: str | None, tasks: Sequence[Task], model: str) -> None:
    """Raise SweepError where a folder of data has no dev file of a task that the model was trained on."""
    if data == "hub":
        return
    folder = SAMPLE if data is None else Path(data)
    missing: list[Task] = []
    problem: DataError | None = None
    for task in tasks:
        try:
            find_file(folder, task, "dev")
        except DataError as error:
            missing.append(task)
            problem = problem or error
    if problem is not None and (not folder.is_dir() or len(missing) == len(tasks)):
        raise SweepError(str(problem)) from problem
    if problem is not None:
        names = ", ".join(f"{task.name} ({task.files['dev'][0]})" for task in missing)
        known = ", ".join(task.name for task in tasks)
        where = "the bundled sample" if data is None else escaped(data)
        raise SweepError(
            f"{where}: has no dev file of {names}; {model} was trained on {known}: give its data with --data DIR"
        ) from problem


def encoder_for(checkpoint: "Checkpoint", asked: str | None, runs: Path) -> EncoderSource:
    """Return the encoder under a checkpoint: the one asked for, or the one it was trained from."""
    if asked is not None:
        return find_encoder(asked)
    manifest = checkpoint.manifest
    if "encoder_given" not in manifest:
        raise SweepError(f"{checkpoint.folder}: is for going on with the training; name a best-* folder")
    return encoder_of(manifest["encoder"], manifest["encoder_given"], paths.encoder_store(runs.resolve()))

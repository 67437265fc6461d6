"""Where a stored model's files are: in a folder or in MLflow, its encoder where it was or in OUT's store."""

from pathlib import Path

from model.checkpoint import Checkpoint
from model.encoder_files import EncoderSource, find_encoder
from model.encoder_store import encoder_of
from model.files import MANIFEST
from orchestrator import paths
from orchestrator.errors import SweepError


def fetch(model: str, runs: Path, tracking_uri: str | None, temporary: Path) -> Path:
    """Return the checkpoint's folder: a folder as it is, NAME@ALIAS or NAME/VERSION fetched from MLflow."""
    if Path(model).is_dir():
        if not (Path(model) / MANIFEST).is_file():
            raise SweepError(f"{model}: no checkpoint lies there; a trial's best is in its attempt-*/best-*")
        return Path(model)
    from orchestrator.mlflow_client import fetch_model

    uri = tracking_uri or paths.tracking_uri(runs.resolve())
    store = paths.sqlite_file(uri)
    if store is not None and not store.is_file():
        raise SweepError(f"model {model!r}: no such folder, and no MLflow store at {store}; see --runs")
    return fetch_model(model, uri, temporary)


def encoder_for(checkpoint: Checkpoint, asked: str | None, runs: Path) -> EncoderSource:
    """Return the encoder under a checkpoint: the one asked for, or the one it was trained from."""
    if asked is not None:
        return find_encoder(asked)
    manifest = checkpoint.manifest
    if "encoder_given" not in manifest:
        raise SweepError(f"{checkpoint.folder}: is for going on with the training; name a best-* folder")
    return encoder_of(manifest["encoder"], manifest["encoder_given"], paths.encoder_store(runs.resolve()))

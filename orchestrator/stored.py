"""Where a stored model's files are: in a folder, or in MLflow."""

from pathlib import Path

from orchestrator import paths
from orchestrator.errors import SweepError


def fetch(model: str, runs: Path, tracking_uri: str | None, temporary: Path) -> Path:
    """Return the checkpoint's folder: a folder as it is, NAME@ALIAS or NAME/VERSION fetched from MLflow."""
    if Path(model).is_dir():
        return Path(model)
    from orchestrator.tracking import fetch_model

    uri = tracking_uri or paths.tracking_uri(runs.resolve())
    store = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not store.is_file():
        raise SweepError(f"model {model!r}: no such folder, and no MLflow store at {store}; see --runs")
    return fetch_model(model, uri, temporary)

"""What stands of a sweep, asked on a cluster's head: python -m tests.cluster.kept OUT NAME TRACKING_URI.

Prints one JSON object: the study's trials, MLflow's runs, the versions of the registered model with the sha256 of every
file that MLflow gives back, and the sha256 of every file of OUT that is a leaderboard, a verdict or a checkpoint.
"""

import json
import sys
import tempfile
from pathlib import Path

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from model.files import sha256_of
from orchestrator.paths import SweepPaths
from orchestrator.plan import read_plan
from orchestrator.study import study_of

LASTING = ("leaderboard.json", "confirmation.json", "verdict.json", "model.safetensors", "*.parquet")


def main():
    """Ask, and print it."""
    out, name, tracking_uri = sys.argv[1:]
    paths = SweepPaths(Path(out), name)
    study = study_of(paths, read_plan(paths.plan), None)
    client = MlflowClient(tracking_uri, registry_uri=tracking_uri)
    files = sorted(path for pattern in LASTING for path in paths.root.rglob(pattern))
    found = {
        "study": paths.study_uri,
        "trials in the study": {str(number): state for number, state in study.ended().items()},
        "runs": {run.info.run_id: said(run) for run in every_run(client, name)},
        "versions": {version.version: version_of(version, tracking_uri) for version in versions(client, name)},
        "aliases": dict(client.get_registered_model(name).aliases),
        "files": {str(path.relative_to(out)): sha256_of(path) for path in files},
    }
    print(json.dumps(found))


def every_run(client, name):
    """Return all runs of the sweep's experiments."""
    experiments = [each.experiment_id for each in client.search_experiments() if each.name.startswith(name)]
    return client.search_runs(experiments, max_results=1000)


def said(run):
    """Return what MLflow says of a run."""
    return {"name": run.info.run_name, "status": run.info.status, "metrics": run.data.metrics, "tags": run.data.tags}


def versions(client, name):
    """Return the versions of a registered model."""
    return client.search_model_versions(f"name = '{name}'")


def version_of(version, tracking_uri):
    """Return where a version comes from, and the sha256 of what MLflow gives back of it."""
    with tempfile.TemporaryDirectory() as folder:
        fetched = Path(
            download_artifacts(
                f"models:/{version.name}/{version.version}", dst_path=folder, tracking_uri=tracking_uri,
                registry_uri=tracking_uri,
            )
        )  # fmt: skip
        sums = {
            str(path.relative_to(fetched)): sha256_of(path) for path in sorted(fetched.rglob("*")) if path.is_file()
        }
    return {"source": version.source, "files": sums}


if __name__ == "__main__":
    main()

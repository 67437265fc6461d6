"""The code that travels to a cluster's nodes."""

import subprocess
import sys
from pathlib import Path

from orchestrator.shipping import shipped


def test_what_is_shipped_runs_a_worker_without_the_checkout(tmp_path):
    """From the folder alone, in a place that has nothing else of ours, a worker's modules and the sample are found."""
    with shipped() as code:
        folder = Path(code["working_dir"])
        line = "import sys; sys.path.insert(0, sys.argv[1]); import orchestrator.worker as w"
        line += "; from model.data import SAMPLE"
        line += "; print(w.__file__); print(len(list(SAMPLE.glob('*.csv'))))"
        done = subprocess.run(
            [sys.executable, "-c", line, str(folder)], cwd=tmp_path, capture_output=True, text=True, check=True,
            env={"PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        assert done.stdout.splitlines() == [str(folder / "orchestrator" / "worker.py"), "9"]
        assert {path.name for path in folder.iterdir()} == {"model", "evidence", "orchestrator"}
    assert not folder.exists()


def test_a_submitted_job_has_shipped_its_own(monkeypatch):
    """Ray takes no second folder beside that of `ray job submit`."""
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", '{"runtime_env": {"working_dir": "gcs://a.zip"}}')
    with shipped() as code:
        assert code is None


def test_a_submitted_job_without_a_folder_ships_ours(monkeypatch):
    """`ray job submit` without --working-dir sends nothing."""
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", '{"runtime_env": {}, "metadata": {"job_name": "a"}}')
    with shipped() as code:
        assert code is not None

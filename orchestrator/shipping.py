"""This program's own code, sent along with the work: nodes of a cluster need its environment, not its checkout.

Ray keeps an archive by its content, and each node unpacks it once. It comes before whatever a node has of the same
name, so that all nodes run what the driver runs.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGES = ("model", "evidence", "orchestrator")
ROOT = Path(__file__).parents[1]
SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set where `ray job submit` started this process: Ray takes no second folder beside one that it has sent."""


@contextmanager
def shipped() -> Iterator[dict[str, str] | None]:
    """Hold a folder with the packages alone for ray.init's runtime environment; None where a job has sent them."""
    job = json.loads(os.environ.get(SUBMITTED) or "{}")
    if (job.get("runtime_env") or {}).get("working_dir"):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="sweep-code-") as folder:
        for package in PACKAGES:
            shutil.copytree(ROOT / package, Path(folder) / package, ignore=shutil.ignore_patterns("__pycache__"))
        yield {"working_dir": folder}

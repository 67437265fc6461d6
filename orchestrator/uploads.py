"""Checkpoints to an object store by the cluster's workers: the driver, and its machine's network, are no bottleneck.

Only where MLflow names the store's own address: what goes through MLflow's server passes the head's machine anyway, and
workers need not reach that. A worker that cannot send costs one line in the log; from then on the driver sends by
itself. Import it where Ray is connected.
"""

import logging
from pathlib import Path
from urllib.parse import urlsplit

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.connection import workers
from orchestrator.redaction import redacted

BUCKETS = {"s3", "gs", "wasbs", "abfs", "abfss"}
SEND_S = 1800.0
"""Seconds that a worker is given."""

log = logging.getLogger(__name__)


class WorkerUploads:
    """Sends folders in turn by one worker after another. Call it as `ModelRegistry.sender`."""

    def __init__(self) -> None:
        """Send nothing yet."""
        self._sent = 0
        self._given_up = False

    def __call__(self, uri: str, folder: Path) -> bool:
        """Send a folder's files to a place in a bucket; return whether a worker has done so."""
        if self._given_up or urlsplit(uri).scheme not in BUCKETS or not (nodes := workers()):
            return False
        node = nodes[self._sent % len(nodes)]
        self._sent += 1
        try:
            where = NodeAffinitySchedulingStrategy(node, soft=False)
            task = ray.remote(_send).options(num_cpus=0, max_retries=0, scheduling_strategy=where)
            ray.get(task.remote(uri, str(folder)), timeout=SEND_S)
        except RayError as error:  # also whatever it raised there
            said = redacted(" ".join(str(error).split())[-300:])
            log.warning("node %s cannot send checkpoints to %s (%s); the driver does it", node, redacted(uri), said)
            self._given_up = True
            return False
        return True


def _send(uri: str, folder: str) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    get_artifact_repository(uri).log_artifacts(folder)

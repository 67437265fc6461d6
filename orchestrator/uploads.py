"""Checkpoints to an object store by the cluster's workers: the driver, and its machine's network, are no bottleneck.

Only where MLflow names the store's own address: what goes through MLflow's server passes the head's machine anyway, and
workers need not reach that. Where no worker can, the driver sends by itself. Import it where Ray is connected.
"""

import logging
import threading
from pathlib import Path
from urllib.parse import urlsplit

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from model.checkpoint import open_checkpoint
from orchestrator.connection import workers
from orchestrator.redaction import redacted

BUCKETS = {"s3", "gs", "wasbs", "abfs", "abfss"}
SEND_S = 1800.0
"""Seconds that a worker is given."""
NODES = 3
"""So many nodes are asked in turn; one that is lost meanwhile says nothing of the next."""
LEAVE_S = 10.0
"""Seconds in which who waits for a worker has to see that it is to wait no more."""

log = logging.getLogger(__name__)


class WorkerUploads:
    """Sends checkpoints by one worker after another: a `ModelRegistry.sender`, called by one thread, closed by any."""

    def __init__(self) -> None:
        """Send nothing yet."""
        self._asked = 0
        self._over = False
        self._task: ray.ObjectRef | None = None
        self._idle = threading.Event()
        self._idle.set()

    def __call__(self, uri: str, folder: Path) -> bool:
        """Send a checkpoint's files to a place in a bucket; return whether a worker has sent them all."""
        if urlsplit(uri).scheme not in BUCKETS:
            return False
        self._idle.clear()
        try:
            return not self._over and self._sent(uri, folder)
        finally:
            self._idle.set()

    def close(self) -> None:
        """Let nobody wait for a worker any more: Ray is about to be left."""
        self._over = True
        if self._task is not None and not self._idle.is_set():
            ray.cancel(self._task, force=True)
            self._idle.wait(LEAVE_S)

    def _sent(self, uri: str, folder: Path) -> bool:
        nodes = workers()
        for _ in nodes[:NODES]:
            node = nodes[self._asked % len(nodes)]
            self._asked += 1
            try:
                where = NodeAffinitySchedulingStrategy(node, soft=False)
                send = ray.remote(_send).options(num_cpus=0, max_retries=0, scheduling_strategy=where)
                self._task = send.remote(uri, str(folder))
                ray.get(self._task, timeout=SEND_S)
            except RayTaskError as error:  # it has looked, and cannot: nor could others like it
                said = redacted(" ".join(str(error).split())[-300:])
                log.warning("node %s cannot send checkpoints to %s (%s); the driver does it", node, redacted(uri), said)
                self._over = True
                return False
            except RayError as error:
                if self._over:
                    return False
                said = redacted(" ".join(str(error).split())[-300:])
                log.warning("node %s has not sent a checkpoint (%s: %s)", node, type(error).__name__, said)
                continue
            return True
        return False


def _send(uri: str, folder: str) -> None:
    """Raise where the checkpoint is not whole as this node sees it: MLflow sends an empty folder without a word."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    open_checkpoint(Path(folder))
    get_artifact_repository(uri).log_artifacts(folder)

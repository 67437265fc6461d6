"""One of many writers into MLflow: `python -m tests.cluster.writer URI EXPERIMENT METRICS OUTPUT`.

Writes down each metric that the server has taken, after it said so; a call that fails is made again.
"""

import json
import sys
import time
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric

BATCH = 10
PATIENCE_S = 240


def main():
    """Write so many metrics in batches, each step once in truth, and say which were acknowledged."""
    uri, experiment, count, output = sys.argv[1:]
    client = MlflowClient(uri)
    run = retried(lambda: client.create_run(experiment)).info.run_id
    acknowledged, failed = [], 0
    for first in range(0, int(count), BATCH):
        batch = [Metric("m", step / 7, step, step) for step in range(first, first + BATCH)]
        failed += retried(lambda batch=batch: client.log_batch(run, metrics=batch), counted=True)
        acknowledged += range(first, first + BATCH)
        Path(output).write_text(json.dumps({"run": run, "acknowledged": acknowledged, "failed_calls": failed}))


def retried(call, *, counted=False):
    """Make a call until it succeeds; return what it gives, or how often it failed before."""
    failed, end = 0, time.monotonic() + PATIENCE_S
    while True:
        try:
            result = call()
        except Exception:  # whatever a server that dies answers
            if time.monotonic() > end:
                raise
            failed += 1
            time.sleep(0.5)
        else:
            return failed if counted else result


if __name__ == "__main__":
    main()

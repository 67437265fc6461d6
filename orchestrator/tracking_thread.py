"""The thread that keeps MLflow up to date beside a sweep."""

import threading
from collections.abc import Callable, Sequence

from orchestrator.leaderboard import TrialRecord
from orchestrator.mlflow_client import first_line
from orchestrator.tracking import CLOSE_S, Projection

FETCH_INTERVAL_S = 1.0
"""Between two syncs."""


class ProjectionThread:
    """Keeps MLflow up to date beside the sweep, which never waits for it."""

    def __init__(self, projection: Projection, trials: Callable[[], Sequence[TrialRecord]]) -> None:
        """Start the thread; `trials` is asked for the present state each time."""
        self._projection, self._trials = projection, trials
        self._wake, self._stop = threading.Event(), threading.Event()
        self.trouble: str | None = None
        """The last failure, None when the last sync went well."""
        self._told = False
        self._thread = threading.Thread(target=self._run, name="mlflow-projection", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Say that something happened."""
        self._wake.set()

    def news(self) -> str | None:
        """Return what a person should know of MLflow and was not told yet: that it is behind, or no more."""
        trouble = self.trouble
        if (trouble is not None) == self._told:
            return None
        self._told = trouble is not None
        return f"MLflow is behind ({trouble}); the sweep goes on" if trouble else "MLflow has caught up"

    def close(self) -> None:
        """Stop the thread after the sync it is in, or leave it behind where that takes too long."""
        self._stop.set()
        self._wake.set()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait()
            self._wake.clear()
            if self._stop.is_set():
                return
            try:
                if self.trouble is not None:
                    self._projection.refresh()
                self._projection.sync(self._trials(), soon=True)
                self.trouble = None
            except Exception as error:  # noqa: BLE001  (an outage of MLflow costs the sweep nothing)
                self.trouble = first_line(error)
                self._wake.set()
            self._stop.wait(FETCH_INTERVAL_S)

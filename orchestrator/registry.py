"""Best-dev checkpoints in MLflow: a logged model a trial, the best under an alias, and what is let go of."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.mlflow_client import BEST_DEV, CHAMPION  # sets what MLflow reads when it is imported

# isort: split
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from model.checkpoint import open_checkpoint, was_released
from model.failpoints import reach
from model.files import DamagedFileError
from orchestrator.errors import SweepError
from orchestrator.leaderboard import TrialRecord
from orchestrator.paths import SweepPaths
from orchestrator.plan import Plan
from orchestrator.retention import kept_trials, release

log = logging.getLogger(__name__)


class ModelRegistry:
    """The checkpoints of one sweep's experiment. `runs` are the trials' runs in MLflow, by number."""

    def __init__(self, client: MlflowClient, plan: Plan, paths: SweepPaths, experiment: str, keep: int) -> None:
        """Ask nothing yet; the weights of the best `keep` trials stay, and of registered ones."""
        self._client, self._plan, self._paths = client, plan, paths
        self._experiment, self._keep = experiment, keep
        self._of_stage = "" if paths.stage == "search" else f"{paths.stage}-"
        self.sender: Callable[[str, Path], bool] | None = None
        """Who else may send a folder to a place; it returns whether it has done so."""
        self._released: set[int] = set()
        self._registered: int | None = None

    def refresh(self) -> None:
        """Ask anew which trial has the alias, and remove half-made models: after a failed call nobody knows."""
        self._registered = None
        for model in self._models():
            if model.status != LoggedModelStatus.READY:
                self._client.delete_logged_model(model.model_id)

    def store(self, trial: TrialRecord, run: str) -> None:
        """Store the best-dev checkpoint as a logged model without a flavour: files, never code."""
        assert trial.best is not None
        folder = self._paths.trial(trial.number).root / trial.best["checkpoint"]
        if was_released(folder):
            return
        try:
            open_checkpoint(folder)
        except DamagedFileError as error:
            log.warning("%s; MLflow does not get it", error)
            return
        model = self._ready(run)
        if model is None:
            model = self._client.create_logged_model(
                self._experiment, name=f"{self._plan.name}-{self._of_stage}{trial.number:04d}", source_run_id=run
            )
            reach("mlflow: created model", trial=trial.number)
            if self.sender is None or not self.sender(model.artifact_location, folder):
                self._client.log_model_artifacts(model.model_id, str(folder))
            reach("mlflow: stored model", trial=trial.number)
            self._client.finalize_logged_model(model.model_id, "READY")
            reach("mlflow: finished model", trial=trial.number)
        outputs = self._client.get_run(run).outputs
        if outputs is None or not outputs.model_outputs:
            self._client.log_outputs(run, [LoggedModelOutput(model.model_id, step=trial.best["epoch"])])

    def register_best(self, rows: Sequence[Mapping[str, Any]], runs: Mapping[int, str]) -> None:
        """Let the alias best-dev name the best finished trial's checkpoint."""
        best = next((row for row in rows if row["rank"] == 1), None)
        if best is None or best["trial"] == self._registered:
            return
        number = best["trial"]
        version = self._version_of(runs[number])
        if version is None:  # its weights were released: there is nothing to register
            return
        reach("mlflow: registered", trial=number)
        self._client.set_registered_model_alias(self._plan.name, BEST_DEV, version.version)
        reach("mlflow: named best-dev", trial=number)
        self._registered = number

    def champion(self) -> ModelVersion | None:
        """Return the model version that is champion; None while there is none."""
        return _or_none(lambda: self._client.get_model_version_by_alias(self._plan.name, CHAMPION))

    def version(self, number: str) -> ModelVersion | None:
        """Return a version of the model; None where somebody has deleted it."""
        return _or_none(lambda: self._client.get_model_version(self._plan.name, number))

    def crown(self, run: str, tags: Mapping[str, str]) -> str:
        """Let the alias champion name a run's checkpoint, with what it was confirmed by; return its version.

        Raises SweepError where MLflow does not have the checkpoint.
        """
        version = self._version_of(run)
        if version is None:
            raise SweepError(f"MLflow has no checkpoint of run {run}: its weights were released; no champion was named")
        for key, value in tags.items():
            self._client.set_model_version_tag(self._plan.name, version.version, key, value)
        self._client.set_registered_model_alias(self._plan.name, CHAMPION, version.version)
        return str(version.version)

    def _version_of(self, run: str) -> ModelVersion | None:
        """Return the registered version of a run's checkpoint, a new one where there is none; None without one."""
        name = self._plan.name
        try:
            self._client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                raise
            aliases = f"{BEST_DEV}: the search's best; {CHAMPION}: given by a confirmation."
            self._client.create_registered_model(name, description=f"{self._plan.question} {aliases}")
        versions = self._client.search_model_versions(f"name = '{name}'")
        version = next((v for v in versions if v.run_id == run), None)
        if version is None:
            model = self._ready(run)
            if model is None:
                return None
            source = f"models:/{model.model_id}"
            version = self._client.create_model_version(name, source, run, model_id=model.model_id)
        return version

    def release(self, board: Mapping[str, Any], runs: Mapping[int, str]) -> None:
        """Let go of the weights that are not to be kept: in MLflow, then in the trials' folders."""
        completed = {row["trial"] for row in board["trials"] if row["checkpoint"] is not None}
        if len(completed - self._released) <= self._keep:
            return
        kept = kept_trials(board, self._keep, self._registered_trials(runs))
        for number in completed - kept - self._released:
            for model in self._models(runs[number]):
                get_artifact_repository(model.artifact_location).delete_artifacts()
                self._client.delete_logged_model(model.model_id)
        release(self._paths, board, kept | self._released)
        self._released |= completed - kept

    def _registered_trials(self, own: Mapping[int, str]) -> set[int]:
        """Return the trials whose checkpoints are versions of a registered model, of whatever name."""
        runs = {run: number for number, run in own.items()}
        models = {model.model_id: runs[model.source_run_id] for model in self._models() if model.source_run_id in runs}
        found = set()
        token = None
        while True:
            page = self._client.search_model_versions(max_results=10_000, page_token=token)
            for version in page:
                # One that was registered by hand may name its run, its logged model, or the latter in its source.
                named = {version.model_id, str(version.source).rpartition("/")[2]} & models.keys()
                found |= {models[model] for model in named if model}
                found |= {runs[version.run_id]} if version.run_id in runs else set()
            token = page.token
            if not token:
                return found

    def _ready(self, run: str) -> LoggedModel | None:
        """Return the run's logged model that is whole, if there is one."""
        return next((model for model in self._models(run) if model.status == LoggedModelStatus.READY), None)

    def _models(self, run: str | None = None) -> list[LoggedModel]:
        """Return the logged models of a run, or of the experiment; MLflow gives a hundred at a time."""
        words = None if run is None else f"source_run_id = '{run}'"
        found: list[LoggedModel] = []
        token = None
        while True:
            page = self._client.search_logged_models([self._experiment], words, page_token=token)
            found += page
            token = page.token
            if not token:
                return found


def _or_none(asked: Callable[[], ModelVersion]) -> ModelVersion | None:
    """Return what MLflow has, None where it has no such thing."""
    try:
        return asked()
    except MlflowException as error:
        if error.error_code not in {ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), ErrorCode.Name(INVALID_PARAMETER_VALUE)}:
            raise
        return None

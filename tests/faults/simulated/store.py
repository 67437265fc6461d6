"""An MLflow store in memory, which can be away, fail a call before or after it takes effect, get it twice, or late."""

import re
from collections import defaultdict
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from mlflow.entities import LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST


class Mlflow:
    """An MLflow store in memory, with the calls of MlflowClient that orchestrator/tracking.py makes.

    It may be away; of the calls to come the n-th may fail before it takes effect, or after, or be sent twice.
    """

    def __init__(self, wall_s):
        self.experiments, self.runs, self.models, self.versions, self.aliases = {}, {}, {}, [], {}
        self.registered = set()
        self._wall_s, self._count, self.failures, self.calls = wall_s, 0, 0, 0
        self._late = []
        """Calls whose caller was told that they failed, and that take effect yet."""
        self.mend()

    def mend(self):
        """Answer every call from now on."""
        self.away, self.fault = False, None

    def catch_up(self):
        """Do what is late."""
        while self._late:
            with suppress(AssertionError, KeyError, StopIteration, MlflowException):  # nobody hears the answer
                self._late.pop(0)()

    @property
    def troubled(self):
        """Return whether a call may fail."""
        return self.away or self.fault is not None

    def client(self, _uri=None):
        """Return what takes the place of an MlflowClient."""
        return _Client(self)

    def call(self, name, /, *args, **kwargs):
        """Answer a call, or fail as was arranged."""
        try:
            return self._call(name, *args, **kwargs)
        except (ConnectionError, MlflowException):
            self.failures += 1
            raise

    def _call(self, name, /, *args, **kwargs):
        if self.away:
            raise ConnectionError("MLflow is away")
        method, fault = getattr(self, f"_{name}"), None
        self.calls += 1
        if self.fault is not None:
            left, fault = self.fault
            self.fault = (left - 1, fault) if left else None
            fault = None if left else fault
        if fault == "before":
            raise ConnectionError("MLflow did not get the call")
        if fault == "late":
            self._late.append(partial(method, *args, **kwargs))
            raise ConnectionError("MLflow does not answer yet")
        result = method(*args, **kwargs)
        if fault == "after":
            raise ConnectionError("MLflow's answer was lost")
        return method(*args, **kwargs) if fault == "twice" else result

    def active(self, kind):
        """Return the runs of a kind that were not deleted."""
        return [run for run in self.runs.values() if run.active and run.data.tags["kind"] == kind]

    def _id(self):
        self._count += 1
        return f"{self._count:06d}"

    def _get_experiment_by_name(self, name):
        return next((each for each in self.experiments.values() if each.name == name), None)

    def _create_experiment(self, name, _artifacts, *, tags):
        if self._get_experiment_by_name(name) is not None:
            raise MlflowException("it exists", RESOURCE_ALREADY_EXISTS)
        made = SimpleNamespace(experiment_id=self._id(), name=name, tags=dict(tags), lifecycle_stage="active")
        self.experiments[made.experiment_id] = made
        return made.experiment_id

    def _rename_experiment(self, number, name):
        self.experiments[number].name = name

    def _set_experiment_tag(self, number, key, value):
        self.experiments[number].tags[key] = value

    def _create_run(self, experiment, *, run_name, tags):
        del run_name
        info = SimpleNamespace(run_id=self._id(), start_time=int(self._wall_s() * 1000), status="RUNNING")
        run = SimpleNamespace(info=info, data=SimpleNamespace(tags=dict(tags), params={}, metrics={}), outputs=None)
        run.experiment, run.active, run.history, run.artifacts = experiment, True, defaultdict(set), {}
        self.runs[info.run_id] = run
        return run

    def _search_runs(self, experiments, words, _view, page_token=None, **_):
        kind = re.fullmatch("tags.kind = '(.*)' and tags.stage = 'search'", words)[1]
        return _Page.of([run for run in self.active(kind) if run.experiment in experiments], page_token)

    def _get_run(self, number):
        return self.runs[number]

    def _delete_run(self, number):
        self.runs[number].active = False

    def _log_batch(self, number, metrics=(), params=(), tags=()):
        run = self.runs[number]
        assert run.active, "a deleted run takes nothing"
        for param in params:
            assert run.data.params.setdefault(param.key, param.value) == param.value, "a param does not change"
        run.data.tags.update((tag.key, tag.value) for tag in tags)
        for metric in metrics:
            # As MLflow's table: an equal row is one row, and what is shown is the last by step, then by time.
            run.history[metric.key].add((metric.step, metric.timestamp, metric.value))
            run.data.metrics[metric.key] = max(run.history[metric.key])[2]

    def _get_metric_history(self, number, key):
        return [SimpleNamespace(step=step, value=value) for step, _, value in sorted(self.runs[number].history[key])]

    def _set_tag(self, number, key, value):
        self.runs[number].data.tags[key] = value

    def _log_artifact(self, number, path):
        self.runs[number].artifacts[Path(path).name] = Path(path).read_bytes()

    def _set_terminated(self, number, status):
        self.runs[number].info.status = status

    def _log_outputs(self, number, outputs):
        self.runs[number].outputs = SimpleNamespace(model_outputs=outputs)

    def _create_logged_model(self, _experiment, *, name, source_run_id):
        model = SimpleNamespace(model_id=self._id(), name=name, source_run_id=source_run_id, files={})
        model.status, model.artifact_location = LoggedModelStatus.PENDING, model.model_id
        self.models[model.model_id] = model
        return model

    def _search_logged_models(self, _experiments, words=None, page_token=None):
        run = words and re.fullmatch("source_run_id = '(.*)'", words)[1]
        return _Page.of([model for model in self.models.values() if run in (None, model.source_run_id)], page_token)

    def _log_model_artifacts(self, number, folder):
        self.models[number].files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}

    def _finalize_logged_model(self, number, status):
        self.models[number].status = LoggedModelStatus(status)

    def _delete_logged_model(self, number):
        self.models.pop(number, None)

    def _delete_artifacts(self, number):
        self.models[number].files = {}

    def _get_registered_model(self, name):
        if name not in self.registered:
            raise MlflowException("it does not exist", RESOURCE_DOES_NOT_EXIST)

    def _create_registered_model(self, name, **_):
        self.registered.add(name)

    def _search_model_versions(self, *_, page_token=None, **__):
        return _Page.of(self.versions, page_token)

    def _create_model_version(self, _name, source, run, *, model_id):
        version = SimpleNamespace(version=str(len(self.versions) + 1), source=source, run_id=run, model_id=model_id)
        self.versions.append(version)
        return version

    def _set_registered_model_alias(self, _name, alias, version):
        self.aliases[alias] = next(each for each in self.versions if each.version == version)


class _Client:
    def __init__(self, server):
        self._server = server

    def __getattr__(self, name):
        return partial(self._server.call, name)


class _Page(list):
    """Two of what was found, and how to ask for the next."""

    token = None

    @classmethod
    def of(cls, found, token):
        """Return the page that a token stands for."""
        first = int(token or 0)
        page = cls(found[first : first + 2])
        page.token = str(first + 2) if first + 2 < len(found) else None
        return page

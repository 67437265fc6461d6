"""MLflow as a projection: whatever call fails, before or after it took effect, everything is there once."""

import itertools
import threading
import time

import pytest

from orchestrator.errors import SweepError, UnreachableError
from orchestrator.leaderboard import TrialRecord
from orchestrator.paths import SweepPaths

pytestmark = pytest.mark.slow  # a real MLflow store takes seconds to make
MUTATING = (
    "create_experiment", "set_experiment_tag", "create_run", "log_batch", "log_artifact", "set_terminated",
    "create_logged_model", "log_model_artifacts", "finalize_logged_model", "log_outputs",
    "create_registered_model", "create_model_version", "set_registered_model_alias",
)  # fmt: skip
"""What a projection writes with."""
NUMBERS = itertools.count()


class Flaky:
    """A client whose n-th writing call fails: before it does its work, or after."""

    def __init__(self, client, fails_at, *, after):
        """Count down to the failing call."""
        self._client, self._left, self._after = client, fails_at, after

    def __getattr__(self, name):
        """Return the client's own method, counted where it writes."""
        method = getattr(self._client, name)
        return self._counted(method) if name in MUTATING else method

    def _counted(self, method):
        def call(*args, **kwargs):
            self._left -= 1
            if self._left == 0 and not self._after:
                raise ConnectionError("planted: before the call")
            result = method(*args, **kwargs)
            if self._left == 0:
                raise ConnectionError("planted: after the call")
            return result

        return call


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Return one OUT, whose MLflow store all tests here share."""
    return tmp_path_factory.mktemp("out")


@pytest.fixture
def sweep(out, tiny_plan, tiny_config):
    """Return plan, paths and two completed trials of a sweep of its own name."""
    from dataclasses import replace

    from model.config import config_to_dict
    from model.files import write_json, write_manifest

    def make():
        name = f"sweep-{next(NUMBERS)}"
        configs = [tiny_config, replace(tiny_config, learning_rate=5e-4)]
        plan = replace(tiny_plan(*configs), name=name, sweep_id=name)
        paths = SweepPaths(out, name)
        write_json(paths.plan, plan.to_dict())
        write_json(paths.data_report, {})
        trials = []
        for number, config in enumerate(configs):
            entries = [entry(epoch, 0.5 + 0.1 * number + 0.01 * epoch) for epoch in (1, 2)]
            best = {**entries[-1], "checkpoint": "attempt-1/best-0002"}
            folder = paths.trial(number).root / best["checkpoint"]
            folder.mkdir(parents=True)
            (folder / "model.safetensors").write_bytes(b"weights")
            write_manifest(folder, {"format": 3, "trial": number})
            trials.append(TrialRecord(number, "completed", config_to_dict(config), entries, best, trainable_params=7))
        return plan, paths, trials

    return make


def entry(epoch, score):
    """Return what a trial says of an epoch."""
    scores = {"sentiment": score, "paraphrase": score, "similarity": 2 * score - 1}
    return {
        "epoch": epoch, "dev_score": score, "scores": scores, "train_loss": 1 / epoch, "learning_rate": 1e-3,
        "train_seconds": 1.0, "evaluation_seconds": 0.1, "ended_at_seconds": 1e9,
    }  # fmt: skip


def check(projection, plan):
    """Assert that everything is in MLflow, once."""
    from mlflow import MlflowClient

    client = MlflowClient(projection.uri)
    experiment = client.get_experiment_by_name(plan.name)
    assert experiment.tags["sweep_id"] == plan.sweep_id
    assert "mlflow.sharedViewState.leaderboard" in experiment.tags
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.data.tags["kind"] for run in runs) == ["sweep", "trial", "trial"]
    for run in runs:
        if run.data.tags["kind"] == "sweep":
            assert run.data.params["epochs"] == str(plan.baseline["epochs"])
            said = {"encoder": plan.encoder["name"], "data": plan.data["source"], "trials": str(plan.trials)}
            assert said.items() <= run.data.tags.items()
            assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"plan.json", "data.json"}
            continue
        assert run.info.status == "FINISHED"
        assert list(run.data.params) == ["learning_rate"]
        assert run.data.metrics["rank"] == (2 if run.data.tags["trial"] == "0" else 1)
        steps = {metric.step for metric in client.get_metric_history(run.info.run_id, "dev/score")}
        assert steps == {1, 2}
        models = client.search_logged_models([experiment.experiment_id], f"source_run_id = '{run.info.run_id}'")
        assert [str(model.status) for model in models] == ["READY"]
        assert [output.model_id for output in run.outputs.model_outputs] == [models[0].model_id]
    assert client.get_model_version_by_alias(plan.name, "best-dev").run_id == projection.runs[1]


def test_a_sync_shows_everything_and_a_second_one_adds_nothing(sweep):
    """Syncing twice, also from another process's projection, leaves one of each."""
    from orchestrator.tracking import Projection

    plan, paths, trials = sweep()
    projection = Projection(plan, paths, None)
    projection.sync(trials)
    projection.sync(trials)
    again = Projection(plan, paths, None)
    again.sync(trials)
    check(again, plan)


def test_a_board_that_takes_long_to_make_is_made_seldom(sweep, monkeypatch):
    """A tenth of the time at most goes to boards: epochs are told at once, the end of trials with the next board."""
    from dataclasses import replace

    from orchestrator import tracking

    now = [1000.0]
    made = []

    def slow(*given):
        made.append(now[0])
        now[0] += 2.0
        return own(*given)

    own = tracking.leaderboard
    monkeypatch.setattr(tracking, "leaderboard", slow)
    monkeypatch.setattr(tracking.time, "monotonic", lambda: now[0])
    plan, paths, trials = sweep()
    projection = tracking.Projection(plan, paths, None)
    projection.sync([replace(trial, state="running", history=trial.history[:1]) for trial in trials], soon=True)
    assert made == [1000.0]

    now[0] = 1015.0
    projection.sync(trials, soon=True)
    client = projection._client
    runs = [client.get_run(projection.runs[number]) for number in (0, 1)]
    assert made == [1000.0]
    assert [len(client.get_metric_history(run.info.run_id, "dev/score")) for run in runs] == [2, 2]
    assert [run.info.status for run in runs] == ["RUNNING", "RUNNING"]

    now[0] = 1022.0
    projection.sync(trials, soon=True)
    assert made == [1000.0, 1022.0]
    check(projection, plan)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_whichever_call_fails_a_later_sync_makes_it_whole(sweep, after, monkeypatch):
    """A failure at each writing call in turn, then a new start: everything is there, once."""
    from orchestrator import tracking

    own = tracking.connect
    failures = 0
    for fails_at in itertools.count(1):
        plan, paths, trials = sweep()
        monkeypatch.setattr(tracking, "connect", lambda uri, n=fails_at, own=own: Flaky(own(uri), n, after=after))
        try:
            tracking.Projection(plan, paths, None).sync(trials)
        except (ConnectionError, UnreachableError):
            failures += 1
        else:
            break
        finally:
            monkeypatch.setattr(tracking, "connect", own)
        projection = tracking.Projection(plan, paths, None)
        projection.sync(trials)
        check(projection, plan)
    assert failures > 20


def test_an_earlier_sweep_of_the_folder_keeps_its_experiment_under_another_name(sweep):
    """A new sweep of the same folder renames the old experiment; that of another folder is left alone."""
    from dataclasses import replace

    from mlflow import MlflowClient

    from orchestrator.tracking import Projection

    plan, paths, _ = sweep()
    first = Projection(plan, paths, None)
    second = Projection(replace(plan, sweep_id="another"), paths, None)
    names = [e.name for e in MlflowClient(first.uri).search_experiments() if e.name.startswith(plan.name)]
    assert len(names) == 2
    assert second.link != first.link
    with pytest.raises(SweepError, match="of another place"):
        Projection(replace(plan, sweep_id="a third"), SweepPaths(paths.out / "elsewhere", paths.name), first.uri)


def test_a_sweep_that_is_made_larger_and_moved_goes_on_in_its_run(sweep):
    """MLflow lets no param change; what may is a tag, which says how it is now."""
    from dataclasses import replace

    from orchestrator.tracking import Projection

    plan, paths, trials = sweep()
    Projection(plan, paths, None)
    moved = replace(plan, trials=plan.trials + 5, data={**plan.data, "source": "/elsewhere"})

    projection = Projection(moved, paths, None)

    projection.sync(trials)
    check(projection, moved)


def test_a_server_that_is_not_there_is_one_line_before_any_work(sweep):
    """Nothing listens at the tracking URI: UnreachableError, without the password."""
    from orchestrator.tracking import Projection

    plan, paths, _ = sweep()
    with pytest.raises(UnreachableError, match="does not answer") as caught:
        Projection(plan, paths, "http://me:secret@127.0.0.1:9")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_checkpoint_is_not_shown_and_holds_nothing_up(sweep):
    """Its trial's run ends without a model, and the alias does not name it."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    from orchestrator.tracking import Projection

    plan, paths, trials = sweep()
    (paths.trial(1).root / trials[1].best["checkpoint"] / "model.safetensors").write_bytes(b"weightz")
    projection = Projection(plan, paths, None)
    projection.sync(trials)

    client = MlflowClient(projection.uri, registry_uri=projection.uri)
    runs = client.search_runs([client.get_experiment_by_name(plan.name).experiment_id], "tags.kind = 'trial'")
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert sorted(len(run.outputs.model_outputs) if run.outputs else 0 for run in runs) == [0, 1]
    with pytest.raises(MlflowException):
        client.get_model_version_by_alias(plan.name, "best-dev")


def test_a_person_is_told_once_that_mlflow_is_behind_and_once_that_it_has_caught_up(sweep, monkeypatch):
    """The thread goes on trying meanwhile, and nobody waits for it."""
    from orchestrator import tracking, tracking_thread

    plan, paths, trials = sweep()
    own, away = tracking.connect, threading.Event()

    class Away(Flaky):
        def __getattr__(self, name):
            if away.is_set():
                raise ConnectionError("nobody is there")
            return getattr(self._client, name)

    monkeypatch.setattr(tracking, "connect", lambda uri: Away(own(uri), 0, after=False))
    monkeypatch.setattr(tracking_thread, "FETCH_INTERVAL_S", 0.01)
    projection = tracking.Projection(plan, paths, None)
    thread = tracking_thread.ProjectionThread(projection, lambda: trials)
    assert thread.news() is None
    away.set()
    thread.wake()
    said = [told(thread)]
    away.clear()
    said.append(told(thread))
    thread.close()

    assert said == ["MLflow is behind (nobody is there); the sweep goes on", "MLflow has caught up"]
    assert thread.news() is None
    check(projection, plan)


def told(thread):
    """Return the next news of a thread."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if (news := thread.news()) is not None:
            return news
        time.sleep(0.01)
    return None

"""Which weights a sweep keeps, in the trials' folders and in MLflow, with a real store."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.checkpoint import open_checkpoint
from model.config import config_to_dict
from model.files import write_json
from orchestrator.errors import SweepError
from orchestrator.leaderboard import TrialRecord
from orchestrator.paths import SweepPaths
from orchestrator.retention import kept_trials, release, remove_leftovers
from orchestrator.trial_files import write_verdict

SCORES = (0.5, 0.8, 0.6, 0.7)


@given(st.integers(0, 12), st.integers(1, 12), st.sets(st.integers(0, 11)))
def test_the_best_and_every_registered_trial_stay(completed, keep, registered):
    """Exactly the first `keep` that completed and the registered trials are kept."""
    rows = [{"trial": 11 - i, "state": "completed", "checkpoint": "there"} for i in range(completed)]
    rows += [{"trial": 99, "state": "pruned", "checkpoint": "there"}]

    kept = kept_trials({"trials": rows}, keep, registered)

    assert kept == {11 - i for i in range(min(keep, completed))} | registered


@pytest.fixture
def sweep(tmp_path, tiny_plan, tiny_config):
    """Return plan, paths and four completed trials whose checkpoints hold weights and predictions."""
    from model.files import new_folder, write_manifest

    configs = [replace(tiny_config, seed=seed) for seed in range(len(SCORES))]
    plan = tiny_plan(*configs)
    paths = SweepPaths(tmp_path / "out", plan.name)
    write_json(paths.plan, plan.to_dict())
    write_json(paths.data_report, {})
    trials = []
    for number, (config, score) in enumerate(zip(configs, SCORES, strict=True)):
        entry = {
            "epoch": 1, "dev_score": score, "train_loss": 0.7, "learning_rate": 1e-3, "train_seconds": 1.0,
            "scores": dict.fromkeys(config.tasks, score), "evaluation_seconds": 0.1, "ended_at_seconds": 1e9,
        }  # fmt: skip
        best = {**entry, "checkpoint": "attempt-1/best-0001"}
        with new_folder(paths.trial(number).root / best["checkpoint"]) as folder:
            (folder / "model.safetensors").write_bytes(b"weights")
            (folder / "predictions.parquet").write_bytes(b"predictions")
            write_manifest(folder, {"format": 3, "trial": number})
        trials.append(TrialRecord(number, "completed", config_to_dict(config), [entry], best, trainable_params=7))
    return plan, paths, trials


def with_weights(paths):
    """Return the trials whose folders hold weights; all have whole checkpoints with their predictions."""
    found = []
    for number in range(len(SCORES)):
        folder = paths.trial(number).root / "attempt-1/best-0001"
        checkpoint = open_checkpoint(folder)
        assert "predictions.parquet" in checkpoint.manifest["files"]
        found += [number] if (folder / "model.safetensors").exists() else []
    return found


@pytest.mark.slow
def test_mlflow_and_the_folders_keep_the_same_trials(sweep):
    """After a sync with room for two, the two best have their weights in both places and nobody else has."""
    from mlflow import MlflowClient

    from orchestrator.tracking import Projection

    plan, paths, trials = sweep
    projection = Projection(plan, paths, None, keep=2)

    projection.sync(trials)
    projection.sync(trials)

    assert with_weights(paths) == [1, 3]
    client = MlflowClient(projection.uri, registry_uri=projection.uri)
    experiment = client.get_experiment_by_name(plan.name)
    models = client.search_logged_models([experiment.experiment_id])
    numbers = {run: number for number, run in projection.runs.items()}
    assert sorted(numbers[model.source_run_id] for model in models) == [1, 3]
    assert len(projection.runs) == len(SCORES), "every trial has its run"


@pytest.mark.slow
def test_a_registered_model_outlives_every_better_trial(sweep):
    """What was once best-dev is a version in the registry: its weights stay, in MLflow and in its folder."""
    from mlflow import MlflowClient

    from orchestrator.mlflow_client import fetch_model
    from orchestrator.tracking import Projection

    plan, paths, trials = sweep
    Projection(plan, paths, None, keep=1).sync(trials[:1])
    assert with_weights(paths) == [0, 1, 2, 3]

    projection = Projection(plan, paths, None, keep=1)
    projection.sync(trials)

    assert with_weights(paths) == [0, 1]
    versions = MlflowClient(projection.uri, registry_uri=projection.uri).search_model_versions(f"name = '{plan.name}'")
    assert sorted(version.run_id for version in versions) == sorted(projection.runs[n] for n in (0, 1))
    for version in versions:
        folder = fetch_model(f"{plan.name}/{version.version}", projection.uri, paths.out / f"v{version.version}")
        assert (folder / "model.safetensors").read_bytes() == b"weights"


@pytest.mark.slow
def test_a_model_registered_by_hand_under_another_name_stays(sweep):
    """Somebody who registers a trial's model as production in MLflow's page keeps it, whatever its rank becomes."""
    from mlflow import MlflowClient

    from orchestrator.mlflow_client import fetch_model
    from orchestrator.tracking import Projection

    plan, paths, trials = sweep
    projection = Projection(plan, paths, None, keep=3)
    projection.sync(trials[:3])
    client = MlflowClient(projection.uri, registry_uri=projection.uri)
    experiment = client.get_experiment_by_name(plan.name)
    (model,) = client.search_logged_models([experiment.experiment_id], f"source_run_id = '{projection.runs[2]}'")
    client.create_registered_model("production")
    client.create_model_version("production", f"models:/{model.model_id}", model_id=model.model_id)

    Projection(plan, paths, None, keep=1).sync(trials)

    assert with_weights(paths) == [1, 2]
    folder = fetch_model("production/1", projection.uri, paths.out / "production")
    assert (folder / "model.safetensors").read_bytes() == b"weights"


@pytest.mark.slow
def test_the_artifacts_of_what_is_pushed_out_leave_the_disk(sweep):
    """A trial that was among the best, was logged, and then is beaten: its files are gone from MLflow's store."""
    from orchestrator.tracking import Projection

    plan, paths, trials = sweep
    Projection(plan, paths, None, keep=3).sync(trials[:3])
    stored = sorted(paths.out.glob("mlartifacts/**/model.safetensors"))
    assert len(stored) == 3

    Projection(plan, paths, None, keep=1).sync(trials)

    # Trial 1 was the best of the first three, and is of all: it alone was ever registered.
    assert with_weights(paths) == [1]
    assert len(list(paths.out.glob("mlartifacts/**/model.safetensors"))) == 1


def test_releasing_again_frees_nothing(sweep):
    """A second release finds no weights, and a folder that is gone is no error."""
    plan, paths, trials = sweep
    rows = [{"trial": t.number, "rank": None, "state": "completed", "checkpoint": t.best["checkpoint"]} for t in trials]

    assert release(paths, {"trials": rows}, {0}) == 3 * len(b"weights")
    assert release(paths, {"trials": rows}, {0}) == 0
    assert with_weights(paths) == [0]
    assert plan.name == paths.name


def test_leftovers_of_killed_writers_go(sweep):
    """Temporary folders of trials that have ended are removed, everything else stays."""
    _, paths, _ = sweep
    open_trials = paths.trial(1).root / "attempt-1/.state-0001.x7"
    open_trials.mkdir()
    write_verdict(paths.trial(2), {"state": "completed", "best": {"checkpoint": "attempt-1/best-0001"}})
    left = paths.trial(2).root / "attempt-1/.state-0001.x7"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")

    remove_leftovers(paths)

    assert not left.exists()
    assert open_trials.exists(), "an orphan worker may still write there"
    assert with_weights(paths) == [0, 1, 2, 3]


def test_a_sweep_in_another_store_is_not_cleaned_by_the_default_ones_word(paths):
    """Whoever forgets --tracking-uri is told, before anything could be removed; the password is not kept."""
    from orchestrator.store import note_store, require_same_store

    note_store(paths, "http://me:secret@127.0.0.1:5001")
    require_same_store(paths, "http://me:secret@127.0.0.1:5001")

    with pytest.raises(SweepError, match=r"in MLflow at http://\*\*\*@127.0.0.1:5001; add --tracking-uri"):
        require_same_store(paths, None)
    assert "secret" not in paths.tracking.read_text(encoding="utf-8")


@pytest.mark.parametrize("written", ["absolute", "relative"])
def test_outs_own_store_is_known_however_it_is_named(paths, monkeypatch, written):
    """A sweep that was brought back there by its URI is found without one."""
    from orchestrator.store import note_store, require_same_store

    monkeypatch.chdir(paths.out.parent)
    paths.root.mkdir(parents=True)
    note_store(paths, "http://127.0.0.1:5001")
    note_store(paths, f"sqlite:///{paths.out if written == 'absolute' else paths.out.name}/mlflow.db")

    require_same_store(paths, None)


@pytest.mark.slow
def test_the_clean_command_frees_what_is_not_kept_and_says_what_is(sweep):
    """Of four completed trials the best stays, the cache goes when asked; an unknown or running sweep is one line."""
    from typer.testing import CliRunner

    from orchestrator.clean import app
    from orchestrator.session import hold
    from orchestrator.study import TrialStudy
    from orchestrator.trial_files import write_verdict

    plan, paths, trials = sweep
    study = TrialStudy(paths.study_uri, plan, None)
    for trial in trials:
        proposal = study.next_proposal()
        verdict = {"state": "completed", "best": trial.best, "history": trial.history, "trainable_params": 7}
        write_verdict(paths.trial(proposal.number), verdict)
        study.end(proposal.number, "completed", best=trial.best["dev_score"])
    command = ["--out", str(paths.out), "--keep", "1", "--prefix-cache"]

    with hold(paths):
        elsewhere = CliRunner().invoke(app, [plan.name, *command])
    done = CliRunner().invoke(app, [plan.name, *command])
    unknown = CliRunner().invoke(app, ["nobody", *command])

    assert (done.exit_code, done.stderr) == (0, "")
    assert "weights kept: trial 0001 (the best 1, registered ones, and open trials)" in done.stdout
    assert with_weights(paths) == [1]
    assert elsewhere.exit_code == 5
    assert elsewhere.stderr.endswith("; clean it when that one ends\n")
    assert unknown.exit_code == 2
    assert unknown.stderr.startswith(f"error: 'nobody': no such sweep in {paths.out}; there are ")
    assert unknown.stderr.count("\n") == 1

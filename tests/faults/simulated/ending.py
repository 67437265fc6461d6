"""What must hold of a simulated sweep in the end: study, folders and MLflow say the same, and all of it once."""

import hashlib
import json
from functools import cache

from safetensors.torch import load_file

from model.checkpoint import open_checkpoint
from orchestrator.failures import Failure
from orchestrator.leaderboard import leaderboard, read_trials
from orchestrator.mlflow_client import BEST_DEV
from orchestrator.plan import read_plan
from orchestrator.retention import remove_leftovers
from orchestrator.study import TrialStudy
from orchestrator.trial_files import read_ends, read_verdict
from tests.faults.checker import agreement, by_metric, lasting, one_end_each
from tests.faults.simulated.training import CONFIGS, DIVERGES_AT, course, scored
from tests.faults.simulated.world import KEEP, Process, World


def check(world):
    """Assert that study, folders and MLflow say of every trial what its undisturbed course is, once."""
    paths = world.paths
    plan = read_plan(paths.plan)
    study = TrialStudy(paths.study_uri, plan, None)
    trials, records = study._study.get_trials(), read_trials(study, paths)
    verdicts = {number: read_verdict(paths.trial(number)) for number in range(len(trials))}
    assert [*one_end_each(plan, trials), *agreement(study, verdicts, len(trials))] == []
    study._storage.remove_session()
    study._storage.engine.dispose()
    board = json.loads(paths.leaderboard.read_bytes())
    assert lasting(board) == lasting(leaderboard(plan, paths, records))
    runs = check_sweep_run(world, plan)
    for row in board["rows"]:
        number = row["trial"]
        check_trial(trials[number], verdicts[number], row, runs[number])
        if row["state"] != "failed":
            check_best(world, verdicts[number], row, runs[number])
    ends = [end for number in verdicts for end in read_ends(paths.trial(number))]
    assert sum(end.failure == Failure.DISK for end in ends) <= world.planted, "the disk did not fail so often"
    check_leftovers(world)


def check_sweep_run(world, plan):
    """Assert that MLflow has one experiment, one run of the sweep, and one run a trial, which are returned."""
    mlflow = world.mlflow
    assert [experiment.name for experiment in mlflow.experiments.values()].count(plan.name) == 1
    (sweep,) = mlflow.active("sweep")
    assert sweep.info.status == "FINISHED"
    assert sweep.artifacts["leaderboard.json"] == world.paths.leaderboard.read_bytes()
    runs = {int(run.data.tags["trial"]): run for run in mlflow.active("trial")}
    assert len(runs) == len(mlflow.active("trial")) == plan.trials, "a trial's run is missing, or there are two"
    return runs


def check_trial(trial, verdict, row, run):
    """Assert that a trial ended as its course says, with each epoch told once everywhere."""
    config, state = CONFIGS[trial.number], verdict["state"]
    history = course(config)[0]
    if state == "pruned":
        history = history[:1]
    else:
        assert state == ("failed" if config.learning_rate == DIVERGES_AT else "completed"), verdict
    if state == "failed":
        assert verdict["failure"] == "diverged"
    assert verdict["history"] == history
    assert trial.intermediate_values == {entry["epoch"]: entry["dev_score"] for entry in history}
    assert run.info.status == ("FAILED" if state == "failed" else "FINISHED")
    assert run.data.tags["state"] == state
    for key, expected in by_metric(history).items():
        logged = sorted((step, value) for step, _, value in run.history[key])
        assert logged == expected, f"trial {trial.number}: MLflow's {key}"
    for name in ("rank", "best", "gap"):
        if row[name] is not None:
            assert run.data.metrics[name] == round(float(row[name]), 4), f"MLflow shows another {name}"


def check_best(world, verdict, row, run):
    """Assert that the best-dev checkpoint is whole and what the course says, in MLflow too where it is kept."""
    history, weights = course(CONFIGS[row["trial"]])
    best = max(history[: len(verdict["history"])], key=lambda entry: entry["dev_score"])
    assert (verdict["best"]["epoch"], verdict["best"]["dev_score"]) == (best["epoch"], best["dev_score"])
    found = open_checkpoint(world.paths.trial(row["trial"]).root / verdict["best"]["checkpoint"])
    assert (found.manifest["trial"], found.manifest["dev_score"]) == (row["trial"], best["dev_score"])
    if row["rank"] == 1:
        assert world.mlflow.aliases[BEST_DEV].run_id == run.info.run_id
    if row["rank"] is not None and row["rank"] <= KEEP:
        assert hashlib.sha256(found.weights.read_bytes()).hexdigest() == weights[best["epoch"], 0]
        assert scored(load_file(found.weights)["weights"]).overall == best["dev_score"]
        (model,) = (model for model in world.mlflow.models.values() if model.source_run_id == run.info.run_id)
        assert model.files == {path.name: path.read_bytes() for path in found.folder.iterdir()}
        assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]


def check_leftovers(world):
    """Assert that a new driver leaves nothing half-written in the trials, and beside them nothing of its machine's."""
    driver = Process(world.runs[-1].host)
    world.running.append(driver)
    remove_leftovers(world.paths)
    left = list(world.paths.root.glob("trials/**/.*"))
    assert left == [], f"left: {left}"
    assert list(world.paths.root.glob("trials/*/attempt-*/state-*")) == []
    for run in world.runs:
        driver.host = run.host
        remove_leftovers(world.paths)
    world.running.remove(driver)
    assert list(world.root.rglob(".*")) == []


@cache
def undisturbed():
    """Return the leaderboard of a sweep to which nothing happened."""
    return ended(World())


def ended(world):
    """Let a sweep end in peace, check it, and return its leaderboard."""
    try:
        world.finish()
        check(world)
        return lasting(json.loads(world.paths.leaderboard.read_bytes()))
    finally:
        world.close()

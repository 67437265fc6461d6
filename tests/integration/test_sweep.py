"""The main job, end to end."""

import json
import signal
import sqlite3
import subprocess
import sys

import pytest

from tests.faults.checker import lasting
from tests.integration.conftest import ROOT, TIMEOUT_S

pytestmark = pytest.mark.slow


def test_every_config_is_trained_once_and_ranked(finished):
    """A sweep ends with one completed row a config, the best first, and the baseline named."""
    board = finished.board()
    assert [row["rank"] for row in board["rows"]] == [1, 2, 3, 4]
    assert sorted(row["trial"] for row in board["rows"]) == [0, 1, 2, 3]
    assert {row["state"] for row in board["rows"]} == {"completed"}
    scores = [row["best"] for row in board["rows"]]
    assert scores == sorted(scores, reverse=True)
    assert board["baseline"] == 0
    for row in board["rows"]:
        expected = (row["sentiment"] + row["paraphrase"] + (row["similarity"] + 1) / 2) / 3
        assert row["best"] == pytest.approx(expected, abs=1e-12)
        attempts = list((finished.folder / "trials" / f"{row['trial']:04d}").glob("attempt-*"))
        assert len(attempts) == 1


def test_the_report_lies_beside_the_leaderboard_and_in_mlflow(finished):
    """The same file in both places, of this very sweep."""
    report = (finished.folder / "report.html").read_bytes()

    (stored,) = (finished.out / "mlartifacts").glob("**/report.html")
    assert b"Which heads suit the tiny encoder?" in report
    assert stored.read_bytes() == report


def test_a_finished_sweep_prints_its_leaderboard_without_training(finished):
    """Running the same command again prints the same leaderboard and changes nothing."""
    before = (finished.folder / "leaderboard.json").read_bytes()
    trials = sorted(path.name for path in (finished.folder / "trials").rglob("*"))
    output = finished.run()
    assert "started" not in output
    assert "has the best dev score" in output
    assert (finished.folder / "leaderboard.json").read_bytes() == before
    assert sorted(path.name for path in (finished.folder / "trials").rglob("*")) == trials


def test_mlflow_shows_each_trial_once_with_its_checkpoint(finished):
    """MLflow has a run a trial with a value an epoch, params that vary, and the best under best-dev."""
    from mlflow import MlflowClient

    from orchestrator.paths import tracking_uri

    uri = tracking_uri(finished.out)
    client = MlflowClient(uri, registry_uri=uri)
    experiment = client.get_experiment_by_name("tiny")
    assert "mlflow.sharedViewState.leaderboard" in experiment.tags
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.data.tags["kind"] for run in runs) == ["sweep", "trial", "trial", "trial", "trial"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    rows = {row["mlflow_run"]: row for row in finished.board()["rows"]}
    for run in (run for run in runs if run.data.tags["kind"] == "trial"):
        row = rows[run.info.run_id]
        assert run.data.params == {
            "heads.common_layers": str(row["config"]["heads"]["common_layers"]),
            "heads.task_layers": str(row["config"]["heads"]["task_layers"]),
        }
        assert run.data.metrics["best"] == round(row["best"], 4)
        assert run.data.metrics["rank"] == row["rank"]
        history = client.get_metric_history(run.info.run_id, "dev/score")
        assert [metric.step for metric in history] == [1, 2, 3]
        assert max(metric.value for metric in history) == row["best"]
        assert len(client.search_logged_models([experiment.experiment_id], f"source_run_id = '{run.info.run_id}'")) == 1
    best = client.get_model_version_by_alias("tiny", "best-dev")
    assert rows[best.run_id]["rank"] == 1


def test_the_registered_model_gives_its_recorded_dev_score_in_a_fresh_process(finished, tmp_path):
    """Predict fetches best-dev from MLflow and scores the dev set exactly as recorded."""
    line = [sys.executable, "-m", "orchestrator.predict", "--model", "tiny@best-dev", "--runs", str(finished.out)]
    line += ["--data", str(finished.data), "--out", str(tmp_path)]
    found = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    assert f"dev score {finished.board()['rows'][0]['best']!r} " in found.stdout
    assert found.stdout.rstrip().endswith("equal")
    assert "NOT" not in found.stdout
    names = {f"{task}-{split}-output.csv" for task in ("sst", "para", "sts") for split in ("dev", "test")}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_the_registered_model_is_exported_for_transformers(finished, tmp_path):
    """`orchestrator.export` makes a folder that BertModel loads, and refuses one that is there."""
    from transformers import BertModel

    line = [
        sys.executable,
        "-m",
        "orchestrator.export",
        "tiny@best-dev",
        str(tmp_path / "model"),
        "--runs",
        str(finished.out),
    ]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
    again = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)

    assert f"BertModel.from_pretrained('{tmp_path / 'model'}')" in done.stdout
    assert BertModel.from_pretrained(tmp_path / "model").config.hidden_size == 32
    assert again.returncode == 2
    assert again.stderr == f"error: {tmp_path / 'model'}: exists already; name a folder that does not\n"


def test_a_second_run_of_the_same_sweep_gives_the_same_leaderboard(finished, command):
    """Two runs with one seed agree in everything but times, paths and run ids."""
    command.run("--quiet")
    assert lasting(command.board()) == lasting(finished.board())


def test_a_killed_driver_loses_nothing(finished, command):
    """After kill -9 of the driver in mid-sweep the same command ends with the undisturbed leaderboard."""
    code, _ = command.stop_at("completed", signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert not (command.folder / "leaderboard.json").exists()
    command.run()
    assert lasting(command.board()) == lasting(finished.board())
    with sqlite3.connect(command.folder / "study.db") as study:
        assert study.execute("select state, count(*) from trials group by state").fetchall() == [("COMPLETE", 4)]
    with sqlite3.connect(command.out / "mlflow.db") as store:
        assert store.execute("select status, count(*) from runs group by status").fetchall() == [("FINISHED", 5)]
        assert store.execute("select count(*) from logged_models where lifecycle_stage = 'active'").fetchone() == (4,)
        steps = store.execute("select step, count(*) from metrics where key = 'dev/score' group by step order by step")
        assert steps.fetchall() == [(1, 4), (2, 4), (3, 4)]


def test_a_second_driver_is_refused(command):
    """While a sweep runs, the same command elsewhere ends with exit code 5 and names the holder."""
    first = command.start("--json", "--epochs", "400")
    assert json.loads(first.stdout.readline())["event"] == "started"
    second = command.start("--epochs", "400")
    _, errors = second.communicate(timeout=TIMEOUT_S)
    assert second.returncode == 5
    assert f"pid {first.pid}" in errors
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=TIMEOUT_S)
    assert first.returncode == 130


def test_a_changed_sweep_is_refused(finished):
    """Another learning rate under the same name is refused with what changed, and how to go on."""
    process = finished.start("--set", "learning_rate=1e-3")
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 2
    assert "  learning_rate: was 0.01, is now 0.001" in errors
    assert "--new" in errors


def test_new_puts_an_earlier_sweep_aside(command):
    """--new starts afresh; the old folder and the old experiment stay under another name."""
    from mlflow import MlflowClient

    from orchestrator.paths import tracking_uri

    command.run("--local")
    before = json.loads((command.folder / "plan.json").read_text(encoding="utf-8"))
    command.run("--local", "--new", "--set", "learning_rate=1e-3")
    aside = [path for path in command.out.iterdir() if path.name.startswith("tiny.until-")]
    assert [json.loads((path / "plan.json").read_text(encoding="utf-8")) for path in aside] == [before]
    experiments = MlflowClient(tracking_uri(command.out)).search_experiments()
    names = sorted(experiment.name for experiment in experiments if experiment.name.startswith("tiny"))
    assert names[0] == "tiny"
    assert names[1].startswith("tiny (until ")


def test_a_diverging_trial_fails_alone(command):
    """A trial whose loss is no longer finite is failed with its class; the sweep goes on and exits 3."""
    text = command.file.read_text(encoding="utf-8")
    command.file = command.out.parent / "wild.py"
    configs = "configs=[BASE, WILD],\n)\n"
    wild = (
        "WILD = replace(BASE, learning_rate=0.99, learning_rate_decay=1.0, epochs=60,\n"
        "    heads=HeadConfig(common_layers=64, task_layers=64, dropout=0.0))\n\nSWEEP"
    )
    text = text[: text.index("configs=[")].replace("SWEEP", wild, 1) + configs
    command.file.write_text(text, encoding="utf-8")
    output = command.run(expect=3)
    rows = {row["trial"]: row for row in command.board()["rows"]}
    assert rows[0]["rank"] == 1
    assert rows[1]["state"] == "failed"
    assert rows[1]["failure"] == "diverged"
    assert "at epoch" in rows[1]["error"]
    assert "failed (diverged)" in output


def test_local_trains_the_first_trial_in_this_process(command):
    """--local runs one trial without Ray and leaves the rest for the same command."""
    output = command.run("--local")
    assert "3 of 4 trials are still to run" in output
    assert not (command.folder / "ray").exists()


FOURTH_TASK = '''"""Does a fourth task fit in?"""

from dataclasses import replace

from model.config import HeadConfig, TrialConfig
from model.tasks import Task, register
from orchestrator.spec import Sweep

register(
    Task(
        name="question",
        kind="binary",
        sentence_columns=("text",),
        label_column="is_question",
        low=0,
        high=1,
        files={"train": ("question-train.csv",), "dev": ("question-dev.csv",), "test": ("question-test.csv",)},
    )
)
BASE = TrialConfig(
    tasks=("sentiment", "paraphrase", "similarity", "question"),
    epochs=12, batch_size=8, learning_rate=3e-3, max_tokens=64, heads=HeadConfig(dropout=0.0),
)

ALL = replace(BASE, unfrozen_layers="all")
SWEEP = Sweep(question="Does a fourth task fit in?", baseline=BASE, configs=[BASE, ALL])
'''


def test_a_fourth_task_is_one_registry_entry_and_its_files(command, tmp_path):
    """A task registered in a search-space file is trained, scored, averaged in and shown like the others."""
    data = tmp_path / "data"
    data.mkdir()
    for path in command.data.iterdir():
        (data / path.name).write_bytes(path.read_bytes())
    for split, rows in (("train", 32), ("dev", 16)):
        lines = [f"{i}\tq{i}\t{'how is the plot ?' if i % 2 else 'the cast is good .'}\t{i % 2}" for i in range(rows)]
        (data / f"question-{split}.csv").write_text("\n".join(["\tid\ttext\tis_question", *lines]) + "\n")
    command.file, command.data = tmp_path / "fourth.py", data
    command.file.write_text(FOURTH_TASK, encoding="utf-8")
    output = command.run()
    row = command.board()["rows"][0]
    assert row["question"] > 0.9
    parts = [row["sentiment"], row["paraphrase"], (row["similarity"] + 1) / 2, row["question"]]
    assert row["best"] == pytest.approx(sum(parts) / 4, abs=1e-12)
    assert " question " in output

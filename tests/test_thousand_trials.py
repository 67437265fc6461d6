"""The benchmark of 1,000 trials, on a few: what it writes is a finished sweep like any other."""

import json

import pytest

from benchmarks.thousand_trials import NAME, configs, measure_leaderboard, write_sweep
from orchestrator.paths import SweepPaths

pytestmark = pytest.mark.slow


def test_what_is_written_is_read_as_a_finished_sweep(tmp_path):
    """Every trial has a rank and a verdict, its scores are those of its predictions, and the best have weights."""
    write_sweep(tmp_path, 12)

    found = measure_leaderboard(tmp_path)

    board = json.loads(SweepPaths(tmp_path, NAME).leaderboard.read_text(encoding="utf-8"))
    assert [row["rank"] for row in board["rows"]] == list(range(1, 13))
    assert all(row["verdict"] and row["ci_low"] < row["best"] < row["ci_high"] for row in board["rows"])
    assert len(list(tmp_path.rglob("model.safetensors"))) == 10
    assert {name for name in found if name.endswith(", s")} == {
        "study and verdicts, s", "predictions read and checked, s", "statistics, s", "rows and leaderboard.json, s",
    }  # fmt: skip


def test_a_thousand_configs_differ():
    """The baseline is the first of them, and none stands there twice."""
    listed = configs(1000)

    assert len({repr(config) for config in listed}) == 1000
    assert listed[0].learning_rate == 3e-4

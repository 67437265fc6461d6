"""`rebuild` writes a sweep and its confirmation into MLflow anew: champion, leaderboard and description agree."""

import json
from dataclasses import replace

import pytest

from orchestrator.errors import SweepError
from orchestrator.mlflow_client import CHAMPION, connect
from orchestrator.paths import tracking_uri
from orchestrator.rebuild import _rebuild
from tests import confirmed

pytestmark = pytest.mark.slow


@pytest.fixture
def search(paths, tiny_plan, tiny_config):
    """Return a finished sweep of a baseline and two others."""
    configs = [replace(tiny_config, weight_decay=0.001 * number) for number in range(3)]
    return confirmed.searched(paths, replace(tiny_plan(*configs), name="tiny"), [0.5, 0.6, 0.55])


def client(search):
    """Return MLflow's client of the sweep's own store."""
    return connect(tracking_uri(search.paths.out))


def rebuilt(search):
    """Do what the command does; return the confirmation's file and the sweep's description in MLflow."""
    _rebuild("tiny", search.paths.out, None)
    experiment = client(search).get_experiment_by_name("tiny")
    return json.loads(search.paths.confirmed.read_text()), experiment.tags["mlflow.note.content"]


def test_a_store_that_was_lost_has_the_champion_again(search):
    """And it is said so wherever it is read."""
    found, _ = confirmed.confirmed(search, [0.5, 0.5, 0.5], seeds=2)

    written, description = rebuilt(search)

    assert written["crowned"] is True
    assert "`models:/tiny@champion`" in description
    board = json.loads(search.paths.leaderboard.read_text())
    assert board["confirmation"]["crowned"] is True
    version = client(search).get_model_version_by_alias("tiny", CHAMPION)
    assert int(version.tags["trial"]) == written["champion"] == found.result()["champion"]


def test_in_the_middle_of_a_confirmation_nobody_is_crowned_and_what_was_written_stays(search):
    """More seeds were asked for: who is champion is not known yet, and trials so far are shown."""
    confirmed.confirmed(search, [0.5, 0.5, 0.5], seeds=2)
    before = json.loads(search.paths.confirmed.read_text())
    found, _ = confirmed.asked(search, seeds=4)

    written, description = rebuilt(search)

    assert written == before
    assert "`models:/tiny@best-dev`" in description
    experiment = client(search).get_experiment_by_name("tiny").experiment_id
    runs = client(search).search_runs([experiment], "tags.stage = 'confirm'", max_results=100)
    assert {int(run.data.tags["trial"]) for run in runs if "trial" in run.data.tags} == set(range(len(found.trials())))


def test_a_confirmation_that_cannot_be_read_takes_nothing_of_the_search_along(search):
    """It is in MLflow, and what is wrong is told."""
    confirmed.confirmed(search, [0.5, 0.5, 0.5], seeds=2)
    search.paths.asked.write_text(search.paths.asked.read_text().replace(search.plan.sweep_id, "another's"))

    with pytest.raises(SweepError, match=r"its confirmation is not in MLflow: .*asked\.json: is of another sweep"):
        rebuilt(search)

    experiment = client(search).get_experiment_by_name("tiny").experiment_id
    assert len(client(search).search_runs([experiment], "tags.stage = 'search'")) >= len(search.plan.configs)
